"""What this package adds to RecBole's trainers: overrides of the steps that ``fit`` calls, no copy of ``fit``."""

from __future__ import annotations

import sys
from logging import getLogger
from time import perf_counter
from typing import Any

import torch
from recbole.trainer.trainer import TraditionalTrainer, Trainer

from recbole_mm.errors import Failure, Interrupted, WrongUse
from recbole_mm.evaluator import Evaluator
from recbole_mm.serialize import plain_config
from recbole_mm.trainer.checkpoint import last_of, read_checkpoint, reserve_name, write_checkpoint
from recbole_mm.trainer.drift import ModelDrift
from recbole_mm.trainer.history import diagnostics, epoch_line, epoch_record, nan_terms, recorded_losses
from recbole_mm.trainer.parameter_groups import checked_groups
from recbole_mm.trainer.phase import Phases, refuse_phases
from recbole_mm.trainer.resume import best_state, last_state, load_model, optimizers_of, restore
from recbole_mm.trainer.schedule import schedule_of, set_learning_rates

_log = getLogger("recbole_mm.trainer")


# the class this one is put in front of; a type checker cannot know it
_Base: Any = object


class TrainerMixin(_Base):
    """Goes in front of one of RecBole's trainers (see `recbole_mm.trainer.get_trainer`).

    Attributes beside RecBole's:
        history: one dict an epoch (`history.epoch_record`).
        eval_result: the `EvalResult` of the last evaluation; None with ``evaluator: recbole``.
        best_epoch: index of the best epoch so far; None before the first validation.
        request: how to ask for this run again: model, dataset, settings (plain values); in both checkpoints.
        phases: where the run is in ``train_epochs``; ``epochs`` is the end of the current phase.
        resumable: whether an interrupted run can go on bit for bit.
    """

    def __init__(self, config: Any, model: Any) -> None:
        if config["evaluator"] not in (None, "mm", "recbole"):
            raise WrongUse(f"evaluator: {config['evaluator']!r} is not 'mm' or 'recbole'")
        self.phases = Phases(config)
        super().__init__(config, model)
        if not self.resumable:
            refuse_phases(config, "is not trained by RecBole's plain trainer in one process")
        name, self._release_name = reserve_name(str(self.saved_model_file), self)
        self.saved_model_file: str = name
        # RecBole's distributed mode shards the queries over processes
        ours = config["evaluator"] != "recbole" and config["single_spec"]
        self._evaluator = Evaluator(config) if ours else None
        self.history: list[dict[str, Any]] = []
        self.eval_result: Any = None
        self.best_epoch: int | None = None
        self.request: dict[str, Any] = {
            "model": _spec(config),
            "dataset": config["dataset"],
            "settings": plain_config(config.external_config_dict),
        }
        self.model_drift = ModelDrift(model)
        self._schedule = schedule_of(config["lr_scheduler"])
        self._loaders: dict[str, Any] = {}
        self._writes_last = False
        self._resumed = False
        self._epoch = self._batch = -1
        self._losses: list[Any] = []

    # ---- the run as a whole

    @property
    def last_model_file(self) -> str:
        """The file from which an interrupted run goes on."""
        return last_of(self.saved_model_file)

    @property
    def resumable(self) -> bool:
        """True where ``fit`` is that of RecBole's plain trainer, in one process."""
        owner = next(c for c in type(self).__mro__ if "fit" in vars(c) and c is not TrainerMixin)
        return (
            owner is Trainer and not isinstance(self, TraditionalTrainer) and bool(self.config["single_spec"])
        )

    @property
    def outcome(self) -> str:
        """Why training ended: ``early stopping``, ``cap`` (all epochs used), ``one pass``; ``""`` if it has not."""
        if isinstance(self, TraditionalTrainer):
            return "one pass" if self.history else ""
        if self.phases.more:
            return ""
        if self.cur_step > self.stopping_step:
            return "early stopping"
        return "cap" if self.history and self.history[-1]["epoch"] + 1 >= self.epochs else ""

    def resume(self, last_file: str, train_data: Any, valid_data: Any = None) -> None:
        """Takes up the run of `last_file`; to be called before ``fit`` with the same loaders.

        A run that had ended (early stopping, or as many epochs as asked for now) is not trained further: ``fit``
        returns what it had returned.

        Raises:
            WrongUse: this trainer cannot go on from a checkpoint, or the file is not one of this run.
        """
        if not self.resumable:
            raise WrongUse(f"resume: {self._no_resume()}; run it again without --resume")
        restore(self, str(last_file), _present(train=train_data, valid=valid_data))
        self._release_name()
        self._resumed = True
        if self.outcome:
            _log.info("%s had ended after epoch %d (%s)", last_file, self.start_epoch, self.outcome)
        else:
            _log.info("going on from %s with epoch %d", last_file, self.start_epoch + 1)

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Any = None,
    ) -> tuple[float, Any]:
        """RecBole's ``fit`` of this trainer, with the `last` checkpoint around it.

        Raises:
            Interrupted: Ctrl-C; names the checkpoint to go on from.
            Failure: a loss that is not a number.
        """
        self._loaders = _present(train=train_data, valid=valid_data)
        self._writes_last = saved and self.resumable and self.config["save_last"] is not False
        if self._evaluator is not None:
            self._evaluator.data_collect(train_data)
        if self._resumed and self.outcome:
            self.eval_collector.data_collect(train_data)  # RecBole's evaluate wants it
            return self.best_valid_score, self.best_valid_result
        bars = bool(show_progress) and sys.stderr.isatty()
        try:
            result = self.phases.fit(
                self, super().fit, train_data, valid_data, verbose, saved, bars, callback_fn
            )
            self._save_last(self._epoch if self.history else self.start_epoch - 1)
        except KeyboardInterrupt as error:
            raise self._interrupted() from error
        finally:
            self.tensorboard.close()
        return result

    # ---- steps that RecBole's fit calls

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> Any:
        # all of the epoch before has settled only now, its early stopping and its best file included
        self._save_last(epoch_idx - 1)
        self._epoch, self._batch = epoch_idx, -1
        if self._schedule is not None:
            set_learning_rates(optimizers_of(self).values(), self._schedule(epoch_idx, self._all_epochs))
        start = perf_counter()
        with recorded_losses(self.model) as self._losses:
            losses = super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)
        record = epoch_record(epoch_idx, losses, self.model, len(train_data), perf_counter() - start)
        if self.phases.name:
            record["phase"] = self.phases.name
        self.history.append(record)
        if not self._validates(epoch_idx):
            _log.info(epoch_line(record, self._all_epochs, self.valid_metric))
        return losses

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, Any]:
        start = perf_counter()
        score, result = super()._valid_epoch(valid_data, show_progress)
        better = (
            score >= self.best_valid_score if self.valid_metric_bigger else score <= self.best_valid_score
        )
        if better:
            self.best_epoch = self._epoch
        self.phases.count_patience(self, score, bool(better))
        record = self.history[-1]
        record.update(valid_score=float(score), valid=dict(result), best=bool(better))
        record["diagnostics"] = diagnostics(self.model)
        record["valid_seconds"] = perf_counter() - start
        _log.info(epoch_line(record, self._all_epochs, self.valid_metric))
        return score, result

    def _check_nan(self, loss: torch.Tensor) -> None:
        self._batch += 1
        if not torch.isnan(loss):
            return
        terms = nan_terms(self.model, self._losses)
        where = f", in the term {' and '.join(terms)}" if terms else ""
        raise Failure(
            f"the training loss is NaN in epoch {self._epoch + 1}, batch {self._batch + 1}{where}; lower "
            f"learning_rate (now {self.learning_rate}) or set clip_grad_norm, and check the features for huge values"
        )

    def _build_optimizer(self, **kwargs: Any) -> Any:
        if "params" not in kwargs and hasattr(self.model, "parameter_groups"):
            rate = kwargs.get("learning_rate", self.learning_rate)
            kwargs["params"] = checked_groups(self.model, self.model.parameter_groups(rate))
        return super()._build_optimizer(**kwargs)

    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: Any = None,
        show_progress: bool = False,
    ) -> Any:
        """Metrics of the model on `eval_data`, by our evaluator or by RecBole's (``evaluator: mm | recbole``)."""
        if not eval_data:
            return None
        if load_best_model:
            path = str(model_file or self.saved_model_file)
            load_model(self.model, read_checkpoint(path), self.device, path)
            self.logger.info(f"Loading model structure and parameters from {path}")
        bars = bool(show_progress) and sys.stderr.isatty()
        self.eval_result = None
        if self._evaluator is None:
            return super().evaluate(eval_data, load_best_model=False, show_progress=bars)
        self.eval_result = self._evaluator.evaluate(self.model, eval_data, bars)
        self.wandblogger.log_eval_metrics(self.eval_result.metrics, head="eval")
        return self.eval_result.metrics

    # ---- files

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        if not self.config["single_spec"] and self.config["local_rank"] != 0:
            return
        path = kwargs.pop("saved_model_file", self.saved_model_file)
        write_checkpoint(path, best_state(self, epoch))
        self._release_name()
        if verbose:
            self.logger.info(f"Saving current: {path}")

    def save_pretrained_model(self, epoch: int, saved_model_file: str) -> None:
        """As RecBole's PretrainTrainer (RaCT, S3Rec) does, in plain values."""
        write_checkpoint(saved_model_file, best_state(self, epoch))
        self.saved_model_file = saved_model_file

    def resume_checkpoint(self, resume_file: Any) -> None:
        """RecBole's name for going on; it has no loaders to restore, so it cannot be exact."""
        raise WrongUse(f"resume_checkpoint({resume_file}): use resume(last_file, train_data, valid_data)")

    def _save_last(self, epoch: int) -> None:
        if self._writes_last:
            write_checkpoint(self.last_model_file, last_state(self, epoch, self._loaders))
            self._release_name()

    # ---- small parts

    @property
    def _all_epochs(self) -> int:
        return self.phases.epochs or self.epochs

    def _validates(self, epoch: int) -> bool:
        return "valid" in self._loaders and self.eval_step > 0 and (epoch + 1) % self.eval_step == 0

    def _no_resume(self) -> str:
        return f"{self.config['model']} has a training loop of its own and cannot go on from a checkpoint"

    def _interrupted(self) -> Interrupted:
        place = f"in epoch {self._epoch + 1}"
        if self._writes_last:
            return Interrupted(f"{place}; go on with --resume {self.last_model_file}", self.last_model_file)
        why = "nothing was saved" if self.resumable else self._no_resume()
        return Interrupted(f"{place}; {why}")


def _spec(config: Any) -> str:
    """The model as `get_model` finds it again: a name, ``file.py:Class``, or a dotted name for a class."""
    spec = getattr(config, "model_spec", None) or config["model"]
    return spec if isinstance(spec, str) else f"{spec.__module__}.{spec.__qualname__}"


def _present(**loaders: Any) -> dict[str, Any]:
    return {name: loader for name, loader in loaders.items() if loader is not None}
