"""What this package adds to RecBole's trainers: stages, callbacks, our evaluator, files that are whole and safe."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch
from recbole.trainer.trainer import TraditionalTrainer, Trainer

from recbole_mm.errors import Failure, WrongUse
from recbole_mm.evaluator import Evaluator
from recbole_mm.model.traits import pretrains, trait
from recbole_mm.run.question import Question
from recbole_mm.trainer.callback import EarlyStopping
from recbole_mm.trainer.checkpoint import read_checkpoint, write_checkpoint
from recbole_mm.trainer.drift import ModelDrift
from recbole_mm.trainer.fit import UNTRAINED, StagedFit
from recbole_mm.trainer.own_loss import HELD_OUT_LOSS, OwnLoss
from recbole_mm.trainer.record import LastLoss, epoch_record
from recbole_mm.trainer.resume import best_state, load_model, optimizers_of
from recbole_mm.trainer.schedule import schedule_of, set_learning_rates
from recbole_mm.trainer.stage import Stages
from recbole_mm.trainer.step import Stepping, averaged, fuse


class TrainerMixin(StagedFit):
    """Goes in front of one of RecBole's trainers (see `recbole_mm.trainer.get_trainer`).

    Attributes beside RecBole's:
        folder: where the run is written; None until ``fit`` with ``saved``.
        callbacks: who hears of the epochs.
        stages: where the run is in its stages.
        history: one dict an epoch (`record.epoch_record`).
        eval_result: the `EvalResult` of the last evaluation; None with ``evaluator: recbole``.
        best_epoch: index of the best epoch so far; None before the first validation.
        spec: how to ask for this run again.
    """

    def __init__(self, config: Any, model: Any) -> None:
        self.history: list[dict[str, Any]] = []
        #: of each optimiser, in the order in which they were built
        self.steppings: list[Stepping] = []
        super().__init__(config, model)
        self._own_loss: OwnLoss | None = None
        if pretrains(model) and config["pretrain_valid"] == "loss":
            self.valid_metric = HELD_OUT_LOSS
        # RecBole trains some models in one pass, whatever `epochs` says
        self.stages = Stages(config, self.epochs, self._early_stopping)
        self.epochs = self.stages.epochs
        self.eval_step = min(config["eval_step"], self.epochs)
        if self.stages.by_parts and not self.resumable:
            raise WrongUse(
                f"train_epochs: {config['model']} is not trained by RecBole's plain trainer in one process; "
                "leave train_epochs out"
            )
        # RecBole's distributed mode shards the queries over processes
        ours = config["evaluator"] != "recbole" and config["single_spec"]
        self.mm_evaluator = Evaluator(config) if ours else None
        self.spec = config.spec
        self.eval_result: Any = None
        self.best_epoch: int | None = None
        #: a sentence for each resumption under other settings
        self.changes: list[str] = []
        self.model_drift = ModelDrift(model)
        self._schedule = schedule_of(config["lr_scheduler"], config["lr_warmup_epochs"])
        self.clip_grad_norm = None  # by `Stepping`; RecBole would do it before the gradients are unscaled
        self._epoch = self._batch = -1
        self._last_loss = LastLoss()

    @property
    def staged(self) -> bool:
        """Whether ``fit`` is ours: that of RecBole's plain trainer, in one process."""
        owner = next(c for c in type(self).__mro__ if "fit" in vars(c) and c is not StagedFit)
        return owner is Trainer and bool(self.config["single_spec"])

    @property
    def resumable(self) -> bool:
        """Whether an interrupted run can go on bit for bit."""
        return self.staged and not isinstance(self, TraditionalTrainer)

    @property
    def outcome(self) -> str:
        """Why training ended; ``""`` if it has not.

        ``early stopping``, ``cap`` (all epochs used), ``one pass``, ``no training`` (``epochs: 0``), or the name of the
        callback that ended it.
        """
        if isinstance(self, TraditionalTrainer):
            return "one pass" if self.history else ""
        if self.epochs == 0 and not self.history:  # RecBole's pre-training counts epochs of its own
            return UNTRAINED
        if self._stopped_by or self.stages.more:
            return self._stopped_by
        if self.stages.current.early_stopping.exhausted:
            return "early stopping"
        return "cap" if self.history and self.history[-1]["epoch"] + 1 >= self.stages.current.end else ""

    # ---- the steps of an epoch, which RecBole's fits call too

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> Any:
        self._epoch, self._batch = epoch_idx, -1
        stage = self.stages.current
        if self._schedule is not None:
            factor = self._schedule(epoch_idx - stage.begin, stage.spec.epochs)
            set_learning_rates(optimizers_of(self).values(), factor)
        start = perf_counter()
        loss_func = self._last_loss.recorded(loss_func or self.model.calculate_loss)
        if self.workers is not None:
            self.workers.begin(train_data, self.config["seed"], epoch_idx)
            loss_func = self.workers.objective(self.model, loss_func)
        with self._lower_precision():
            losses = super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)
        for stepping in self.steppings:
            stepping.flush()
        if self.workers is not None:
            losses = self.workers.mean(losses)
        record = epoch_record(
            epoch_idx, losses, self._last_loss.value, len(train_data), perf_counter() - start
        )
        self._last_loss.value = None  # with it the graph behind it
        record["stage"] = stage.spec.part
        self.history.append(record)
        self.train_loss_dict[epoch_idx] = record["loss"]
        if not self._validates(epoch_idx):
            self._tell("on_epoch_end", record)
        return losses

    @contextmanager
    def _lower_precision(self) -> Iterator[None]:
        """One line where ``enable_amp`` meets an operation that torch has not in that precision."""
        try:
            yield
        except (RuntimeError, NotImplementedError) as error:
            if not self.config["enable_amp"] or not any(kind in str(error) for kind in ("BFloat16", "Half")):
                raise
            why = str(error).splitlines()[0]
            raise WrongUse(
                f"enable_amp: {self.config['model']} has operations that torch cannot do in lower precision ({why}); "
                "leave enable_amp out"
            ) from error

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, Any]:
        start = perf_counter()
        with averaged(self.model, self.steppings):
            score, result = self._validate(valid_data, show_progress)
            if self.workers is not None:  # they must agree on when to stop
                score, result = self.workers.of_first((score, result))
            diagnostics = dict(trait(self.model, "diagnostics")())
        record, better = self.history[-1], self._is_better(score, self.best_valid_score)
        if better:
            self.best_epoch = self._epoch
        record.update(valid_score=float(score), valid=dict(result), best=better)
        record["diagnostics"] = diagnostics
        record["valid_seconds"] = perf_counter() - start
        self.stages.current.early_stopping.on_validation(record)
        if self.staged:  # RecBole's fits count by themselves
            self.cur_step = self.stages.current.early_stopping.waited
        self._validated(record)
        self._tell("on_epoch_end", record)
        return score, result

    def _validate(self, valid_data: Any, show_progress: bool) -> tuple[float, Any]:
        if self.valid_metric != HELD_OUT_LOSS:
            return super()._valid_epoch(valid_data, show_progress)
        if self._own_loss is None:
            self._own_loss = OwnLoss(self._loaders["train"], valid_data)
        result = self._own_loss(self.model)
        return result[HELD_OUT_LOSS], result

    def _early_stopping(self, patience: int) -> EarlyStopping:
        return EarlyStopping(patience, self._is_better, self.best_valid_score)

    def _is_better(self, score: float, best: float) -> bool:
        """As RecBole: an equal score is a better one, NaN is not."""
        return bool(score >= best if self.valid_metric_bigger else score <= best)

    def _check_nan(self, loss: torch.Tensor) -> None:
        self._batch += 1
        if not torch.isnan(loss):
            return
        terms = self._last_loss.nan_terms()
        where = f", in the term {' and '.join(terms)}" if terms else ""
        raise Failure(
            f"the training loss is NaN in epoch {self._epoch + 1}, batch {self._batch + 1}{where}; lower "
            f"learning_rate (now {self.learning_rate}) or set clip_grad_norm, and check the features for huge values"
        )

    def _build_optimizer(self, **kwargs: Any) -> Any:
        if "params" not in kwargs:
            groups = trait(self.model, "parameter_groups")(kwargs.get("learning_rate", self.learning_rate))
            if groups is not None:
                kwargs["params"] = _checked(self.model, groups)
        optimizer = super()._build_optimizer(**kwargs)
        config = self.config
        # batches of items are small: as many calls, Adam would be a fifth of a step
        if config["fused_optimizer"] or (
            trait(self.model, "item_batches") and isinstance(optimizer, torch.optim.Adam)
        ):
            fuse(optimizer)
        self.steppings.append(
            Stepping(
                optimizer, config["clip_grad_norm"], config["gradient_accumulation"], config["ema_decay"]
            )
        )
        return optimizer

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
            state = read_checkpoint(path, mapped=True) if self.writes else None
            if self.workers is not None:
                state = self.workers.of_first(state)
            load_model(self.model, state or {}, self.device, path)
            self.logger.info(f"Loading model structure and parameters from {path}")
        bars = bool(show_progress) and sys.stderr.isatty()
        self.eval_result = None
        if self.mm_evaluator is None:
            return super().evaluate(eval_data, load_best_model=False, show_progress=bars)
        self.eval_result = self.mm_evaluator.evaluate(self.model, eval_data, bars, self.workers)
        self.wandblogger.log_eval_metrics(self.eval_result.metrics, head="eval")
        return self.eval_result.metrics

    def question(self, eval_data: Any) -> Question | None:
        """What an evaluation will ask (`Evaluator.question`); None of RecBole's evaluator."""
        return None if self.mm_evaluator is None else self.mm_evaluator.question(eval_data)

    # ---- files

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        if not self.writes:
            return
        path = kwargs.pop("saved_model_file", self.saved_model_file)
        with averaged(self.model, self.steppings):
            write_checkpoint(path, best_state(self, epoch))
        if verbose:
            self.logger.info(f"Saving current: {path}")

    def save_pretrained_model(self, epoch: int, saved_model_file: str) -> None:
        """As RecBole's PretrainTrainer (RaCT, S3Rec) does, in plain values."""
        with averaged(self.model, self.steppings):
            write_checkpoint(saved_model_file, best_state(self, epoch))
        self.saved_model_file = saved_model_file

    def resume_checkpoint(self, resume_file: Any) -> None:
        """RecBole's name for going on; it has no loaders to restore, so it cannot be exact."""
        raise WrongUse(f"resume_checkpoint({resume_file}): use resume(run, train_data, valid_data)")

    # ---- small parts

    @property
    def _validates_ever(self) -> bool:
        return self.eval_step > 0 and ("valid" in self._loaders or self.valid_metric == HELD_OUT_LOSS)

    def _validates(self, epoch: int) -> bool:
        return self._validates_ever and (epoch + 1) % self.eval_step == 0

    def _no_resume(self, what: str = "go on from a checkpoint") -> str:
        return f"{self.config['model']} has a training loop of its own and cannot {what}"


def _checked(model: torch.nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """``groups`` with lists for iterators.

    Raises:
        Failure: a trainable parameter is in no group or in two: it would silently not be trained, or twice.
    """
    groups = [{**group, "params": list(group["params"])} for group in groups]
    counts = Counter(id(parameter) for group in groups for parameter in group["params"])
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and counts[id(parameter)] != 1:
            raise Failure(
                f"{type(model).__name__}.parameter_groups: {name} is in {counts[id(parameter)]} groups; every "
                "trainable parameter belongs in exactly one"
            )
    return groups
