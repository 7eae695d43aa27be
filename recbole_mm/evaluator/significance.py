"""Is one model better than another? Paired tests on per-query tables, and Holm's correction over models.

The sign is always: first minus second, so a positive difference says that the first is higher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from recbole_mm.errors import WrongUse

KEYS = ("user", "domain")


@dataclass(frozen=True)
class Paired:
    """Mean difference over n queries, its bootstrap interval, and two-sided p values."""

    n: int
    difference: float
    low: float
    high: float
    p_t: float
    p_wilcoxon: float


def paired_test(
    first: np.ndarray,
    second: np.ndarray,
    rng: np.random.Generator | None = None,
    *,
    resamples: int = 2000,
    level: float = 0.95,
) -> Paired:
    """Paired t test, Wilcoxon's signed-rank test, and a percentile interval of the mean of first − second.

    *Shapes*: first, second [n], the same queries in the same order; a pair with a NaN is left out. ``rng`` draws
    the resamples; without one they are always the same.
    """
    d = np.asarray(first, float) - np.asarray(second, float)
    d = d[~np.isnan(d)]
    if len(d) < 2:
        raise WrongUse(f"significance: {len(d)} common queries; two tables of the same split are needed")
    if not d.any():
        return Paired(len(d), 0.0, 0.0, 0.0, 1.0, 1.0)
    rng = rng or np.random.default_rng(2020)
    means = np.array([d[rng.integers(len(d), size=len(d))].mean() for _ in range(resamples)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    constant = bool((d == d[0]).all())  # no spread at all: scipy would warn of lost precision
    p_t = 0.0 if constant else float(stats.ttest_1samp(d, 0.0).pvalue)
    return Paired(len(d), float(d.mean()), float(low), float(high), p_t, float(stats.wilcoxon(d).pvalue))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the i-th smallest of m is multiplied by m − i, and none falls below one before."""
    values = np.asarray(p, float)
    order = np.argsort(values)
    raised = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(raised, 1.0)
    return corrected.tolist()


def against(
    baseline: str, tables: Mapping[str, pd.DataFrame], metric: str, rng: np.random.Generator | None = None
) -> pd.DataFrame:
    """Every model minus the baseline over their common queries, p values corrected over the models.

    ``tables``: the per-query table of each model. Columns: model, n, difference, low, high, p_t, p_wilcoxon,
    p_t_holm, p_wilcoxon_holm.
    """
    if baseline not in tables:
        raise WrongUse(f"significance: {baseline!r} is not one of {', '.join(tables)}")
    keys = _keys(tables[baseline])
    rows = []
    for name in (name for name in tables if name != baseline):
        for table in (tables[name], tables[baseline]):
            if metric not in table:
                raise WrongUse(f"significance: no column {metric!r}; there are {', '.join(table.columns)}")
        _keys(tables[name])
        both = tables[name].merge(
            tables[baseline], on=keys, suffixes=(" first", " second"), validate="one_to_one"
        )
        first, second = (both[f"{metric} {which}"].to_numpy() for which in ("first", "second"))
        rows.append({"model": name, **vars(paired_test(first, second, rng))})
    frame = pd.DataFrame(rows, columns=["model", *Paired.__dataclass_fields__])
    for column in ("p_t", "p_wilcoxon"):
        frame[f"{column}_holm"] = holm(frame[column].tolist())
    return frame


def _keys(table: pd.DataFrame) -> list[str]:
    """The columns that name a query; rows of a sequential loader may repeat a user, which cannot be paired."""
    keys = [key for key in KEYS if key in table]
    if not keys:
        raise WrongUse(
            "significance: the table has no column user; give the per-query table of an evaluation"
        )
    if table.duplicated(keys).any():
        raise WrongUse(f"significance: several queries for one {' and '.join(keys)}; they cannot be paired")
    return keys
