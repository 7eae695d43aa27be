"""``sampled-N``: one list of 1 + N for every positive, drawn once from ``split_seed`` (docs/evaluation.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_mm.evaluator.query import EvalTask

Array = np.ndarray


def draw_lists(task: EvalTask, users: Array, items: Array, n: int, rng: np.random.Generator) -> Array:
    """Negatives [P, n] of each positive of the task, item ids, -1 where a user has fewer untouched candidates.

    Uniform, without repetition in a list, over the query's candidates that its user has in none of the pairs
    ``users``, ``items`` (all phases). A draw that was touched or is a repetition is drawn again, which keeps the
    set of negatives uniform because all untouched candidates are treated alike.
    """
    I = task.items  # noqa: E741
    touched = np.unique(users.astype(np.int64) * I + items)
    drawn = np.full((len(task.pos_query), n), -1, np.int64)
    domains = np.full(task.queries, -1) if task.domain is None else task.domain
    for domain in np.unique(domains):
        pool = task.columns.get(int(domain), np.arange(1, I))
        rows = np.flatnonzero(domains[task.pos_query] == domain)
        user = task.user[task.pos_query[rows]]
        owner, item = np.divmod(touched, I)
        inside = np.zeros(I, bool)
        inside[pool] = True
        used = np.bincount(owner[inside[item]], minlength=int(user.max()) + 1)[user]
        # Where hardly more than n are left, drawing again would take long: those rows permute what is left.
        scarce = len(pool) - used < max(2 * n, 1)
        for r, u in zip(rows[scarce], user[scarce], strict=True):
            left = np.setdiff1d(pool, item[owner == u], assume_unique=True)
            chosen = rng.permutation(left)[:n]
            drawn[r, : len(chosen)] = chosen
        rows, user = rows[~scarce], user[~scarce]
        if len(rows):
            drawn[rows] = _draw_plenty(pool, user, touched, I, n, rng)
    return drawn


def _draw_plenty(pool: Array, user: Array, touched: Array, I: int, n: int, rng: np.random.Generator) -> Array:  # noqa: E741
    """Draw [len(user), n], again and again where touched or repeated, until nothing is left to do."""
    drawn = pool[rng.integers(len(pool), size=(len(user), n))]
    todo = np.arange(len(user))
    while len(todo):
        part = drawn[todo]
        key = user[todo, None] * I + part
        place = np.minimum(np.searchsorted(touched, key), len(touched) - 1)
        bad = touched[place] == key
        order = np.argsort(part, axis=1, kind="stable")
        ordered = np.take_along_axis(part, order, axis=1)
        again = np.zeros_like(bad)
        np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
        bad |= again
        part[bad] = pool[rng.integers(len(pool), size=int(bad.sum()))]
        drawn[todo] = part
        todo = todo[bad.any(axis=1)]
    return drawn


@dataclass(frozen=True)
class ListRanks:
    """Each list's negatives above its positive, equal to it, and in all; [P] each."""

    above: Array
    equal: Array
    negatives: Array

    @property
    def auc(self) -> Array:
        """Share of the negatives below the positive, ties one half; NaN for a list without negatives."""
        lost = self.above + self.equal / 2
        share = np.divide(lost, self.negatives, out=np.full(len(lost), np.nan), where=self.negatives > 0)
        return 1 - share

    def metric(self, name: str, k: int) -> Array:
        """A top-k metric of each list [P]: its expectation over the orders that its ties allow."""
        place = np.arange(1, k + 1)
        gain = {
            "ndcg": 1 / np.log2(place + 1),
            "mrr": 1 / place,
            "map": 1 / place,
            "precision": np.full(k, 1 / k),
            "f1": np.full(k, 2 / (k + 1)),
        }.get(name, np.ones(k))  # hit and recall
        total = np.concatenate([[0.0], gain.cumsum()])
        first, last = np.minimum(self.above, k), np.minimum(self.above + self.equal + 1, k)
        return (total[last] - total[first]) / (self.equal + 1)


def rank_lists(positive: Array, negative: Array, valid: Array) -> ListRanks:
    """Compare positives [P] with their negatives [P, n], of which ``valid`` count."""
    score = positive[:, None]
    return ListRanks(
        ((negative > score) & valid).sum(axis=1), ((negative == score) & valid).sum(axis=1), valid.sum(axis=1)
    )
