"""Paired tests over queries: every row against the reference, every control against its own row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from recbole_mm.evaluator.significance import holm, paired_test
from recbole_mm.report.summary import Comparison, Row, mean_queries, reference_row

KEYS = ("user", "domain")


@dataclass(frozen=True)
class PairedTest:
    """Row minus reference on one metric of the queries: mean difference, interval, p-values (two-sided).

    ``metric`` is a column of the per-query table; ``p_holm`` is the t-test's p corrected over the rows that are
    tested together.
    """

    row: str
    reference: str
    metric: str
    queries: int
    difference: float
    low: float
    high: float
    p_t: float
    p_wilcoxon: float
    p_holm: float


def query_column(column: str) -> str:
    """The per-query column behind a column of the table: an AUC over queries is made of the queries' ``auc``."""
    protocol, slash, name = column.rpartition("/")
    return f"{protocol}{slash}{'auc' if name in ('gauc', 'meanauc') else name}"


def paired_tests(comparison: Comparison) -> list[PairedTest]:
    """All tests of the comparison.

    Our rows against the reference (all rows, where the preset names the reference), Holm over them; the controls
    and the masked features of a row against that row, Holm over them.
    """
    families: list[tuple[Row, list[Row]]] = []
    reference = reference_row(comparison)
    if reference is not None:
        named = comparison.reference is not None
        ours = [row for row in comparison.main_rows if row is not reference and (named or not row.baseline)]
        families.append((reference, ours))
    for parent in comparison.main_rows:
        families.append((parent, [row for row in comparison.rows if row.of == parent.label]))
    tables = {row.label: mean_queries(row) for row in comparison.rows}
    metrics = list(dict.fromkeys(query_column(column) for column in comparison.columns))
    return [
        test
        for reference, rows in families
        for metric in metrics
        for test in _family(reference, rows, metric, tables)
    ]


def _family(
    reference: Row, rows: Sequence[Row], metric: str, tables: dict[str, pd.DataFrame | None]
) -> list[PairedTest]:
    """The tests of one metric that are corrected together; rows without the same queries are left out."""
    theirs = tables[reference.label]
    if theirs is None or metric not in theirs:
        return []
    found = []
    for row in rows:
        ours = tables[row.label]
        if ours is not None and metric in ours and same_queries(ours, theirs):
            found.append((row, paired_test(ours[metric].to_numpy(), theirs[metric].to_numpy())))
    corrected = holm([result.p_t for _, result in found])
    return [
        PairedTest(
            row=row.label,
            reference=reference.label,
            metric=metric,
            queries=result.n,
            difference=result.difference,
            low=result.low,
            high=result.high,
            p_t=result.p_t,
            p_wilcoxon=result.p_wilcoxon,
            p_holm=p,
        )
        for (row, result), p in zip(found, corrected, strict=True)
    ]


def same_queries(ours: pd.DataFrame, theirs: pd.DataFrame) -> bool:
    """Whether two tables of :func:`mean_queries` have the same queries (they are sorted alike)."""
    keys = [key for key in KEYS if key in theirs]
    return len(ours) == len(theirs) and ours[keys].equals(theirs[keys])
