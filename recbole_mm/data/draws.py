"""The items that ``uniN`` and ``popN`` rank beside the positives: drawn once, the same for every model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import NegSampleEvalDataLoader
from recbole.data.interaction import Interaction

from recbole_mm.data.sampler import USER_FILTER, nothing_to_draw
from recbole_mm.data.seen import joined, seen_pairs
from recbole_mm.data.split import PARTS
from recbole_mm.run.question import hash_tokens


class DrawnEvalDataLoader(NegSampleEvalDataLoader):
    """RecBole's loader of rows and the negatives of each, which makes a batch at once and not user by user."""

    def collate_fn(self, index: list[int]) -> tuple[Interaction, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Users ``index``: rows, a user's positives first; query of each row; query and item of each positive."""
        spans = [self.uid2index[user] for user in self.uid_list[np.asarray(index)]]
        counts = torch.tensor([span.stop - span.start for span in spans])
        rows = self._dataset[torch.cat([torch.arange(span.start, span.stop) for span in spans])]
        query = torch.repeat_interleave(torch.arange(len(spans)), counts)
        of_row = query.repeat(self.times)
        order = torch.argsort(of_row, stable=True)  # sampling appends the negatives of all rows
        sampled = self._neg_sampling(self.transform(self._dataset, rows))
        return sampled[order], of_row[order], query, rows[self.iid_field]


class FixedDraws:
    """In the place of RecBole's sampler of an evaluation loader (``resample_eval: False``).

    A user's draws come from ``split_seed``, the phase and the user's token; a draw is a place in the candidates in the
    order of their tokens. So neither another evaluation, nor another model, nor the numbering of ids changes them. With
    repetition, as RecBole's; ``uniform``, or ``popularity``: by the rows of all phases.

    Args:
        config: ``split_seed``, ``mask_seen``, ``candidates``.
        part: validation or test; its positives are never drawn, nor what ``mask_seen`` masks.
        distribution: ``uniform`` or ``popularity``.
    """

    def __init__(self, config: Any, part: Any, distribution: str) -> None:
        self.phase = part.phase
        self._seed = [config["split_seed"], PARTS.index(part.phase)]
        self._tokens, items = part.field2id_token[part.uid_field], part.field2id_token[part.iid_field]
        self._of_user = hash_tokens(self._tokens)
        pool = (
            np.flatnonzero(part.interacted)
            if config["candidates"] == "interacted"
            else np.arange(1, part.item_num)
        )
        self._pool = pool[np.argsort(np.asarray(items)[pool].astype(str), kind="stable")]
        _, rows = joined(part)
        weight = (
            np.bincount(rows, minlength=part.item_num)
            if distribution == "popularity"
            else np.ones(part.item_num)
        )
        self._edges = np.cumsum(weight[self._pool])
        excluded = (seen_pairs(part, config["mask_seen"]), part.pairs[part.phase])
        taken = np.unique(np.concatenate([u.astype(np.int64) * part.item_num + i for u, i in excluded]))
        self._owner, self._taken = np.divmod(taken, part.item_num)
        self._bounds = np.searchsorted(self._owner, np.arange(part.user_num + 1))
        self._drawable = self._pool[weight[self._pool] > 0]
        taken_of_user = np.bincount(
            self._owner[np.isin(self._taken, self._drawable)], minlength=part.user_num
        )
        self._full = taken_of_user >= len(self._drawable)

    def sample_by_user_ids(self, user_ids: Any, item_ids: Any, num: int) -> torch.Tensor:
        """``num`` negatives of each row ``[B]``, int64 ``[num * B]``: the first of every row, then the second.

        The rows of a user must come together.

        Raises:
            Failure: nothing is left to draw for a user (`refuse_full`).
        """
        rows = np.asarray(user_ids)
        users, first, counts = np.unique(rows, return_index=True, return_counts=True)
        self.refuse_full(users)
        drawn = np.empty((num, len(rows)), dtype=np.int64)
        for user, start, count in zip(users, first, counts, strict=True):
            drawn[:, start : start + count] = self._draw(int(user), (num, int(count)))
        return torch.from_numpy(drawn.reshape(-1))

    def refuse_full(self, users: np.ndarray) -> None:
        """Raise ``Failure`` with the names of those of ``users`` for whom nothing can be drawn."""
        full = users[self._full[users]]
        if len(full):
            done = f"interacted with all {len(self._drawable)} items that can be drawn"
            raise nothing_to_draw("user", self._tokens[full], done, USER_FILTER)

    def _draw(self, user: int, shape: tuple[int, int]) -> np.ndarray:
        rng = np.random.default_rng([*self._seed, int(self._of_user[user])])
        taken = self._taken[self._bounds[user] : self._bounds[user + 1]]
        pool, edges = self._pool, self._edges
        if 2 * len(taken) > len(pool):  # drawing again would take long
            left = ~np.isin(pool, taken)
            weight = np.diff(edges, prepend=0)[left]
            pool, edges = pool[left], weight.cumsum()
        drawn = np.empty(shape[0] * shape[1], dtype=np.int64)
        todo = np.arange(len(drawn))
        while len(todo):
            place = np.searchsorted(edges, rng.random(len(todo)) * edges[-1], side="right")
            drawn[todo] = pool[np.minimum(place, len(pool) - 1)]
            todo = todo[np.isin(drawn[todo], taken)]
        return drawn.reshape(shape)
