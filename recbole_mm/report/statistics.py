"""From single runs to the figures of a comparison: means, spreads, the reference row, relative change, order.

Pure: nothing is read, written or printed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from recbole_mm.run.comparison import Comparison, RowResult
from recbole_mm.run.metric import smaller_is_better


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


def reference_row(comparison: Comparison) -> RowResult | None:
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


def relative_change(row: RowResult, reference: RowResult, column: str) -> float | None:
    """(mean of the row - mean of the reference) / mean of the reference, on the test set."""
    ours, theirs = spread(row.values(column)), spread(reference.values(column))
    if ours is None or theirs is None or theirs.mean == 0:
        return None
    return (ours.mean - theirs.mean) / theirs.mean


def order_of(rows: Sequence[RowResult], value: dict[str, float], bigger: bool = True) -> list[str]:
    """Labels from the best to the worst value."""
    return sorted((row.label for row in rows), key=lambda label: value[label], reverse=bigger)


def best_text(means: Iterable[float], column: str) -> str | None:
    """The best mean as it is displayed, so that rows that look equal are equally bold; None of fewer than two."""
    numbers = [mean for mean in means if not math.isnan(mean)]
    if len(numbers) < 2:
        return None
    return f"{(min if smaller_is_better(column) else max)(numbers):.4f}"


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
            published = {row.label: row.published[name] for row in rows}
            theirs = order_of(rows, published, not smaller_is_better(column))
            if ours != theirs:
                sentences.append(
                    f"Our order by {column} differs from the published one by {name.upper()}: "
                    f"ours {' > '.join(ours)}; published {' > '.join(theirs)}."
                )
    return sentences


def mean_seconds(row: RowResult) -> float:
    """Mean seconds of a run of this row; 0 when none finished."""
    seconds = row.field_values("seconds")
    return float(np.mean(seconds)) if seconds else 0.0
