"""What a model is given for a user: an id and its fields, or the sequence of what the user took up to the test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction, cat_interactions
from recbole.data.transform import construct_transform
from torch import Tensor

from recbole_mm.data.seen import joined
from recbole_mm.data.sequence import BY_PARTS

_VALID, _TEST = 1, 2


class Queries:
    """The rows of any users.

    A sequential model gets a user's first row of the test, which is what the test asks; who has none gets the latest
    row of validation or training, with its target behind the history.

    Args:
        config: of the run.
        train: the training part.
        others: the parts of validation and test, None where there is none.
    """

    def __init__(self, config: Any, train: Any, *others: Any) -> None:
        self._train, self._transform = train, construct_transform(config)
        self.sequential = hasattr(train, "item_list_length_field")
        if not self.sequential:
            return
        self._list, self._longest = train.iid_field + config["LIST_SUFFIX"], config["MAX_ITEM_LIST_LENGTH"]
        self._parts = [train, *others]
        # of each user the part (-1: none) and the number of a row in it
        self._part = np.full(train.user_num, -1)
        self._row = np.zeros(train.user_num, dtype=np.int64)
        for number, part in enumerate(self._parts):
            if part is None or part.item_list_length_field not in part.inter_feat:
                continue  # windows of `train_sequences: shifted` are no rows of users
            users = part.inter_feat[part.uid_field].numpy()
            if number == _TEST:
                found, row = np.unique(users, return_index=True)
            else:
                found, row = _last_of_longest(users, part.inter_feat[part.item_list_length_field].numpy())
            self._part[found], self._row[found] = number, row

    def __call__(self, users: np.ndarray) -> Any:
        """The rows of ``users [n]`` (ids), in their order."""
        if not self.sequential:
            return self._train.join(Interaction({self._train.uid_field: torch.from_numpy(users)}))
        rows, order = [], []
        for number in np.unique(self._part[users]).tolist():
            at = np.flatnonzero(self._part[users] == number)
            order.append(at)
            rows.append(self._rows_of(number, users[at]))
        whole = rows[0] if len(rows) == 1 else cat_interactions(rows)
        whole = whole[torch.from_numpy(np.argsort(np.concatenate(order)))]
        return self._transform(self._train, self._train.join(whole))

    def of_history(self, items: np.ndarray) -> Any:
        """The row of someone who is not in the data and took ``items [t]`` in this order; it has no user."""
        return self._transform(self._train, self._of_histories([items]))

    def _rows_of(self, number: int, users: np.ndarray) -> Any:
        if number < 0:
            return self._of_pairs(users)
        part = self._parts[number]
        rows = part.inter_feat[torch.from_numpy(self._row[users])]
        if number == _TEST:
            return rows
        if number == _VALID and part.sequence_split == BY_PARTS:  # all rows of a user have one history
            asked = part.inter_feat[part.uid_field].numpy()
            order = np.argsort(asked, kind="stable")
            first, last = (np.searchsorted(asked[order], users, side=side) for side in ("left", "right"))
            for k in range(int((last - first).max())):
                more = np.flatnonzero(first + k < last)
                self._append(part, rows, more, order[first[more] + k])
        else:
            self._append(part, rows, np.arange(len(users)), self._row[users])
        return rows

    def _append(self, part: Any, rows: Any, at: np.ndarray, targets: np.ndarray) -> None:
        """Put the rows ``targets [n]`` of a part behind the histories of ``rows[at]``, in place."""
        size, feat, suffix = part.item_list_length_field, part.inter_feat, part.config["LIST_SUFFIX"]
        where, chosen = torch.from_numpy(at), torch.from_numpy(targets)
        held = rows[size][where]
        held = torch.where(rows[self._list][where, 0] == 0, 0, held)  # an empty history is one [PAD]
        longest = rows[self._list].shape[1]
        for name in rows.columns:
            if name.endswith(suffix):
                own = name.removesuffix(suffix)
                more = feat[own][chosen] if own in feat.columns else torch.zeros_like(rows[name][where, 0])
                rows[name][where] = _shifted_in(rows[name][where], held, more)
        rows[size][where] = (held + 1).clamp(max=longest)

    def _of_pairs(self, users: np.ndarray) -> Any:
        """Of users whose items are in no row of a sequence: their interactions in order, which may be none."""
        taken, items = joined(self._train, ("train", "valid"))
        order = np.argsort(taken, kind="stable")
        first, last = (np.searchsorted(taken[order], users, side=side) for side in ("left", "right"))
        rows = self._of_histories([items[order[low:high]] for low, high in zip(first, last, strict=True)])
        rows.update(Interaction({self._train.uid_field: torch.from_numpy(users)}))
        return rows

    def _of_histories(self, histories: Sequence[np.ndarray]) -> Any:
        """Rows with these items as histories; what else their lists hold is 0."""
        length = self._train.item_list_length_field
        whole = {self._list: torch.zeros(0, self._longest).long(), length: torch.zeros(0).long()}
        feat = next(
            (part.inter_feat for part in self._parts if part is not None and length in part.inter_feat),
            Interaction(whole),
        )
        columns = {
            name: torch.zeros(len(histories), *feat[name].shape[1:], dtype=feat[name].dtype)
            for name in feat.columns
            if name != self._train.uid_field
        }
        longest = feat[self._list].shape[1]
        for k, items in enumerate(histories):
            last = torch.from_numpy(np.asarray(items[-longest:], dtype=np.int64))
            columns[self._list][k, : len(last)] = last
            columns[length][k] = max(len(last), 1)
        return Interaction(columns)


def _last_of_longest(users: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each user, and of the user's rows with the longest history the last."""
    order = np.lexsort((np.arange(len(users)), length, users))
    last = np.flatnonzero(np.append(users[order][1:] != users[order][:-1], True))
    return users[order[last]], order[last]


def _shifted_in(lists: Tensor, held: Tensor, values: Tensor) -> Tensor:
    """``lists [n, L, …]`` with ``values [n, …]`` behind the first ``held [n]``; a full one loses its first."""
    longest = lists.shape[1]
    full = held >= longest
    out = lists.clone()
    out[full] = torch.roll(lists[full], -1, dims=1)
    out[torch.arange(len(lists)), held.clamp(max=longest - 1)] = values
    return out
