"""Sequences that are cut from the parts of a split, so that every family of models is asked the same.

RecBole cuts sequential data into prefixes and splits those: a user with two interactions is asked by BPR and not by
SASRec, and each row of a test part has a history of its own, which holds the test rows before it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from logging import getLogger
from typing import Any

import numpy as np
import torch
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction, cat_interactions

from recbole_mm.data.exact import times
from recbole_mm.data.rows import Rows

_Host: Any = object  # RecBole's data set, before which the mixin stands; to mypy it may hold anything

_log = getLogger("recbole_mm.data")
PLACE = "_place"  # of a row in the order of time; any split carries it along
BY_PARTS, BY_PREFIXES = "interactions", "prefixes"
SHIFTED = "shifted"
#: keys of the columns that ``transform: mask_itemseq`` adds for the masked places of a sequence, padded in front
MASKED = ("MASK_INDEX", "POS_ITEMS", "NEG_ITEMS")


@dataclass(frozen=True)
class Windows:
    """Stretches of rows that are a user's events in the order of time; each event is to follow from those before it.

    Attributes:
        start, stop: ``[n]``, rows ``start … stop - 1`` of each, at most L + 1.
        fresh: ``[n]``, the first row to follow; those before it stand here for what follows alone.
    """

    start: np.ndarray
    stop: np.ndarray
    fresh: np.ndarray


class SequenceMixin(_Host):
    """Goes before `MultimodalMixin` and a sequential data set of RecBole (``sequence_split: interactions``).

    Interactions are split once, by the same function and generator as for general models. A training row is a target
    after the training rows of its user before it. A row of validation has all training rows of its user as history, a
    row of the test those of training and validation: the last ``MAX_ITEM_LIST_LENGTH`` in the order of time (ties in
    that of the file), alike for all rows of a user in the part. A user without any has a history of one ``[PAD]``.

    With ``train_sequences: shifted`` the training part has its rows themselves, by user and time, and ``windows``.
    """

    inter_feat: Any  # RecBole's
    #: of a training part, what its rows are cut into
    windows: Windows | None = None

    @property
    def sequence_split(self) -> str | None:
        """``interactions``: cut after the split; ``prefixes``: before; ``files``: the files hold sequences."""
        if self.config["benchmark_filename"] is None:
            return self.config["sequence_split"]  # type: ignore[no-any-return]  # checked
        return "files" if self._with_sequences else BY_PARTS

    @property
    def cut_from_parts(self) -> bool:
        """Whether sequences are cut after the split."""
        return self.sequence_split == BY_PARTS

    def _benchmark_presets(self) -> None:
        self._with_sequences = self.iid_field + self.config["LIST_SUFFIX"] in self.inter_feat
        if self._with_sequences:
            super()._benchmark_presets()

    def _change_feat_format(self) -> None:
        if not self.cut_from_parts:
            super()._change_feat_format()
            return
        super(SequentialDataset, self)._change_feat_format()
        if self.time_field not in self.inter_feat:
            _log.info("no field %r: histories are in the order of the rows", self.time_field)
        self._aug_presets()
        added = {PLACE: _places(self.inter_feat, self.time_field)}
        if self._negative_list is not None:  # DIEN: a negative for each moment of a history
            added[self._negative_list] = self.neg_item_list
        self.inter_feat.update(Interaction(added))

    @property
    def _negative_list(self) -> str | None:
        return getattr(self, "neg_item_list_field", None)

    def _recbole_parts(self) -> list[Any]:
        # RecBole's sequential class takes the order of time alone, since it splits prefixes
        return Dataset.build(self) if self.cut_from_parts else super()._recbole_parts()

    def build(self) -> list[Any]:
        """Training, validation and test sequences."""
        parts = super().build()
        if not self.cut_from_parts:
            return parts
        feats = [part.inter_feat for part in parts]
        before = [feats[0], cat_interactions(feats[:2])]
        size = self.max_item_list_len
        users, places = ([feat[name].numpy() for feat in before] for name in (self.uid_field, PLACE))
        shifted = self.config["train_sequences"] == SHIFTED
        if shifted:
            order = np.lexsort((places[0], users[0]))
            kept = [field for field in feats[0].columns if field != PLACE]
            cut = [Interaction({field: feats[0][field][order] for field in kept})]
        else:
            target, history = prefixes(users[0], places[0], size)
            cut = [self._sequences(feats[0][target], feats[0], history)]
        for name, feat, rows, user, place in zip(
            ("validation", "test"), feats[1:], before, users, places, strict=True
        ):
            asked = feat[self.uid_field].numpy()
            history = histories(user, place, asked, size)
            cut.append(self._sequences(feat, rows, history))
            if without := len(np.unique(asked[(history < 0).all(axis=1)])):
                _log.info("%s: %d users have no row before it: their history is empty", name, without)
        self.inter_feat = cut[0]  # where RecBole's own code looks for sequences (FLOPs, matrices)
        made = [part.copy(sequences) for part, sequences in zip(parts, cut, strict=True)]
        made[0].windows = windows(users[0][order], size) if shifted else None
        return made

    def counter(self, field: str) -> Any:
        """RecBole's: how often each token stands in the rows of a part, those too that sequences begin with."""
        ids = (self.uid_field, self.iid_field)
        if not self.cut_from_parts or field not in ids or not hasattr(self, "pairs"):
            return super().counter(field)
        return Counter(self.pairs[self.phase][ids.index(field)].tolist())

    def _sequences(self, asked: Interaction, rows: Interaction, history: np.ndarray) -> Rows:
        """``asked [n]`` with ``history [n, L]``: numbers of ``rows``, -1 behind the last."""
        lists: dict[str, torch.Tensor] = {
            self.item_list_length_field: torch.from_numpy((history >= 0).sum(axis=1).clip(min=1))
        }
        at, empty = torch.from_numpy(history.clip(min=0)), torch.from_numpy(history < 0)
        for field in rows.columns:
            if field in (self.uid_field, PLACE):
                continue
            name = field if field == self._negative_list else getattr(self, f"{field}_list_field")
            values = rows[field][at] if len(rows) else rows[field].new_zeros(history.shape)
            values[empty] = 0
            lists[name] = values
        fields = {field: asked[field] for field in asked.columns if field != PLACE}
        return Rows({**fields, **lists})


def _places(feat: Interaction, time_field: str) -> torch.Tensor:
    """Place of each row in the order of time, ties and data without times in the order of the rows."""
    if time_field not in feat:
        return torch.arange(len(feat))
    place = torch.empty(len(feat), dtype=torch.int64)
    place[torch.from_numpy(np.argsort(times(feat, time_field), kind="stable"))] = torch.arange(len(feat))
    return place


def prefixes(users: np.ndarray, places: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Every row but a user's first, with the up to ``size`` rows of the user before it.

    *Shapes*: users, places ``[n]``; returns the numbers of the targets ``[t]``, by user and place, and of the rows of
    their histories ``[t, size]``, -1 behind the last.
    """
    order = np.lexsort((places, users))
    first = np.searchsorted(users[order], users[order])
    at = np.flatnonzero(first < np.arange(len(order)))
    return order[at], _windows(order, np.maximum(first[at], at - size), at, size)


def windows(users: np.ndarray, size: int) -> Windows:
    """Each user's rows in windows of up to ``size + 1``, so that every row but a user's first is to follow once.

    A user of up to ``size + 1`` rows has one. Of more, each window ends ``size // 2 + 1`` rows after the one before it
    (the last one with the last row), so that a row follows from at least half of ``size``.

    *Shapes*: users ``[n]``, ascending.
    """
    begin, count = np.unique(users, return_index=True, return_counts=True)[1:]
    step, last = size // 2 + 1, count - 1
    many = np.where(last > 0, 1 + np.maximum(last - size + step - 1, 0) // step, 0)
    user = np.repeat(np.arange(len(begin)), many)
    number = np.arange(len(user)) - np.repeat(np.cumsum(many) - many, many)
    end = np.minimum(size + number * step, last[user])
    fresh = np.where(number > 0, size + (number - 1) * step + 1, 1)
    return Windows(*(begin[user] + place for place in (np.maximum(end - size, 0), end + 1, fresh)))


def histories(users: np.ndarray, places: np.ndarray, asked: np.ndarray, size: int) -> np.ndarray:
    """The last up to ``size`` rows of each user of ``asked``.

    *Shapes*: users, places ``[n]``; asked ``[m]``; returns numbers of rows ``[m, size]``, -1 behind the last.
    """
    order = np.lexsort((places, users))
    start, stop = (np.searchsorted(users[order], asked, side=side) for side in ("left", "right"))
    return _windows(order, np.maximum(start, stop - size), stop, size)


def _windows(order: np.ndarray, start: np.ndarray, stop: np.ndarray, size: int) -> np.ndarray:
    """``order[start:stop]`` of each window as a row ``[len(start), size]``, -1 behind the last."""
    at = start[:, None] + np.arange(size)
    inside = at < stop[:, None]
    windows = np.full(at.shape, -1, dtype=np.int64)
    windows[inside] = order[at[inside]]
    return windows


def without_padding(dataset: Any, rows: Interaction) -> Interaction:
    """``rows`` with their lists as long as the longest sequence among them, and the most masked places of one.

    RecBole takes a masked place 0 for padding, and so it counts for none here.
    """
    config, columns = dataset.config, dict(rows.interaction)
    longest = int(rows[config["ITEM_LIST_LENGTH_FIELD"]].max())
    padded = rows[dataset.iid_field + config["LIST_SUFFIX"]].shape[1]
    masked = [config[key] for key in MASKED]
    if masked[0] in columns:
        asked = max(int((columns[masked[0]] > 0).sum(dim=1).max()), 1)
    for name, values in columns.items():
        if name in masked:
            columns[name] = values[:, -asked:].contiguous()
        elif name == config["INVERSE_ITEM_SEQ"]:  # padded in front, by transform: inverse_itemseq
            columns[name] = values[:, -longest:].contiguous()
        elif name.endswith(config["LIST_SUFFIX"]) and values.shape[1] == padded:
            columns[name] = values[:, :longest].contiguous()
    return Interaction(columns)
