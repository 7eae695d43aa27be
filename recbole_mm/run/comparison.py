"""A comparison: its plan, its results, and the folder of run folders in which both are kept.

A plan is frozen before anything runs; a comparison is a plan with the results that its runs left.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from recbole_mm.errors import Failure, WrongUse
from recbole_mm.files import write_text
from recbole_mm.run.folder import RunFolder, RunResult

FORMAT = 1
FILE, RUNS = "comparison.json", "runs"
STOPPED_BY_CAP = "cap"
#: the label of a row, and a seed
At = tuple[str, int]


@dataclass(frozen=True)
class Row:
    """One line of a table: a model under one setting, run once a seed.

    ``of`` names the row that a control belongs to, ``control`` says which control it is, ``missing`` the share of
    masked features when it is a point of the curve. ``search`` says how its settings were found: trials, epochs,
    seconds, searcher, scheduler, point. ``against`` are labels of other rows that it is tested against as well.
    """

    label: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    baseline: bool = False
    published: Mapping[str, float] = field(default_factory=dict)
    of: str | None = None
    control: str | None = None
    missing: float | None = None
    search: Mapping[str, Any] | None = None
    against: Sequence[str] = ()


@dataclass(frozen=True)
class RowResult(Row):
    """A row with what its runs left, by seed: the results, and for a failed run one line."""

    runs: Mapping[int, RunResult] = field(default_factory=dict)
    errors: Mapping[int, str] = field(default_factory=dict)

    def values(self, column: str) -> list[float]:
        """The column's test value of every seed that has it, in the order of seeds."""
        found = (self.runs[seed].record.get("test_result") or {} for seed in sorted(self.runs))
        return [float(result[column]) for result in found if result.get(column) is not None]

    def field_values(self, name: str) -> list[float]:
        """A number of the record (``seconds``, ``epochs_run``, ``best_valid_score``) of every seed."""
        found = (self.runs[seed].record.get(name) for seed in sorted(self.runs))
        return [float(value) for value in found if value is not None]

    @property
    def capped_seeds(self) -> list[int]:
        """Seeds whose training ended at the cap on epochs and not by early stopping."""
        return [s for s in sorted(self.runs) if self.runs[s].record.get("stopped_by") == STOPPED_BY_CAP]


@dataclass(frozen=True)
class Plan:
    """What is to be compared, and what the rows have in common.

    ``columns`` are keys of ``test_result``, the first is the headline. ``published_columns`` says beside which
    of our columns a published figure stands; the order of models is compared on each of them.
    """

    rows: Sequence[Row]
    columns: Sequence[str]
    dataset: str
    seeds: Sequence[int]
    preset: str | None = None
    reference: str | None = None
    published_columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    published_source: str | None = None
    common: Mapping[str, Any] = field(default_factory=dict)

    @property
    def headline(self) -> str:
        """The column that rows are tested and compared on."""
        return self.columns[0]


@dataclass(frozen=True)
class Comparison(Plan):
    """A plan with results."""

    rows: Sequence[RowResult]

    @property
    def main_rows(self) -> list[RowResult]:
        """The rows that are no control of another."""
        return [row for row in self.rows if row.of is None]

    @property
    def failed(self) -> bool:
        """Whether any run of any row failed."""
        return any(row.errors for row in self.rows)

    @property
    def caption(self) -> Mapping[str, str]:
        """What was done, as the first run's record says it; empty where none does."""
        return next((caption for record in self._records() if (caption := record[1].get("evaluation"))), {})

    @property
    def unproven(self) -> list[str]:
        """Labels of the rows of which a record does not say what was asked."""
        return list(dict.fromkeys(label for label, record in self._records() if not record.get("question")))

    def _records(self) -> list[tuple[str, dict[str, Any]]]:
        return [(row.label, row.runs[seed].record) for row in self.rows for seed in sorted(row.runs)]

    def row(self, label: str) -> RowResult:
        """The row of this label."""
        return next(row for row in self.rows if row.label == label)

    @classmethod
    def of(cls, plan: Plan, results: Mapping[At, RunResult], errors: Mapping[At, str]) -> Comparison:
        """A plan with what its runs left, by (label, seed)."""

        def mine(row: Row, found: Mapping[At, Any]) -> dict[int, Any]:
            return {seed: value for (label, seed), value in found.items() if label == row.label}

        rows = [RowResult(**_fields(r), runs=mine(r, results), errors=mine(r, errors)) for r in plan.rows]
        return cls(**{**_fields(plan), "rows": rows})

    @classmethod
    def load(cls, folder: str | Path) -> Comparison:
        """The comparison in a folder, with all that its runs left.

        Raises:
            WrongUse: there is none, or one of its runs is gone.
        """
        plan, runs, errors = read_plan(folder)
        return cls.of(plan, {at: run.result() for at, run in runs.items()}, errors)


def write_plan(folder: Path, plan: Plan, runs: Mapping[At, RunFolder], errors: Mapping[At, str]) -> None:
    """Write ``comparison.json``: the plan, and where its runs are, relative to the folder."""
    document = {
        "format": FORMAT,
        "plan": asdict(plan),
        "runs": [[*at, os.path.relpath(run.path, folder)] for at, run in runs.items()],
        "errors": [[*at, text] for at, text in errors.items()],
    }
    write_text(folder / FILE, json.dumps(document, indent=1, default=str) + "\n")


def read_plan(folder: str | Path) -> tuple[Plan, dict[At, RunFolder], dict[At, str]]:
    """The plan of a comparison, its runs and its errors. Raises ``WrongUse`` where there is none."""
    file = Path(folder) / FILE
    if not file.is_file():
        raise WrongUse(f"{folder}: no comparison there, it has no {FILE}; recbole-mm compare --out makes one")
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["format"] > FORMAT:
            raise WrongUse(f"{file}: written by a newer recbole_mm (format {document['format']}); update it")
        plan = Plan(**document["plan"])
        plan = replace(plan, rows=[Row(**row) for row in plan.rows])  # type: ignore[arg-type]
        runs = {(label, seed): file.parent / path for label, seed, path in document["runs"]}
        errors = {(label, seed): text for label, seed, text in document["errors"]}
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise Failure(f"{file}: the comparison cannot be read ({error}); run it again") from error
    return plan, {at: RunFolder.open(path) for at, path in runs.items()}, errors


def _fields(value: Any) -> dict[str, Any]:
    return {each.name: getattr(value, each.name) for each in fields(value)}
