"""Negative items for training: vectorised, inside one domain, from training rows alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from recbole_mm.errors import Failure, WrongUse

#: pairs of user and item up to which seen ones are kept as a table of one byte each
TABLE_BYTES = 64 << 20
#: how many of those without a negative an error names
NAMED = 5
USER_FILTER = "filter such users with user_inter_num_interval"
ITEM_FILTER = "filter such items with item_inter_num_interval, or leave the domain out"


def nothing_to_draw(kind: str, names: Sequence[object] | np.ndarray, done: str, remedy: str) -> Failure:
    """What to raise where no negative exists for ``names``, who have ``done`` that."""
    one = len(names) == 1
    shown = ", ".join(map(str, names[:NAMED])) + ", …" * (len(names) > NAMED)
    return Failure(
        f"{len(names)} {kind}{'' if one else 's'} {'has' if one else 'have'} {done}, "
        f"so no negative can be drawn: {shown}; {remedy}"
    )


class SeenPairs:
    """Pairs of an owner (a user, mostly) and an item, asked for by many at once.

    Args:
        owners, items: the pairs, ``[n]`` ids; they may repeat.
        n_items: ``I``, with ``[PAD]``.
    """

    def __init__(self, owners: np.ndarray, items: np.ndarray, n_items: int):
        self.n_items = n_items
        self.keys = np.unique(np.asarray(owners, dtype=np.int64) * n_items + np.asarray(items))
        # a look-up beats a binary search where all pairs fit into memory
        n_pairs = (int(self.keys[-1]) // n_items + 1) * n_items if len(self.keys) else 0
        self._table: np.ndarray | None = None
        if 0 < n_pairs <= TABLE_BYTES:
            self._table = np.zeros(n_pairs, dtype=bool)
            self._table[self.keys] = True

    def __call__(self, keys: np.ndarray) -> np.ndarray:
        """Whether each pair, ``owner * I + item``, is one of them, bool ``[n]``."""
        if self._table is not None:
            return self._table[keys]
        if not len(self.keys):
            return np.zeros(len(keys), dtype=bool)
        place = np.searchsorted(self.keys, keys)
        return self.keys[np.minimum(place, len(self.keys) - 1)] == keys


class NegativeSampler:
    """Draw items a user has no training row with, or that are others than the positive, from the positive's domain.

    RecBole's sampler tests one Python set per row and counts validation and test rows in its popularity table;
    this one tests all candidates of a batch at once and sees training rows only.

    Args:
        users, items: training rows, ``[n]`` internal ids.
        n_items: ``I``, with ``[PAD]``.
        repeatable: all but the positive itself is a negative, what the user has rows with too.
        distribution: ``uniform``, or ``popularity`` (training count to the power ``alpha``).
        item_domain: ``[I]`` domain of each item, -1 for ``[PAD]`` and for items that no row gives one; None where there
            is one domain.
        rng: the source of all randomness.
        tokens: names of the users, or with ``repeatable`` of the items, for an error.

    Raises:
        Failure: a user has a training row with every item of a domain, or an item is alone in one, so no negative
            exists.
    """

    def __init__(
        self,
        users: np.ndarray,
        items: np.ndarray,
        n_items: int,
        *,
        rng: np.random.Generator,
        distribution: str = "uniform",
        alpha: float = 1.0,
        item_domain: np.ndarray | None = None,
        tokens: np.ndarray | None = None,
        repeatable: bool = False,
    ):
        self.rng = rng
        self._tokens, self._repeatable = tokens, repeatable
        self.n_items = n_items
        domain = np.zeros(n_items, dtype=np.int64) if item_domain is None else np.asarray(item_domain).copy()
        domain[0] = -1
        self.item_domain = domain
        self._seen = SeenPairs(items if repeatable else users, items, n_items)

        if distribution == "uniform":
            weight = np.ones(n_items)
        elif distribution == "popularity":
            weight = np.bincount(items, minlength=n_items).astype(float) ** alpha
            weight[np.bincount(items, minlength=n_items) == 0] = 0.0
        else:
            raise WrongUse(
                f"train_neg_sample_args: distribution {distribution!r} is not 'uniform' or 'popularity'"
            )
        # items of one domain lie together; a draw is a point on the domain's stretch of the cumulative weight
        self._order = np.argsort(domain, kind="stable")[1:]
        self._edges = np.concatenate([[0.0], np.cumsum(weight[self._order])])
        n_domains = int(domain.max()) + 1
        starts = np.searchsorted(domain[self._order], np.arange(n_domains + 1))
        self._low, self._high = self._edges[starts[:-1]], self._edges[starts[1:]]
        self._is_uniform = distribution == "uniform"
        self._refuse_full(n_domains, weight)

    @classmethod
    def of_rows(
        cls, part: Any, args: Mapping[str, Any], rng: np.random.Generator, repeatable: bool = False
    ) -> NegativeSampler:
        """For the training rows ``part`` (a data set) under ``train_neg_sample_args``."""
        return cls(
            part.inter_feat[part.uid_field].numpy(),
            part.inter_feat[part.iid_field].numpy(),
            part.item_num,
            rng=rng,
            distribution=args["distribution"],
            alpha=args["alpha"],
            item_domain=None if part.item_domain is None else part.item_domain.numpy(),
            tokens=part.field2id_token[part.iid_field if repeatable else part.uid_field],
            repeatable=repeatable,
        )

    def _refuse_full(self, n_domains: int, weight: np.ndarray) -> None:
        owner, seen_item = np.divmod(self._seen.keys, self.n_items)
        # what was seen has training rows, so it can be drawn
        pair, count = np.unique(owner * n_domains + self.item_domain[seen_item], return_counts=True)
        sizes = np.bincount(self.item_domain[(weight > 0) & (self.item_domain >= 0)], minlength=n_domains)
        full = np.unique(pair[count >= sizes[pair % n_domains]] // n_domains)
        if len(full):
            names = full if self._tokens is None else self._tokens[full]
            if self._repeatable:
                raise nothing_to_draw(
                    "item", names, "no other item of the domain that can be drawn", ITEM_FILTER
                )
            what = f"all {sizes[0]} items" if n_domains == 1 else "all items of a domain"
            raise nothing_to_draw("user", names, f"interacted with {what} that can be drawn", USER_FILTER)

    def sample(self, users: np.ndarray, items: np.ndarray, n: int) -> np.ndarray:
        """Negatives int64 ``[B, n]`` for the positives ``(users [B], items [B])``."""
        domain = self.item_domain[items]
        low = np.repeat(self._low[domain], n)
        span = np.repeat(self._high[domain], n) - low
        owner = np.repeat(np.asarray(items if self._repeatable else users, dtype=np.int64) * self.n_items, n)
        drawn = np.empty(len(owner), dtype=np.int64)
        open_ = np.arange(len(owner))
        while len(open_):
            point = low[open_] + span[open_] * self.rng.random(len(open_))
            if self._is_uniform:  # the edges are 0, 1, 2, …
                place = point.astype(np.int64)
            else:
                place = np.searchsorted(self._edges, point, side="right") - 1
            drawn[open_] = self._order[np.minimum(place, len(self._order) - 1)]
            open_ = open_[self._seen(owner[open_] + drawn[open_])]
        return drawn.reshape(len(users), n)


class DomainSampler:
    """In the place of RecBole's training sampler, for RecBole's own models: negatives from the domain of the positive.

    Args:
        negatives: what draws them.
        used_ids: a set of items for each user, as RecBole's training sampler has them.
    """

    def __init__(self, negatives: NegativeSampler, used_ids: np.ndarray):
        self.negatives, self.used_ids = negatives, used_ids

    def sample_by_user_ids(self, user_ids: Any, item_ids: Any, num: int) -> torch.Tensor:
        """Negatives ``[num * B]``, the first of every row, then the second, as RecBole's."""
        drawn = self.negatives.sample(np.asarray(user_ids), np.asarray(item_ids), num)
        return torch.from_numpy(drawn.T.reshape(-1).copy())
