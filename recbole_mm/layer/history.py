"""Users described by what they took or wrote: a mean over a user's items or reviews, or the last of them in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kind = Literal["items", "reviews"]


@dataclass(frozen=True)
class Taken:
    """What users took or wrote: ``ids [t]`` of items, or of reviews, each by its user of ``users [t]``."""

    kind: Kind
    users: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True)
class Bags:
    """The ids of n users, one user after the other: ``ids [t]``, of which user k has ``size[k]`` (``size [n]``)."""

    kind: Kind
    ids: Tensor
    size: Tensor

    def mean(self, vectors: Tensor, rows: Tensor | None = None) -> Tensor:
        """Each user's mean ``[n, d]``, zeros for a user without ids.

        Args:
            vectors: ``[m, d]``.
            rows: ``[t]``, the row in ``vectors`` of each id; None: there is a vector for each, in their order.
        """
        if rows is None:
            rows = torch.arange(len(self.ids), device=vectors.device)
        return F.embedding_bag(rows, vectors, self.size.cumsum(0) - self.size, mode="mean")


class UserHistory(nn.Module):
    """What each user took or wrote, in S parts such as one a domain and modality; an id taken twice counts once.

    A linear map commutes with the mean, so what is averaged may be features already projected to the model's width:
    no table of users times feature width is ever built. An item is shared by many users and is best projected once a
    step for all of them; a review has one user.

    Args:
        n_users: U.
        parts: what was taken, of either kind.
    """

    start: Tensor
    count: Tensor
    ids: Tensor

    def __init__(self, n_users: int, parts: Sequence[Taken]):
        super().__init__()
        self.kinds = [part.kind for part in parts]
        none = [np.empty(0, dtype=np.int64)]
        cell = np.concatenate(none + [k * n_users + part.users for k, part in enumerate(parts)])
        ids = np.concatenate(none + [part.ids for part in parts])
        n_ids = int(ids.max(initial=0)) + 1
        cell, ids = np.divmod(np.unique(cell * n_ids + ids), n_ids)
        count = np.bincount(cell, minlength=len(parts) * n_users)
        for name, value in (("ids", ids), ("count", count), ("start", np.cumsum(count) - count)):
            shaped = value if name == "ids" else value.reshape(len(parts), n_users)
            self.register_buffer(name, torch.from_numpy(shaped), persistent=False)

    def gather(self, users: Tensor) -> list[Bags]:
        """The ids of ``users [n]`` in each part."""
        size = self.count[:, users]
        of_part = size.sum(dim=1).tolist()
        where = _ranges(self.start[:, users].flatten(), size.flatten(), sum(of_part))
        parts = self.ids[where].split(of_part)
        return [Bags(kind, ids, n) for kind, ids, n in zip(self.kinds, parts, size, strict=True)]


class OrderedHistory(nn.Module):
    """What each user took, in order, in K parts such as domains; a thing taken twice is there twice.

    A cell is the place of a user and a part, ``part * U + user``.

    Args:
        n_users: U.
        n_parts: K.
        users, parts, ids: ``[t]`` what was taken, by whom, in which part; in the order of time.
        length: L, how many of the last ones a user is described by.
    """

    start: Tensor
    count: Tensor
    window: Tensor
    ids: Tensor

    def __init__(
        self, n_users: int, n_parts: int, users: np.ndarray, parts: np.ndarray, ids: np.ndarray, length: int
    ):
        super().__init__()
        self.n_users, self.length = n_users, length
        cell = np.asarray(parts, dtype=np.int64) * n_users + users
        ids = np.asarray(ids)
        count = np.bincount(cell, minlength=n_parts * n_users)
        # a thing left out may have been taken several times: so many more are looked at
        pair, copies = np.unique(cell * (ids.max(initial=0) + 1) + ids, return_counts=True)
        most = np.zeros(len(count), dtype=np.int64)
        np.maximum.at(most, pair // (ids.max(initial=0) + 1), copies)
        values = {
            "ids": ids[np.argsort(cell, kind="stable")],
            "start": np.cumsum(count) - count,
            "count": count,
            "window": np.minimum(count, length + most),
        }
        for name, value in values.items():
            self.register_buffer(name, torch.from_numpy(value), persistent=False)

    def all_of(self, cells: Tensor) -> Bags:
        """All that was taken in ``cells [n]``."""
        return self._slice(self.start[cells], self.count[cells])

    def last_of(self, cells: Tensor, without: Tensor | None = None) -> tuple[Bags, Tensor]:
        """The last L that were taken in ``cells [n]``, each cell's ``without [n]`` and its copies left out first.

        Returns:
            the ids, and how late each came ``[t]``: 1 for the last one, up to L.
        """
        size = self.window[cells]
        bags = self._slice(self.start[cells] + self.count[cells] - size, size)
        cell = torch.arange(len(cells), device=cells.device).repeat_interleave(size)
        kept = torch.ones_like(bags.ids, dtype=torch.bool) if without is None else bags.ids != without[cell]
        # the kept ones from here to the end of the cell
        upto = kept.cumsum(0)
        end = torch.cat([upto.new_zeros(1), upto])[size.cumsum(0)]
        place = end[cell] - upto + 1
        kept &= place <= self.length
        left = torch.zeros_like(size).index_add_(0, cell, kept.long())
        return Bags("items", bags.ids[kept], left), place[kept]

    def _slice(self, begin: Tensor, size: Tensor) -> Bags:
        return Bags("items", self.ids[_ranges(begin, size, int(size.sum()))], size)


def _ranges(begin: Tensor, size: Tensor, total: int) -> Tensor:
    """The numbers from ``begin [n]``, ``size [n]`` of each, one range after another: ``[total]``, the sum of sizes."""
    shift = begin - (size.cumsum(0) - size)
    return shift.repeat_interleave(size, output_size=total) + torch.arange(total, device=size.device)
