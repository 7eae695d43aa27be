"""Rows of one time at the boundary of a split: who decides which of them is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from logging import getLogger
from typing import Any

import numpy as np
import torch

from recbole_mm.data.exact import times

_Host: Any = object  # RecBole's data set, before which the mixin stands; to mypy it may hold anything
_TIME = "_time"  # of a row, also where unused_col takes the field of time out
_SETTLED = {
    "file": "the order of the file decides which row is asked (see ties: random | drop)",
    "random": "split_seed decides which row is asked",
    "drop": "those rows are left out, and these users are not asked",
}


@dataclass(frozen=True)
class Ties:
    """How many of those who are asked have rows of one time in two parts.

    Attributes:
        settled_by: ``ties``: file, random or drop.
        asked: users with a row of validation or test, before any is left out; of several domains users of a domain.
        tied: those of them whose boundary is tied.
        share: of ``asked``.
    """

    settled_by: str
    asked: int
    tied: int
    share: float

    def as_dict(self) -> dict[str, Any]:
        """As numbers and text."""
        return asdict(self)

    def warn(self) -> None:
        """One line, where a boundary is tied."""
        if self.tied:
            getLogger("recbole_mm.data").warning(
                "ties: for %d of %d users (%.1f %%) rows of one time are on both sides of the split: %s",
                self.tied, self.asked, 100 * self.share, _SETTLED[self.settled_by],
            )  # fmt: skip


def tied_rows(groups: np.ndarray, times: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are of a time that their group has in several parts, and which are of a group with such rows.

    *Shapes*: groups, times, part ``[n]``; returns two masks ``[n]``.
    """
    order = np.lexsort((times, groups))
    new_group = np.diff(groups[order], prepend=groups[order][:1]) != 0
    moment = np.empty(len(order), dtype=np.int64)  # number of each row's group and time
    moment[order] = np.cumsum(new_group | (np.diff(times[order], prepend=times[order][:1]) != 0))
    low, high = np.full(len(order) + 1, part.max(initial=0)), np.zeros(len(order) + 1, dtype=part.dtype)
    np.minimum.at(low, moment, part)
    np.maximum.at(high, moment, part)
    rows = (low != high)[moment]
    return rows, np.isin(groups, groups[rows])


def settle(
    groups: Sequence[np.ndarray], moments: Sequence[np.ndarray], how: str
) -> tuple[Ties, list[np.ndarray]]:
    """What is tied between the parts, and which rows of each stay under ``how``.

    ``groups``, ``moments``: of training, validation and test, ``[n]`` each. With ``drop`` the rows of a tied boundary
    leave all parts, and of their group the rows of validation and test, too.
    """
    sizes = [len(each) for each in groups]
    group, time = np.concatenate(groups), np.concatenate(moments)
    part = np.repeat(np.arange(len(sizes)), sizes)
    rows, theirs = tied_rows(group, time, part)
    asked, tied = len(np.unique(group[part > 0])), len(np.unique(group[rows]))
    gone = (rows | (theirs & (part > 0))) & (how == "drop")
    return Ties(how, asked, tied, tied / max(asked, 1)), np.split(~gone, np.cumsum(sizes)[:-1])


def shuffled_ties(times: np.ndarray, split_seed: int) -> np.ndarray:
    """The rows in an order in which those of one time have changed places at random.

    *Shapes*: times ``[n]``; returns row numbers ``[n]``. Every place keeps its time.
    """
    drawn = np.random.default_rng([split_seed, 0x71E5]).permutation(len(times))
    order = np.empty(len(times), dtype=np.int64)
    order[np.argsort(times, kind="stable")] = np.lexsort((drawn, times))
    return order


def by_time(config: Any) -> bool:
    """Whether the order of time decides the parts: ``order: TO`` or ``TS``, no split of ours and no files."""
    args, own = config["eval_args"], config["split"] or config["benchmark_filename"]
    return not own and (args["order"] == "TO" or "TS" in args["split"])


class TiesMixin(_Host):
    """Settles by ``ties`` who comes first of rows of one time, where the order of time decides the parts.

    Attributes:
        ties: what was tied at the boundaries of the split; None before, and where time decides no part.
    """

    ties: Ties | None = None
    inter_feat: Any  # RecBole's

    @property
    def _by_time(self) -> bool:
        return by_time(self.config) and self.time_field in self.inter_feat

    def split_groups(self, feat: Any) -> np.ndarray:
        """``[n]`` number of the user of each row, or of what else a split takes for one."""
        return feat[self.uid_field].numpy()  # type: ignore[no-any-return]

    def _fill_nan(self) -> None:
        super()._fill_nan()  # all rows that stay have their time now, and no sequence is cut yet
        if self._by_time and self.config["ties"] == "random":
            order = shuffled_ties(self.inter_feat[self.time_field].to_numpy(), self.config["split_seed"])
            self.inter_feat = self.inter_feat.iloc[order].reset_index(drop=True)

    def _drop_unused_col(self) -> None:
        found = times(self.inter_feat, self.time_field) if self._by_time else None
        super()._drop_unused_col()
        if found is not None:
            self.inter_feat[_TIME] = torch.from_numpy(found)

    def settle_ties(self, parts: list[Any]) -> list[Any]:
        """The parts without the rows that ``ties: drop`` leaves out; says what is tied."""
        feats = [part.inter_feat for part in parts]
        if _TIME not in feats[0]:
            return parts
        groups, moments = [self.split_groups(feat) for feat in feats], [feat[_TIME].numpy() for feat in feats]
        for feat in (self.inter_feat, *feats):
            feat.drop(_TIME)
        self.ties, kept = settle(groups, moments, self.config["ties"])
        self.ties.warn()
        if self.ties.settled_by != "drop":
            return parts
        return [self.copy(feat[torch.from_numpy(stay)]) for feat, stay in zip(feats, kept, strict=True)]
