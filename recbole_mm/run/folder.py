"""A run as a folder: the one writer and the one reader of its files.

=================  ==============================================================================================
``spec.yaml``      what was asked for (`RunSpec`) and the format of the folder
``history.jsonl``  a line an epoch
``best.pth``       the best weights on validation
``last.pth``       all that a run needs to go on; gone once it has ended
``trained_on.npy`` a number for each training pair, for runs that start from these weights
``queries.parquet``, ``groups.parquet``  test metrics by query and by group
``showcase.json``  lists of some users and a map of the items, for pages
``record.json``    scores, settings, versions; written last, so where it is the run is whole
=================  ==============================================================================================

What they name is relative to the folder or to the working folder, so a folder may be moved and shared.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from recbole_mm.errors import Failure, WrongUse, one_line
from recbole_mm.files import append_line, read_lines, remove_litter, replacing, write_text
from recbole_mm.run.spec import RunSpec

FORMAT = 1
SPEC, HISTORY, RECORD, SHOWCASE = "spec.yaml", "history.jsonl", "record.json", "showcase.json"
BEST, LAST, TRAINED_ON = "best.pth", "last.pth", "trained_on.npy"
#: the record of a finished run while it is taken up again
_BEFORE = "record.before.json"
TABLES = ("queries", "groups")


@dataclass(frozen=True)
class RunResult:
    """What a run leaves.

    Attributes:
        record: JSON-able: settings, scores, how training ended, files, versions.
        queries: one row a test query (user, domain, n_positives, metrics); None with ``evaluator: recbole``.
        groups: the test metrics by group; None where ``eval_groups`` is empty.
        history: per epoch: loss terms, seconds, validation metrics.
    """

    record: dict[str, Any]
    queries: pd.DataFrame | None = None
    groups: pd.DataFrame | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._depth = 0

    @classmethod
    def create(cls, parent: str | os.PathLike[str], spec: RunSpec) -> RunFolder:
        """A new ``<parent>/<Model>-<dataset>-<seed>-<time>``, its name never that of another run."""
        model = spec.model.rpartition(":")[2].rpartition(".")[2] or spec.model
        stem = f"{model}-{spec.dataset}-{spec.seed}-{time.strftime('%Y%m%d-%H%M%S')}".replace(os.sep, "_")
        for number in count(1):
            path = Path(parent) / (stem if number == 1 else f"{stem}-{number}")
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            folder = cls(path)
            head = f"# a run of recbole_mm; `recbole-mm run --resume {path.name}` goes on with it\n"
            body = yaml.safe_dump({"format": FORMAT, **spec.as_dict()}, sort_keys=False, allow_unicode=True)
            write_text(path / SPEC, head + body)
            return folder
        raise AssertionError("unreachable: count() does not end")

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunFolder:
        """The run at ``path``: a run folder, a file in one, or a folder with one run in it.

        Raises:
            WrongUse: it is none, or of a newer format.
        """
        named = Path(path).expanduser()
        place = named.parent if named.is_file() else named
        if not (place / SPEC).is_file() and len(inside := list(named.glob(f"*/{SPEC}"))) == 1:
            place = inside[0].parent
        if not (place / SPEC).is_file():
            raise WrongUse(f"{path}: {_why_none(named)}")
        folder = cls(place)
        folder.read_spec()
        return folder

    # ---- reading

    @property
    def best(self) -> Path:
        """Where the best weights are, or will be."""
        return self.path / BEST

    @property
    def last(self) -> Path:
        """Where the state to go on from is, or will be."""
        return self.path / LAST

    @property
    def finished(self) -> bool:
        """Whether the run is whole."""
        return (self.path / RECORD).is_file()

    def read_spec(self) -> RunSpec:
        """What was asked for."""
        file = self.path / SPEC
        try:
            plain = yaml.load(
                file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            )
            if plain["format"] > FORMAT:
                raise WrongUse(f"{file}: written by a newer recbole_mm (format {plain['format']}); update it")
            spec = RunSpec.from_dict(plain)
            if not (spec.model and spec.dataset):
                raise KeyError("model, dataset")
        except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, WrongUse):
                raise
            raise WrongUse(
                f"{file}: no description of a run ({one_line(error)}); if it was one, remove its folder and run it "
                "again"
            ) from error
        return spec

    def read_history(self) -> list[dict[str, Any]]:
        """A record an epoch; a last line that a kill cut off is left out."""
        return read_lines(self.path / HISTORY)

    def result(self) -> RunResult:
        """All that the finished run left. Raises ``WrongUse`` where it has not ended, ``Failure`` on a broken file."""
        if not self.finished:
            raise WrongUse(f"{self.path}: the run has not ended; go on with --resume {self.path}")
        try:
            record = json.loads((self.path / RECORD).read_text(encoding="utf-8"))
            tables = {name: self._read_table(name) for name in TABLES}
            history = self.read_history()
            if not isinstance(record, dict):
                raise ValueError(f"{RECORD} is no record")
            if not all(isinstance(line, dict) and "epoch" in line for line in history):
                raise ValueError(f"a line of {HISTORY} is no epoch")
        except (OSError, ValueError) as error:
            raise Failure(
                f"{self.path}: the stored run cannot be read ({one_line(error)}); remove this folder and run it again"
            ) from error
        return RunResult(record, tables["queries"], tables["groups"], history)

    def read_showcase(self) -> dict[str, Any] | None:
        """What a page shows of the model beside its figures (`quick_start.showcase`); None where there is none."""
        file = self.path / SHOWCASE
        try:
            found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        except ValueError:
            return None  # it can be made again
        return found if isinstance(found, dict) and found.keys() >= {"users", "map", "items"} else None

    def _read_table(self, name: str) -> pd.DataFrame | None:
        file = self.path / f"{name}.parquet"
        return pd.read_parquet(file) if file.is_file() else None

    # ---- writing

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While open, no other process writes here; the lock of a killed process is gone with it.

        Raises:
            WrongUse: another process has it.
        """
        if self._depth == 0:
            self._descriptor = os.open(self.path, os.O_RDONLY)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(self._descriptor)
                raise WrongUse(
                    f"{self.path}: another process is writing this run; wait until it has ended"
                ) from error
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                os.close(self._descriptor)

    def start_history(self, records: Sequence[dict[str, Any]]) -> None:
        """Begin the history anew with ``records``, those of a run that is taken up; it has no result until it ends."""
        for name in (BEST, LAST, TRAINED_ON, HISTORY, RECORD):
            remove_litter(self.path / name)
        if self.finished:
            os.replace(self.path / RECORD, self.path / _BEFORE)
        write_text(self.path / HISTORY, "".join(json.dumps(each) + "\n" for each in records))

    def write_trained_on(self, pairs: np.ndarray) -> None:
        """Write the training pairs, as `recbole_mm.data.training_hash.pair_hashes` numbers them."""
        with replacing(self.path / TRAINED_ON) as temporary, temporary.open("wb") as stream:
            np.save(stream, pairs)

    def append_history(self, record: dict[str, Any]) -> None:
        """Add the record of an epoch."""
        append_line(self.path / HISTORY, record)

    def write_showcase(self, showcase: dict[str, Any]) -> None:
        """Write what a page shows of the model beside its figures."""
        write_text(self.path / SHOWCASE, json.dumps(showcase, separators=(",", ":")) + "\n")

    def amend(self, **fields: Any) -> dict[str, Any]:
        """Add ``fields`` to the record of a finished run; returns the record."""
        record = {**self.result().record, **fields}
        self._write_record(record)
        return record

    def _write_record(self, record: dict[str, Any]) -> None:
        write_text(self.path / RECORD, json.dumps(record, indent=1, default=str) + "\n")

    def finish(self, result: RunResult, keep: str) -> None:
        """Write the tables, then the record; drop the checkpoints that are not kept (``best``, ``all``, ``none``)."""
        for name in TABLES:
            table = getattr(result, name)
            if table is not None:
                with replacing(self.path / f"{name}.parquet") as temporary:
                    table.to_parquet(temporary, index=False)
        self._write_record(result.record)
        (self.path / _BEFORE).unlink(missing_ok=True)
        if keep != "all":
            self.last.unlink(missing_ok=True)
        if keep == "none":
            for name in (BEST, TRAINED_ON):
                (self.path / name).unlink(missing_ok=True)


def run_folders(parent: str | os.PathLike[str], since: float = 0.0) -> dict[str, RunFolder]:
    """The run folders in ``parent`` that were made after ``since`` (seconds), by their key.

    Of equal ones the latest that is finished, else the latest.
    """
    found: dict[str, RunFolder] = {}
    for file in sorted(Path(parent).glob(f"*/{SPEC}")):
        folder = RunFolder(file.parent)
        key = folder.read_spec().key if file.stat().st_mtime >= since else None
        if key is not None and (key not in found or folder.finished or not found[key].finished):
            found[key] = folder
    return found


def _why_none(place: Path) -> str:
    missing = not place.exists()
    runs = sorted(
        (place.parent if missing else place).glob(f"*/{SPEC}"), key=lambda file: file.stat().st_mtime
    )
    if missing:
        return "no such run" + (f"; the newest there is {runs[-1].parent}" if runs else "")
    if runs:
        return f"there are {len(runs)} runs in it; name one of them, such as the newest, {runs[-1].parent}"
    return f"no folder of a run: it has no {SPEC}"
