"""The desk of a search: it hands out trials, each configured before it runs, and takes what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import recbole_mm
from recbole_mm.config import Config
from recbole_mm.config.known import keys_read
from recbole_mm.config.properties import recbole_dir
from recbole_mm.data.shared import Packed
from recbole_mm.errors import Failure, WrongUse
from recbole_mm.quick_start.fingerprint import run_key
from recbole_mm.quick_start.logger import init_logger
from recbole_mm.quick_start.pretrain_config import pretraining_of
from recbole_mm.quick_start.pretrain_vectors import filled, is_there
from recbole_mm.quick_start.search.searcher import Points
from recbole_mm.quick_start.search.space import Point
from recbole_mm.quick_start.session import Session, shared_data
from recbole_mm.run.folder import RunFolder
from recbole_mm.run.spec import RunSpec

#: what a search that prunes a trial leaves in ``stopped_by`` of its record
PRUNED = "pruned"
FINISHED, FAILED = "finished", "failed"
# of the files that make the data: those that make loaders of them
_OF_LOADERS = ("build.py", "dataloader.py", "draws.py", "phase_sampler.py", "sampler.py")


@dataclass
class Trial:
    """One point of the space, and what became of it.

    Attributes:
        number: from 0 on, in the order in which they were chosen.
        record: of its run; None where it failed.
        history: a record an epoch.
        error: why it failed, in one line.
    """

    number: int
    point: Point
    spec: RunSpec | None = None
    config: Config | None = None
    record: dict[str, Any] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    folder: RunFolder | None = None
    error: str | None = None

    @property
    def label(self) -> str:
        """Its settings in words."""
        return ", ".join(f"{key}={_short(value)}" for key, value in self.point.items())

    @property
    def score(self) -> float | None:
        """The best on validation; None where there is none."""
        return None if self.record is None else self.record.get("best_valid_score")

    @property
    def status(self) -> str:
        """``finished``, ``pruned`` or ``failed``."""
        if self.record is None or self.score is None:
            return FAILED
        return PRUNED if self.record.get("stopped_by") == PRUNED else FINISHED

    def take(self, folder: RunFolder) -> None:
        """Take what a finished run left."""
        result = folder.result()
        self.folder, self.record, self.history = folder, result.record, result.history


class Desk:
    """Hands out trials in the order in which their points are chosen.

    Args:
        model: as it was named.
        dataset: its name.
        settings: what all trials have in common.
        points: their points.
        label: of the row that is searched.
        log: folder of the log of a pre-training that trials ask for, which is made here, once, before a trial is handed
            out; None: a trial makes it itself, as any run.
    """

    def __init__(
        self,
        model: str,
        dataset: str,
        settings: dict[str, Any],
        points: Points,
        label: str,
        log: Path | None = None,
    ) -> None:
        self.model, self.dataset, self.settings, self.points, self.label = (
            model,
            dataset,
            settings,
            points,
            label,
        )
        self.log = log
        self.trials: list[Trial] = []

    def next(self) -> Trial | None:
        """The next trial, which may have failed as it cannot be configured; None where there is no more."""
        point = self.points.next()
        if point is None:
            return None
        trial = Trial(len(self.trials), point)
        self.trials.append(trial)
        try:
            self.configure(trial)
        except (WrongUse, Failure) as error:
            if isinstance(error, Failure) and "pretrain" not in point:
                raise  # of the pre-training of all trials
            trial.error = str(error)
            self.done(trial)
        return trial

    def configure(self, trial: Trial) -> None:
        """Set the configuration and the specification of a trial by its point.

        Raises:
            WrongUse: the point cannot be.
            Failure: its pre-training failed.
        """
        trial.config = config = Config(self.model, self.dataset, None, {**self.settings, **trial.point})
        # the key is that of what was asked for, so that either engine finds the runs of the other
        key = run_key(config, config["seed"])
        if self.log is not None:
            trial.config = config = _filled(config, self.log)
        trial.spec = replace(config.spec, label=f"{self.label} {trial.label}", key=key)

    def done(self, trial: Trial) -> None:
        """Tell the searcher what became of a trial."""
        self.tell(trial, trial.score)

    def tell(self, trial: Trial, score: float | None) -> float | None:
        """Tell the searcher how good a trial was; the score, the more the better."""
        bigger = trial.config is None or trial.config["valid_metric_bigger"]
        good = score if score is None or bigger else -score
        self.points.tell(trial.number, None if good is None else -good)
        return good

    def ready(self) -> Iterator[Trial]:
        """The trials that can be chosen before another has ended."""
        while self.points.ready and (trial := self.next()) is not None:
            yield trial


class DataSets:
    """The data sets of a search without their test rows, each built once: most searches have one."""

    def __init__(self, put: Callable[[Packed], Any]) -> None:
        self._put = put
        self._made: dict[str, Any] = {}

    def of(self, config: Config) -> Any:
        """What ``put`` gave for the data of a configuration."""
        read = sorted((key, repr(config[key])) for key in data_keys() if key in config)
        key = repr(read)
        if key not in self._made:
            self._made[key] = self._put(shared_data(config, test=False))
        return self._made[key]


@cache
def data_keys() -> frozenset[str]:
    """The configuration keys that the code reads which makes data sets and parts of them."""
    ours = Path(recbole_mm.__file__).parent / "data"
    files = [file for file in ours.glob("*.py") if file.name not in _OF_LOADERS]
    files += [*(recbole_dir() / "data/dataset").glob("*.py"), recbole_dir() / "data/interaction.py"]
    read = frozenset().union(*(keys_read(file.read_text(encoding="utf-8")) for file in files))
    return read - {"checkpoint_dir"}


def _filled(config: Config, log: Path) -> Config:
    """``config`` with the vectors of its pre-training; says so where that is yet to be made."""
    first = pretraining_of(config)
    if first is None or is_there(first):
        return filled(config, Session)
    print(f"pre-training {first['model']} first, once for all trials that ask for it")
    with init_logger(first, verbosity="quiet", folder=log):
        return filled(config, Session)


def _short(value: Any) -> str:
    """As few digits as tell a number from every other: runs of one search are known by their labels."""
    short = f"{value:.4g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)
