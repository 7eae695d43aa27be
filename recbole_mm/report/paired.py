"""Paired tests over queries: rows against the reference and what they name, controls against their own row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recbole_mm.evaluator.pseudo_values import pseudo_values
from recbole_mm.evaluator.significance import holm, paired_test
from recbole_mm.report.statistics import reference_row
from recbole_mm.run.comparison import Comparison, RowResult
from recbole_mm.run.metric import metric_of

KEYS = ["user", "domain"]
BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class PairedTest:
    """RowResult minus reference on one metric of the queries: mean difference, interval, p-values (two-sided).

    ``metric`` is a column of the table, and ``difference`` that of its figures; ``p_holm`` is the t-test's p corrected
    over the pairs that are tested together.
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


def query_values(table: pd.DataFrame, column: str, sampled: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """The values of the queries behind a column of the table, and their weights in its mean, ``[Q]`` each.

    An AUC over queries is made of the queries' ``auc``. GAUC, and the mean over lists of a sampled protocol (its
    columns, or all if it is ``sampled`` alone), weigh a query by its positives. None where there are no such values.
    """
    protocol, slash, name = column.rpartition("/")
    metric = metric_of(name)
    found = f"{protocol}{slash}{'auc' if metric and metric.reads == 'rank' else name}"
    if found not in table:
        return None
    values = table[found].to_numpy(float)
    weighted = (name == "gauc" or sampled or protocol) and "n_positives" in table
    weights = table["n_positives"].to_numpy(float) if weighted else np.ones(len(values))
    return values, np.where(np.isnan(values), 0.0, weights)


def is_sampled(row: RowResult) -> bool:
    """Whether the plain columns of a row are those of a sampled protocol."""
    protocols = {str(run.record.get("protocol")).strip("[']") for run in row.runs.values()}
    return any(name.startswith("sampled") for name in protocols)


def families(comparison: Comparison) -> list[list[tuple[RowResult, RowResult]]]:
    """Pairs (row, what it is tested against), each list corrected together.

    Our rows against the reference (all rows, where the preset names it); our rows against every other baseline;
    the controls and the masked features of a row against that row; rows against those that they name, unless that pair
    is in an earlier list.
    """
    found: list[list[tuple[RowResult, RowResult]]] = []
    reference = reference_row(comparison)
    rows = [row for row in comparison.main_rows if row is not reference]
    if reference is not None and comparison.reference is not None:
        found.append([(row, reference) for row in rows])
    elif reference is not None:
        ours = [row for row in rows if not row.baseline]
        found.append([(row, reference) for row in ours])
        found.append([(row, other) for other in rows if other.baseline for row in ours])
    for parent in comparison.main_rows:
        found.append([(row, parent) for row in comparison.rows if row.of == parent.label])
    known = {(row.label, against.label) for pairs in found for row, against in pairs}
    new = [(r, a) for r, a in named_pairs(comparison) if (r.label, a.label) not in known]
    found.append(new)
    return [[(row, against) for row, against in pairs if row.runs and against.runs] for pairs in found]


def named_pairs(comparison: Comparison) -> list[tuple[RowResult, RowResult]]:
    """The rows with each of those that they are to be tested ``against``, as far as the comparison has them."""
    rows = {row.label: row for row in comparison.main_rows}
    return [(row, rows[label]) for row in rows.values() for label in row.against if label in rows]


def paired_tests(comparison: Comparison) -> tuple[list[PairedTest], list[str]]:
    """All tests of the comparison, and a sentence for each row that could not be tested.

    First the mean over seeds of each query, then pairs of queries.
    """
    groups = [pairs for pairs in families(comparison) if pairs]
    rows = {row.label: row for pairs in groups for pair in pairs for row in pair}
    found = {label: mean_queries(row) for label, row in rows.items()}
    notes = [f"{label}: not tested, for {table}." for label, table in found.items() if isinstance(table, str)]
    tables = {label: table for label, table in found.items() if not isinstance(table, str)}
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    tests: list[PairedTest] = []
    for pairs in groups:
        known = [pair for pair in pairs if all(row.label in tables for row in pair)]
        same = [(r, a) for r, a in known if same_queries(tables[r.label], tables[a.label])]
        notes += [
            f"{row.label}: not tested, for its queries are not those of {against.label}."
            for row, against in known
            if (row, against) not in same
        ]
        for column in comparison.columns:
            tests += _family(same, column, tables, rng)
    return tests, notes


def mean_queries(row: RowResult) -> pd.DataFrame | str:
    """One line a query, sorted: user, domain, each metric's mean over the seeds; or why there is no such table.

    Where rows are scored and not ranked, one line a user, of the metrics' pseudo-values.
    """
    tables = [run.queries for run in row.runs.values() if run.queries is not None]
    tables = [pseudo_values(table) if is_labelled(table) else table for table in tables]
    if not tables:
        return "there is no table of queries"
    if len(tables) < len(row.runs):
        return "the table of queries of a seed is gone"
    keys = [key for key in KEYS if key in tables[0]]
    if any(table.duplicated(keys).any() for table in tables):
        return f"several queries have the same {' and '.join(keys)}"
    mean = pd.concat(tables).groupby(keys, dropna=False).mean(numeric_only=True).reset_index()
    if any(len(table) != len(mean) for table in tables):
        return "its seeds have different queries"
    return mean


def is_labelled(queries: pd.DataFrame) -> bool:
    """Whether a table holds labelled rows and their scores, not the metrics of queries."""
    return {"label", "score"} <= set(queries)


def same_queries(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    """Whether two tables of :func:`mean_queries` hold the same queries."""
    keys = [key for key in KEYS if key in second]
    return set(keys) <= set(first) and first[keys].equals(second[keys])


def equal_rows(comparison: Comparison) -> list[str]:
    """A sentence for each set of rows whose values are the same for every query under every seed."""
    alike: dict[str, list[str]] = {}
    for row in comparison.rows:
        tables = {s: run.queries for s, run in row.runs.items() if run.queries is not None}
        if tables:
            alike.setdefault(_values(tables), []).append(row.label)
    return [
        f"Equal for every query: {', '.join(labels)}. What sets them apart has no effect here."
        for labels in alike.values()
        if len(labels) > 1
    ]


def _values(tables: Mapping[int, pd.DataFrame]) -> str:
    """A hash of the values of all queries by seed, whatever the order of rows and columns."""
    digest = hashlib.sha256()
    for seed, table in sorted(tables.items()):
        keys = [key for key in KEYS if key in table]
        ordered = table.sort_values(keys, kind="stable").reset_index(drop=True)[
            [*keys, *sorted(str(name) for name in table if name not in keys)]
        ]
        digest.update(f"{seed} {[*ordered]}".encode())
        digest.update(pd.util.hash_pandas_object(ordered, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def _family(
    pairs: Sequence[tuple[RowResult, RowResult]],
    column: str,
    tables: dict[str, pd.DataFrame],
    rng: np.random.Generator,
) -> list[PairedTest]:
    """The tests of one column that are corrected together."""
    found = []
    for row, against in pairs:
        values = [query_values(tables[each.label], column, is_sampled(each)) for each in (row, against)]
        scaled = [x * (w / w[w > 0].mean()) for x, w in filter(None, values) if w.any()]
        if len(scaled) == 2 and np.isfinite(scaled[0] - scaled[1]).sum() > 1:  # one query tells no spread
            ours, theirs = scaled
            found.append((row, against, paired_test(ours, theirs, rng)))
    corrected = holm([result.p_t for _, _, result in found])
    return [
        PairedTest(
            row=row.label,
            reference=against.label,
            metric=column,
            queries=result.n,
            difference=result.difference,
            low=result.low,
            high=result.high,
            p_t=result.p_t,
            p_wilcoxon=result.p_wilcoxon,
            p_holm=p,
        )
        for (row, against, result), p in zip(found, corrected, strict=True)
    ]


def headline_p(tests: Sequence[PairedTest], headline: str) -> dict[tuple[str, str], float]:
    """Corrected p of the headline by (row, what it is tested against)."""
    return {(test.row, test.reference): test.p_holm for test in tests if test.metric == headline}
