"""What hears of training: hooks that do nothing, and those that every run has.

A search prunes, a page draws and a bar moves through these; no line of the log is parsed.
"""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from typing import TYPE_CHECKING, Any

from recbole_mm.trainer.record import epoch_line

if TYPE_CHECKING:
    from recbole_mm.trainer.stage import Stage

Record = dict[str, Any]
_log = getLogger("recbole_mm.trainer")


class Callback:
    """Hooks of a run, in the order in which they are called; override what is needed.

    ``record`` is that of an epoch (`record.epoch_record`), the same object in both hooks. Models with a training loop
    of their own call neither `on_stage_start` nor `on_epoch_saved`, and go on whatever `on_validation` says; tree
    models call none.
    """

    def on_run_start(self, trainer: Any) -> None:
        """Training begins, or is taken up: ``trainer.history`` holds the epochs before."""

    def on_stage_start(self, stage: Stage) -> None:
        """A stage begins, or is taken up."""

    def on_validation(self, record: Record) -> bool | None:
        """An epoch was validated; True ends the stage, for early stopping, or the run, for any other callback."""

    def on_epoch_end(self, record: Record) -> None:
        """An epoch is over, with its validation where it had one."""

    def on_epoch_saved(self, record: Record) -> None:
        """The checkpoints of an epoch are written; models with a training loop of their own do not call it."""

    def on_run_end(self, outcome: str) -> None:
        """Training has ended (`TrainerMixin.outcome`); not called after an error or Ctrl-C."""


class EarlyStopping(Callback):
    """Ends a stage after more than ``patience`` validations in a row that are worse than its best.

    Attributes:
        best: the best score of the stage.
        waited: validations since then.
    """

    def __init__(self, patience: int, is_better: Callable[[float, float], bool], worst: float) -> None:
        self.patience, self.is_better = patience, is_better
        self.best, self.waited = worst, 0

    @property
    def exhausted(self) -> bool:
        """Whether the stage has to end."""
        return self.waited > self.patience

    def on_validation(self, record: Record) -> bool:
        """Count; True when the patience is used up."""
        if self.is_better(record["valid_score"], self.best):
            self.best, self.waited = record["valid_score"], 0
        else:
            self.waited += 1
        return self.exhausted


class EpochLog(Callback):
    """A line of the log for each epoch."""

    def on_run_start(self, trainer: Any) -> None:
        """Take what the line needs."""
        self.trainer = trainer

    def on_epoch_end(self, record: Record) -> None:
        """Say it."""
        _log.info(epoch_line(record, self.trainer.epochs, self.trainer.valid_metric))


class HistoryFile(Callback):
    """``history.jsonl`` of the run's folder, where it has one."""

    def on_run_start(self, trainer: Any) -> None:
        """Begin with the epochs before."""
        self.folder = trainer.folder
        if self.folder is not None:
            self.folder.start_history(trainer.history)

    def on_epoch_end(self, record: Record) -> None:
        """Write a line."""
        if self.folder is not None:
            self.folder.append_history(record)


class RecBoleReports(Callback):
    """What RecBole's own ``fit`` reports: its lines in the log, TensorBoard and Weights & Biases."""

    def __init__(self, verbose: bool) -> None:
        self.verbose, self.validations = verbose, 0

    def on_run_start(self, trainer: Any) -> None:
        """Take the writers."""
        self.trainer = trainer

    def on_validation(self, record: Record) -> None:
        """Score and metrics of a validation."""
        trainer, epoch = self.trainer, record["epoch"]
        trainer.tensorboard.add_scalar("Vaild_score", record["valid_score"], epoch)  # spelled as RecBole does
        trainer.wandblogger.log_metrics({**record["valid"], "valid_step": self.validations}, head="valid")
        self.validations += 1
        if self.verbose:
            trainer.logger.info(
                "epoch %d evaluating [time: %.2fs, valid_score: %f]",
                epoch,
                record["valid_seconds"],
                record["valid_score"],
            )
            trainer.logger.info(
                "valid result: \n" + "    ".join(f"{k} : {v}" for k, v in record["valid"].items())
            )

    def on_epoch_end(self, record: Record) -> None:
        """The training loss."""
        trainer, epoch, terms = self.trainer, record["epoch"], tuple(record["terms"].values())
        losses = terms if len(terms) > 1 else record["loss"]
        trainer._add_train_loss_to_tensorboard(epoch, losses)
        step = {"epoch": epoch, "train_loss": losses, "train_step": epoch}
        trainer.wandblogger.log_metrics(step, head="train")
        if self.verbose:
            trainer.logger.info(trainer._generate_train_loss_output(epoch, 0.0, record["seconds"], losses))

    def on_run_end(self, outcome: str) -> None:
        """The hyper-parameters with the best score."""
        self.trainer._add_hparam_to_tensorboard(self.trainer.best_valid_score)
