"""Is one model better than another? Paired tests on per-query tables, and Holm's correction over models.

The sign is always: first minus second, so a positive difference says that the first is higher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recbole_mm.errors import WrongUse

RESAMPLES, LEVEL = 2000, 0.95


@dataclass(frozen=True)
class Paired:
    """Mean difference over n queries, its bootstrap interval, and two-sided p values."""

    n: int
    difference: float
    low: float
    high: float
    p_t: float
    p_wilcoxon: float


def paired_test(first: np.ndarray, second: np.ndarray, rng: np.random.Generator | None = None) -> Paired:
    """Paired t test, Wilcoxon's signed-rank test, and a percentile interval of the mean of first − second.

    *Shapes*: first, second [n], the same queries in the same order; a pair with a NaN is left out. ``rng`` draws
    the resamples; without one they are always the same.
    """
    from scipy import stats  # a second that a run does not need

    d = np.asarray(first, float) - np.asarray(second, float)
    d = d[~np.isnan(d)]
    if len(d) < 2:
        raise WrongUse(f"significance: {len(d)} common queries; two tables of the same split are needed")
    if not d.any():
        return Paired(len(d), 0.0, 0.0, 0.0, 1.0, 1.0)
    rng = rng or np.random.default_rng(2020)
    means = np.array([d[rng.integers(len(d), size=len(d))].mean() for _ in range(RESAMPLES)])
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
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
