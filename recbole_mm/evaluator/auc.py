"""Three AUCs that are never under one name: per query (GAUC, MeanAUC) and pooled. Ties count one half."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

Array = np.ndarray


def query_auc(query: Array, mean_rank: Array, n_pos: Array, candidates: Array) -> Array:
    """AUC of each query [Q] from the mean ranks of its positives [P]; NaN without positives or negatives.

    P(negative below positive) = ((n + 1) p − p (p + 1) / 2 − Σ rank) / (p (n − p)), n candidates, p positives.
    """
    rank_sum = np.bincount(query, mean_rank, minlength=len(n_pos))
    pairs = n_pos * (candidates - n_pos)
    below = (candidates + 1) * n_pos - n_pos * (n_pos + 1) / 2 - rank_sum
    return np.divide(below, pairs, out=np.full(len(n_pos), np.nan), where=pairs > 0)


def gauc(auc: Array, n_pos: Array) -> float:
    """Mean over queries weighted by their positives; queries without negatives are left out, as in RecBole."""
    usable = ~np.isnan(auc)
    weight = n_pos[usable].sum()
    return float((auc[usable] * n_pos[usable]).sum() / weight) if weight else float("nan")


def mean_auc(auc: Array, n_pos: Array | None = None) -> float:
    """Unweighted mean over the queries that have negatives, however many positives they have."""
    usable = auc[~np.isnan(auc)]
    return float(usable.mean()) if len(usable) else float("nan")


OVER_QUERIES: dict[str, Callable[[Array, Array], float]] = {"gauc": gauc, "meanauc": mean_auc}


def positive_auc(query: Array, mean_rank: Array, score: Array, n_pos: Array, candidates: Array) -> Array:
    """Share of the query's negatives below each positive [P] (so that a query's positives can be told apart)."""
    order = np.lexsort((-score, query))
    q, s = query[order], score[order]
    new = np.r_[True, (q[1:] != q[:-1]) | (s[1:] != s[:-1])]
    run = new.cumsum() - 1
    first = np.flatnonzero(new)
    length = np.diff(np.r_[first, len(q)])
    offset = np.cumsum(n_pos) - n_pos
    among = np.empty(len(q))
    among[order] = (first + (length + 1) / 2)[run] - offset[q]
    negatives = (candidates - n_pos)[query]
    above = mean_rank - among
    return np.divide(negatives - above, negatives, out=np.full(len(q), np.nan), where=negatives > 0)


def pooled_auc(positive: Array, negatives: Iterable[Array]) -> float:
    """AUC over all scores of all queries, exact. ``negatives`` comes in parts, which are sorted in place."""
    value, times = np.unique(positive, return_counts=True)
    twice_below = np.zeros(len(value), dtype=np.int64)
    total = 0
    for part in negatives:
        part.sort()
        same = value.astype(part.dtype)  # as the scores were: mixed types would be copied at each search
        twice_below += np.searchsorted(part, same) + np.searchsorted(part, same, side="right")
        total += len(part)
    pairs = total * int(times.sum())
    return float((twice_below * times).sum() / 2 / pairs) if pairs else float("nan")
