"""A trial in a process of Ray's: its configuration and its data come from the driver, it opens no file of the data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recbole_mm.config import Config
from recbole_mm.data.shared import SharedData
from recbole_mm.errors import Failure
from recbole_mm.quick_start.runs import error_file, keep_error, run_one
from recbole_mm.quick_start.search.desk import PRUNED
from recbole_mm.quick_start.session import Prepared
from recbole_mm.run.comparison import RUNS
from recbole_mm.run.folder import BEST, HISTORY, LAST, TRAINED_ON, RunFolder, run_folders
from recbole_mm.run.spec import RunSpec, read_stages
from recbole_mm.trainer import Callback

Record = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a search works: the folder of its results, seen by all machines, and the driver's working folder.

    ``since``: runs that were begun earlier are not gone on with (``--fresh``).
    """

    folder: Path
    working: Path
    threads: int
    since: float = 0.0


def run_trial(
    config: Config,
    spec: RunSpec,
    data: SharedData,
    place: Place,
    report: Callable[[Record, RunFolder], None],
    start: Path | None = None,
    until: int | None = None,
) -> None:
    """Train one trial, or go on with it; what goes wrong is written beside the runs, not raised.

    Args:
        config, spec, data: the trial.
        place: where it works.
        report: is told each validated epoch, those of an earlier process too; it raises SystemExit to end the trial.
        start: a copy of another trial's folder to go on from.
        until: after so many epochs it is left as it is, to go on another time; a model with a training loop of its own
            is trained to its end.
    """
    if not place.folder.is_dir():
        raise Failure(
            f"{place.folder} is not seen on {os.uname().nodename}; --out must lie where all machines see it"
        )
    torch.set_num_threads(place.threads)
    if config["use_gpu"]:  # the driver's machine may have another
        config["device"] = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    error_file(place.folder, spec).unlink(missing_ok=True)
    before = run_folders(place.folder / RUNS, place.since).get(spec.key or "")
    if before is not None and until is not None and _cut_before(before, until):
        before = None
    waits = until if until is not None and until < epochs_of(config) else None
    if before is not None and (before.finished or _waits(before, waits)):
        for record in before.read_history():
            if record["valid"]:
                report(record, before)
        return
    if before is None and start is not None:
        before = _taken_over(start, spec, place)
    reports = Reports(report, waits)
    callbacks = [reports, *([TakenOver()] if start is not None else [])]
    try:
        run_one(spec, callbacks, place.folder / "log", before, prepared=Prepared(config, data), test=False)
    except Paused:
        return
    except Exception as error:  # the search goes on
        keep_error(place.folder, spec, error)
    if reports.ended:
        raise SystemExit  # it waited for the last files of the run


class Paused(Exception):
    """A trial has come as far as it should for now."""


class Reports(Callback):
    """Tells the search of each epoch once its checkpoints are written, and ends a run that the search gives up."""

    def __init__(self, report: Callable[[Record, RunFolder], None], until: int | None = None) -> None:
        self._report, self._until = report, until
        self.ended = False

    def on_run_start(self, trainer: Any) -> None:
        """Tell of the epochs before."""
        self.trainer = trainer
        for record in trainer.history:
            self._tell(record)

    def on_epoch_end(self, record: Record) -> None:
        """Tell of it, where nothing is written between epochs."""
        if not self.trainer.staged:
            self._tell(record)

    def on_epoch_saved(self, record: Record) -> None:
        """Tell of it."""
        self._tell(record)
        far = self._until is not None and record["epoch"] + 1 >= self._until
        if far and not self.trainer.outcome and self.trainer.folder.last.is_file():
            raise Paused

    def _tell(self, record: Record) -> None:
        if self.ended or not record["valid"]:
            return
        try:
            self._report(record, self.trainer.folder)
        except SystemExit:  # how Ray ends a trial
            if not self.trainer.staged:
                raise
            self.ended = True
            self.trainer.stop(PRUNED)


class TakenOver(Callback):
    """A trial that goes on with another's weights has the learning rates and the decay of its own settings."""

    def on_run_start(self, trainer: Any) -> None:
        """Set them, group by group, as an optimiser has them that is built anew; a schedule starts from them."""
        steppings = list(trainer.steppings)
        fresh = trainer._build_optimizer()
        trainer.steppings[:] = steppings  # the new one takes no step
        for group, own in zip(trainer.optimizer.param_groups, fresh.param_groups, strict=True):
            group["lr"] = group["initial_lr"] = own["lr"]
            group["weight_decay"] = own["weight_decay"]


def epochs_of(config: Config) -> int:
    """How many epochs a run has, all stages together."""
    stages = read_stages(config["train_epochs"])
    return sum(stage.epochs for stage in stages) if stages else int(config["epochs"])


def _cut_before(folder: RunFolder, until: int) -> bool:
    """Whether an earlier search with fewer trials stopped it before, and kept nothing to go on from."""
    if not folder.finished:
        return False
    record = folder.result().record
    return record["stopped_by"] == PRUNED and record["epochs_run"] < until


def _waits(folder: RunFolder, until: int | None) -> bool:
    """Whether a run has come so far and can go on."""
    return until is not None and folder.last.is_file() and len(folder.read_history()) >= until


def _taken_over(start: Path, spec: RunSpec, place: Place) -> RunFolder:
    """A new folder for ``spec`` with what another trial left until now."""
    folder = RunFolder.create(place.folder / RUNS, spec)
    for name in (BEST, LAST, TRAINED_ON, HISTORY):
        if (start / name).is_file():
            shutil.copyfile(start / name, folder.path / name)
    return folder
