"""Users described by what they took or wrote: the mean of vectors over a user's items, or reviews."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HistoryMean(nn.Module):
    """Mean over each user's items of vectors given per item; an item taken twice counts once.

    A linear map commutes with the mean, so the vectors may be features already projected to the model's width: no
    table of users times feature width is ever built.

    "Item" may be anything that has a vector, such as a review; what belongs to one user alone is best read with
    :meth:`of_own`.

    Args:
        users, items: interactions, ``[n]``.
        n_users: U.
        n_items: I.
    """

    start: Tensor
    count: Tensor
    items: Tensor

    def __init__(self, users: np.ndarray, items: np.ndarray, n_users: int, n_items: int):
        super().__init__()
        taken = sp.csr_matrix((np.ones(len(users)), (users, items)), shape=(n_users, n_items))
        taken.sort_indices()
        self.register_buffer("start", torch.from_numpy(taken.indptr[:-1].astype(np.int64)), persistent=False)
        self.register_buffer(
            "count", torch.from_numpy(np.diff(taken.indptr).astype(np.int64)), persistent=False
        )
        self.register_buffer("items", torch.from_numpy(taken.indices.astype(np.int64)), persistent=False)

    def bags(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """The items of ``users [n]`` one after the other ``[t]``, and where each user's begin ``[n]``."""
        count = self.count[users]
        offsets = count.cumsum(0) - count
        within = torch.arange(int(count.sum()), device=users.device) - offsets.repeat_interleave(count)
        return self.items[self.start[users].repeat_interleave(count) + within], offsets

    def forward(self, users: Tensor, vectors: Tensor, place: Tensor | None = None) -> Tensor:
        """``[n, d]``; zeros for a user without items.

        Args:
            users: ``[n]``.
            vectors: ``[m, d]``.
            place: ``[I]``, an item's row in ``vectors``; None where row i is item i.
        """
        items, offsets = self.bags(users)
        rows = items if place is None else place[items]
        return F.embedding_bag(rows, vectors, offsets, mode="mean")

    def of_own(self, users: Tensor, vectors_of: Callable[[Tensor], Tensor]) -> Tensor:
        """As :meth:`forward`, ``[n, d]``, where ``vectors_of(items [t]) -> [t, d]`` is asked for the bags alone."""
        items, offsets = self.bags(users)
        own = torch.arange(len(items), device=users.device)
        return F.embedding_bag(own, vectors_of(items), offsets, mode="mean")
