"""Metrics of ranked lists, vectorised over queries. Values equal RecBole's; its loops are over users in Python.

A query has a ``hit`` row [K] (place j holds a positive) and ``n_pos`` positives. A list shorter than K, because the
catalogue or the candidates end before, simply has no hits there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray


def hit(hits: Array, n_pos: Array, k: int) -> Array:
    """1 where any of the first k is a positive."""
    return hits[:, :k].any(axis=1).astype(float)


def recall(hits: Array, n_pos: Array, k: int) -> Array:
    """Positives among the first k / all positives."""
    return hits[:, :k].sum(axis=1) / np.maximum(n_pos, 1)


def precision(hits: Array, n_pos: Array, k: int) -> Array:
    """Positives among the first k / k."""
    return hits[:, :k].sum(axis=1) / k


def f1(hits: Array, n_pos: Array, k: int) -> Array:
    """Harmonic mean of precision and recall, which is 2 · found / (k + positives)."""
    return 2 * hits[:, :k].sum(axis=1) / (k + n_pos)


def mrr(hits: Array, n_pos: Array, k: int) -> Array:
    """1 / place of the first positive, 0 if none is among the first k."""
    first = hits[:, :k].argmax(axis=1)
    return hits[:, :k].any(axis=1) / (first + 1)


def average_precision(hits: Array, n_pos: Array, k: int) -> Array:
    """Sum of precision at the place of each positive / min(positives, k)."""
    h = hits[:, :k]
    at = h.cumsum(axis=1) / np.arange(1, h.shape[1] + 1)
    return (at * h).sum(axis=1) / np.maximum(np.minimum(n_pos, k), 1)


def ndcg(hits: Array, n_pos: Array, k: int) -> Array:
    """Sum of 1 / log2(place + 1) over the positives / the same sum with all of them in front."""
    gain = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[1.0], gain.cumsum()])  # no positives: 0 / 1
    return hits[:, :k] @ gain[: hits.shape[1]] / ideal[np.minimum(n_pos, k)]


PER_QUERY: dict[str, Callable[[Array, Array, int], Array]] = {
    **{metric.__name__: metric for metric in (ndcg, recall, precision, f1, hit, mrr)},
    "map": average_precision,
}


def hit_matrix(query: Array, position: Array, queries: int, k: int) -> Array:
    """Hits [Q, k] from the list positions of positives (-1: outside)."""
    hits = np.zeros((queries, k), dtype=bool)
    inside = (position >= 0) & (position < k)
    hits[query[inside], position[inside]] = True
    return hits


def item_metric(name: str, lists: Array, k: int, count: Array, tail_ratio: float | None) -> float:
    """A metric of what is recommended, whoever it is for.

    ``lists`` [Q, K] item ids, -1 where a list ends; ``count`` [I] training interactions of each item, PAD included.
    """
    lists = lists[:, :k]
    given = lists >= 0
    if name in ("averagepopularity", "tailpercentage"):
        of_item = count if name == "averagepopularity" else tail_items(count, tail_ratio)
        per_query = np.where(given, of_item[lists], 0).sum(axis=1) / np.maximum(given.sum(axis=1), 1)
        return float(per_query.mean())
    shown = np.bincount(lists[given], minlength=len(count))
    shown = np.sort(shown[shown > 0])
    I, total = len(count), shown.sum()  # noqa: E741
    if name == "itemcoverage":
        return len(shown) / I
    if name == "shannonentropy":
        share = shown / total
        return float(-(share * np.log(share)).sum() / len(shown))
    place = np.arange(I - len(shown) + 1, I + 1)
    return float(((2 * place - I - 1) * shown).sum() / total / I)


def tail_items(count: Array, ratio: float | None) -> Array:
    """RecBole's long tail [I] bool: the ``ratio`` least popular of the items seen in training (ties by id), or those
    seen at most ``ratio`` times where it is above 1.
    """
    ratio = 0.1 if ratio is None or ratio <= 0 else ratio
    seen = np.flatnonzero(count)
    tail = np.zeros(len(count), dtype=bool)
    if ratio > 1:
        tail[seen[count[seen] <= ratio]] = True
    else:
        tail[seen[np.argsort(count[seen], kind="stable")][: max(int(len(seen) * ratio), 1)]] = True
    return tail
