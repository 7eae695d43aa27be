"""From single runs to the figures of a comparison: means, spreads, the reference row, relative change, order.

Pure: nothing is read, written or printed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recbole_mm.report.runs import Run
from recbole_mm.run.metric import smaller_is_better

STOPPED_BY_CAP = "cap"


@dataclass
class Row:
    """One line of the table: a model under one setting, run once a seed.

    ``of`` names the row that a control belongs to, ``control`` says which control it is, ``missing`` the share
    of masked features when it is a point of the curve.
    """

    label: str
    model: str
    settings: dict[str, Any] = field(default_factory=dict)
    baseline: bool = False
    published: dict[str, float] = field(default_factory=dict)
    of: str | None = None
    control: str | None = None
    missing: float | None = None
    runs: dict[int, Run] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)

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


@dataclass
class Comparison:
    """Every row of a comparison with what the rows have in common.

    ``columns`` are keys of ``test_result``, the first is the headline. ``published_columns`` says beside which
    of our columns a published figure stands; the order of models is compared on each of them.
    """

    rows: list[Row]
    columns: list[str]
    dataset: str
    seeds: list[int]
    preset: str | None = None
    reference: str | None = None
    published_columns: dict[str, list[str]] = field(default_factory=dict)
    published_source: str | None = None
    common: dict[str, Any] = field(default_factory=dict)

    @property
    def headline(self) -> str:
        """The column that rows are tested and compared on."""
        return self.columns[0]

    @property
    def main_rows(self) -> list[Row]:
        """The rows that are no control of another."""
        return [row for row in self.rows if row.of is None]

    @property
    def failed(self) -> bool:
        """Whether any run of any row failed."""
        return any(row.errors for row in self.rows)

    def row(self, label: str) -> Row:
        """The row of this label."""
        return next(row for row in self.rows if row.label == label)


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over ``n`` seeds; 0 for one seed and for a model without randomness."""

    mean: float
    std: float
    n: int


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and sample standard deviation; None of nothing."""
    if not values:
        return None
    # equal values have no spread, while the rounding of their mean would leave 1e-17
    std = float(np.std(values, ddof=1)) if max(values) > min(values) else 0.0
    return Spread(float(np.mean(values)), std, len(values))


def reference_row(comparison: Comparison) -> Row | None:
    """What the others are measured against: the row that the preset names, else the best baseline on validation."""
    finished = [row for row in comparison.main_rows if row.runs]
    if comparison.reference is not None:
        return next((row for row in finished if row.label == comparison.reference), None)
    scored = [
        (float(np.mean(row.field_values("best_valid_score"))), row)
        for row in finished
        if row.baseline and row.field_values("best_valid_score")
    ]
    if not scored:
        return None
    bigger = next(iter(scored[0][1].runs.values())).record.get("valid_score_bigger", True)
    return (max if bigger else min)(scored, key=lambda pair: pair[0])[1]


def relative_change(row: Row, reference: Row, column: str) -> float | None:
    """(mean of the row - mean of the reference) / mean of the reference, on the test set."""
    ours, theirs = spread(row.values(column)), spread(reference.values(column))
    if ours is None or theirs is None or theirs.mean == 0:
        return None
    return (ours.mean - theirs.mean) / theirs.mean


def order_of(rows: Sequence[Row], value: dict[str, float], bigger: bool = True) -> list[str]:
    """Labels from the best to the worst value."""
    return sorted((row.label for row in rows), key=lambda label: value[label], reverse=bigger)


def order_sentences(comparison: Comparison) -> list[str]:
    """For every published figure and column of ours in which the models stand in another order: one sentence."""
    sentences = []
    for name, columns in comparison.published_columns.items():
        for column in columns:
            rows = [row for row in comparison.main_rows if name in row.published and row.values(column)]
            ours = order_of(
                rows,
                {row.label: float(np.mean(row.values(column))) for row in rows},
                not smaller_is_better(column),
            )
            theirs = order_of(rows, {row.label: row.published[name] for row in rows})
            if ours != theirs:
                sentences.append(
                    f"Our order by {column} differs from the published one by {name.upper()}: "
                    f"ours {' > '.join(ours)}; published {' > '.join(theirs)}."
                )
    return sentences


def mean_seconds(row: Row) -> float:
    """Mean seconds of a run of this row; 0 when none finished."""
    seconds = row.field_values("seconds")
    return float(np.mean(seconds)) if seconds else 0.0
