"""Paired tests over queries: every row against the reference, every control against its own row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recbole_mm.evaluator.significance import holm, paired_test
from recbole_mm.report.summary import Comparison, Row, reference_row

KEYS = ["user", "domain"]
BOOTSTRAP_SEED = 0


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


def paired_tests(comparison: Comparison) -> tuple[list[PairedTest], list[str]]:
    """All tests of the comparison, and a sentence for each row that could not be tested.

    Our rows against the reference (all rows, where the preset names the reference), Holm over them; the controls
    and the masked features of a row against that row, Holm over them. First the mean over seeds of each query,
    then pairs of queries.
    """
    families: list[tuple[Row, list[Row]]] = []
    reference = reference_row(comparison)
    if reference is not None:
        named = comparison.reference is not None
        ours = [row for row in comparison.main_rows if row is not reference and (named or not row.baseline)]
        families.append((reference, ours))
    for parent in comparison.main_rows:
        families.append((parent, [row for row in comparison.rows if row.of == parent.label]))
    rows = [row for first, others in families if others for row in (first, *others) if row.runs]
    found = {row.label: mean_queries(row) for row in rows}
    notes = [f"{label}: not tested, for {table}." for label, table in found.items() if isinstance(table, str)]
    tables = {label: table for label, table in found.items() if not isinstance(table, str)}
    for first, others in families:
        for row in others if first.label in tables else []:
            if row.label in tables and not same_queries(tables[row.label], tables[first.label]):
                notes.append(f"{row.label}: not tested, for its queries are not those of {first.label}.")
    metrics = list(dict.fromkeys(query_column(column) for column in comparison.columns))
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    tests = []
    for first, others in families:
        for metric in metrics:
            tests += _family(first, others, metric, tables, rng)
    return tests, notes


def mean_queries(row: Row) -> pd.DataFrame | str:
    """One line a query, sorted: user, domain, each metric's mean over the seeds; or why there is no such table."""
    tables = [run.queries for run in row.runs.values() if run.queries is not None]
    if not tables:
        return "there is no table of queries"
    keys = [key for key in KEYS if key in tables[0]]
    if any(table.duplicated(keys).any() for table in tables):
        return f"several queries have the same {' and '.join(keys)}"
    mean = pd.concat(tables).groupby(keys, dropna=False).mean(numeric_only=True).reset_index()
    if any(len(table) != len(mean) for table in tables):
        return "its seeds have different queries"
    return mean


def same_queries(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    """Whether two tables of :func:`mean_queries` hold the same queries."""
    keys = [key for key in KEYS if key in second]
    return set(keys) <= set(first) and first[keys].equals(second[keys])


def _family(
    reference: Row,
    rows: Sequence[Row],
    metric: str,
    tables: dict[str, pd.DataFrame],
    rng: np.random.Generator,
) -> list[PairedTest]:
    """The tests of one metric that are corrected together."""
    theirs = tables.get(reference.label)
    if theirs is None or metric not in theirs:
        return []
    found = []
    for row in rows:
        ours = tables.get(row.label)
        if ours is not None and metric in ours and same_queries(ours, theirs):
            found.append((row, paired_test(ours[metric].to_numpy(), theirs[metric].to_numpy(), rng)))
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
