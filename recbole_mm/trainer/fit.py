"""``fit`` in stages, with callbacks and exact resume; the steps of an epoch are the trainer's."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from logging import getLogger
from typing import Any

import numpy as np

from recbole_mm.config.sequence import cuts_padding
from recbole_mm.data.dataloader import of_interactions
from recbole_mm.data.part import part_loaders
from recbole_mm.data.shifted import ShiftedDataLoader
from recbole_mm.data.training_hash import pair_hashes
from recbole_mm.errors import Failure, Interrupted, WrongUse
from recbole_mm.run.folder import RunFolder
from recbole_mm.trainer.callback import Callback, EpochLog, HistoryFile, RecBoleReports
from recbole_mm.trainer.checkpoint import read_checkpoint, write_checkpoint
from recbole_mm.trainer.prefix import PrefixObjective
from recbole_mm.trainer.resume import last_state, restore
from recbole_mm.trainer.shifted import ShiftedObjective
from recbole_mm.trainer.stage import Stage, Stages
from recbole_mm.trainer.warm_start import stores_of, tokens_of
from recbole_mm.trainer.workers import Workers

_log = getLogger("recbole_mm.trainer")
#: how a run with `epochs: 0` ended
UNTRAINED = "no training"

# the classes this one is put in front of; a type checker cannot know them
_Base: Any = object


class StagedFit(_Base):
    """The ``fit`` of `TrainerMixin`.

    What RecBole trains by its plain ``Trainer.fit`` is trained stage by stage here: RecBole's ignores what a callback
    returns. Models with a ``fit`` of their own keep it: one stage, no exact resume, no pruning.
    """

    stages: Stages
    # RecBole's
    start_epoch: int
    epochs: int
    best_valid_score: float
    best_valid_result: Any
    checkpoint_dir: str

    def __init__(self, config: Any, model: Any) -> None:
        super().__init__(config, model)
        self.folder: RunFolder | None = None
        self.callbacks: list[Callback] = []
        self._heard: list[Callback] = []
        self._loaders: dict[str, Any] = {}
        self.tokens: dict[str, str] = {}
        self.stores: dict[str, str] = {}
        #: what the first weights learned from, by `pair_hashes`
        self.started_from = np.zeros(0, dtype=np.uint64)
        self._stopped_by = ""
        self._writes_last = self._resumed = False
        #: the processes that train with this one; None: it is alone
        self.workers: Workers | None = None

    @property
    def writes(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.config["local_rank"] in (None, 0) and (self.workers is None or self.workers.rank == 0)

    def write_to(self, folder: RunFolder) -> None:
        """Write the run into a folder that is there."""
        self.folder = folder
        # RecBole's trainers with a `fit` of their own put files of their own beside the best one
        self.checkpoint_dir, self.saved_model_file = str(folder.path), str(folder.best)

    def resume(self, run: Any, train_data: Any, valid_data: Any = None) -> None:
        """Takes up the run of a folder, or of its ``last.pth``; to be called before ``fit`` with the same loaders.

        A run that had ended (early stopping, or as many epochs as asked for now) is not trained further: ``fit``
        returns what it had returned.

        Raises:
            WrongUse: this trainer cannot go on from a checkpoint, or the file is not one of this run.
        """
        if not self.resumable:
            raise WrongUse(f"resume: {self._no_resume()}; run it again without --resume")
        folder = RunFolder.open(run)
        restore(self, str(folder.last), _present(train=train_data, valid=valid_data))
        self.folder, self._resumed = folder if self.writes else None, True
        self.saved_model_file = str(folder.best)
        if self.best_epoch is not None:
            if not folder.best.is_file():
                raise WrongUse(f"resume: {folder.best}, the best model so far, is missing; put it back")
            read_checkpoint(folder.best, mapped=True)  # now, not when training has ended
        if self.outcome:
            _log.info("%s had ended after epoch %d (%s)", folder.path, self.start_epoch, self.outcome)
        else:
            _log.info("going on from %s with epoch %d", folder.path, self.start_epoch + 1)

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Any = None,
    ) -> tuple[float, Any]:
        """RecBole's ``fit``: the same arguments and result; with ``saved`` a run folder is written.

        Raises:
            Interrupted: Ctrl-C; names the run to go on from.
            Failure: a loss that is not a number.
        """
        self._loaders = _present(train=train_data, valid=valid_data)
        self.know_training(train_data)
        part = of_interactions(train_data)._dataset
        self.tokens, self.stores = tokens_of(part), stores_of(part)
        if self._resumed and self.outcome and self.epochs:
            self._require_best()
            return self.best_valid_score, self.best_valid_result
        if saved and self.folder is None and self.writes:
            folder = RunFolder.create(self.checkpoint_dir, self.spec)
            self.write_to(folder)
            going = ", to go on from after a kill (--resume)" if self.resumable else ""
            _log.info("into %s%s", os.path.relpath(folder.path), going)
        if saved and self.folder is not None and not self._resumed and hasattr(part, "pairs"):
            self.folder.write_trained_on(np.union1d(pair_hashes(part, "train"), self.started_from))
        self._writes_last = saved and self.resumable and self.config["save_last"] is not False
        bars = bool(show_progress) and sys.stderr.isatty()
        reports = [RecBoleReports(verbose)] if self.staged else []
        self._heard = [HistoryFile(), *reports, EpochLog(), *self.callbacks]
        try:
            with self.folder.locked() if self.folder is not None and saved else nullcontext():
                self._tell("on_run_start", self)
                if saved and self.epochs == 0:  # the untrained model can be tested
                    self._save_checkpoint(-1, verbose=verbose)
                if self.staged:
                    self._run_stages(valid_data, verbose, saved, bars, callback_fn)
                    self._require_best()
                    result = self.best_valid_score, self.best_valid_result
                else:
                    result = super().fit(train_data, valid_data, verbose, saved, bars, callback_fn)
                if self.outcome == UNTRAINED:
                    _log.warning("epochs: 0: %s is tested with its first weights", self.config["model"])
                    if valid_data:
                        result = self.best_valid_score, self.best_valid_result = self._validate(
                            valid_data, bars
                        )
                self._tell("on_run_end", self.outcome)
        except KeyboardInterrupt as error:
            raise self._interrupted() from error
        finally:
            self.tensorboard.close()
        return result

    def know_training(self, train_data: Any) -> None:
        """Let the evaluators, ours and RecBole's, count the training rows; item metrics need it."""
        if self.mm_evaluator is not None:
            self.mm_evaluator.data_collect(train_data)
        self.eval_collector.data_collect(of_interactions(train_data))

    # ---- stages

    def _run_stages(self, valid_data: Any, verbose: bool, saved: bool, bars: bool, callback_fn: Any) -> None:
        train_data = self._loaders["train"]
        loaders = part_loaders(self.config, train_data, [stage.spec.part for stage in self.stages.all])
        for stage, loader in zip(self.stages.all, loaders, strict=True):
            stage.loader = loader
            if isinstance(loader, ShiftedDataLoader):
                stage.objective = ShiftedObjective(self.config, self.model, loader)
            elif cuts_padding(self.config):
                stage.objective = PrefixObjective(self.config, self.model, loader._dataset)
        if not self._resumed:
            self._save_last(-1)
        while True:
            stage = self.stages.current
            if not stage.over(self.start_epoch):
                self._run_stage(stage, valid_data, verbose, saved, bars, callback_fn)
            if self._stopped_by or not self.stages.more:
                return
            self.stages.next(self.start_epoch)

    def _run_stage(
        self, stage: Stage, valid_data: Any, verbose: bool, saved: bool, bars: bool, callback_fn: Any
    ) -> None:
        """Train until the stage is over or a callback ends the run; ``start_epoch`` is then the next epoch."""
        if self.stages.by_parts:
            _log.info(
                "stage %d of %d, %s: %d of %d training rows",
                self.stages.index + 1, len(self.stages.all), stage.spec, len(stage.loader._dataset),
                len(self._loaders["train"]._dataset),
            )  # fmt: skip
        if self.config["train_neg_sample_args"].get("dynamic", False):
            stage.loader.get_model(self.model)
        self._tell("on_stage_start", stage)
        while not (stage.over(self.start_epoch) or self._stopped_by):
            epoch = self.start_epoch
            self._train_epoch(stage.loader, epoch, stage.objective, bars)
            if self._validates(epoch):
                score, _ = self._valid_epoch(valid_data, bars)
                if self.history[-1]["best"]:
                    self.best_valid_score, self.best_valid_result = score, self.history[-1]["valid"]
                    if saved:
                        self._save_checkpoint(epoch, verbose=verbose)
                if callback_fn:
                    callback_fn(epoch, score)
            elif saved and not self._validates_ever:
                self._save_checkpoint(epoch, verbose=verbose)
            self.start_epoch = epoch + 1
            self._save_last(epoch)
            self._tell("on_epoch_saved", self.history[-1])

    def _require_best(self) -> None:
        """Raise ``Failure`` where epochs were validated and none is the best: each was NaN."""
        if self.best_epoch is None and any(record["valid"] is not None for record in self.history):
            raise Failure(
                f"{self.valid_metric} of the validation was NaN in each epoch, so none is the best; "
                "AUC needs rows of both labels in the validation part (see threshold, split, eval_args), and every "
                "metric scores that are numbers"
            )

    def stop(self, by: str) -> None:
        """End training with the epoch that runs or ran last; ``by`` is then the outcome."""
        self._stopped_by = by

    def _tell(self, hook: str, *arguments: Any) -> None:
        for callback in self._heard:
            getattr(callback, hook)(*arguments)

    def _validated(self, record: dict[str, Any]) -> None:
        """Tell the callbacks; one that wants an end is heard where the ``fit`` is ours."""
        for callback in self._heard:
            if callback.on_validation(record):
                name = type(callback).__name__
                if self.staged:
                    self._stopped_by = self._stopped_by or name
                else:
                    _log.warning("%s asks for an end, but %s", name, self._no_resume("stop before its end"))

    def _save_last(self, epoch: int) -> None:
        if self._writes_last and self.folder is not None:
            write_checkpoint(self.folder.last, last_state(self, epoch, self._loaders))

    def _interrupted(self) -> Interrupted:
        place = f"in epoch {self._epoch + 1}"
        if self._writes_last and self.folder is not None:
            return Interrupted(f"{place}; go on with --resume {self.folder.path}", str(self.folder.path))
        why = "nothing was saved" if self.resumable else self._no_resume()
        return Interrupted(f"{place}; {why}")


def _present(**loaders: Any) -> dict[str, Any]:
    return {name: loader for name, loader in loaders.items() if loader}  # as RecBole: an empty one is none
