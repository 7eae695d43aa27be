"""Which pairs of user and item were seen before each part of the data, from the interactions themselves."""

from __future__ import annotations

from collections.abc import Sequence
from logging import getLogger
from typing import Any

import numpy as np

from recbole_mm.data.sequence import BY_PARTS
from recbole_mm.data.split import PARTS

Pairs = tuple[np.ndarray, np.ndarray]


def pairs_of(part: Any) -> Pairs:
    """User and item of each row of a data set, ``[N]`` internal ids; of a sequence the item that is asked for."""
    return part.inter_feat[part.uid_field].numpy(), part.inter_feat[part.iid_field].numpy()


def keep_pairs(parts: Sequence[Any]) -> None:
    """Set ``phase``, ``pairs`` and ``interacted`` of the parts of a data set: training, validation, test.

    ``pairs``: name of each phase -> its pairs. The first item of a sequence is asked for nowhere; it counts to the
    training rows. ``interacted [I]``: whether an item has a row in any of the parts.
    """
    found = [pairs_of(part) for part in parts]
    width = parts[0].item_num
    held = [pair_key(pairs, width) for pairs in map(_histories, parts) if pairs is not None]
    if held:
        asked = np.concatenate([pair_key(pairs, width) for pairs in found])
        users, items = np.divmod(np.setdiff1d(np.concatenate(held), asked), width)
        found[0] = np.concatenate([found[0][0], users]), np.concatenate([found[0][1], items])
    interacted = np.zeros(width, dtype=bool)
    for _, items in found:
        interacted[items] = True
    interacted[0] = False
    for part, phase in zip(parts, PARTS, strict=True):
        part.phase, part.interacted = phase, interacted
        part.pairs = dict(zip(PARTS, found, strict=True))


def repeated(part: Any) -> tuple[int, int]:
    """How many rows of the test are of a pair that a training row has, too; and the rows of the test."""
    width = part.item_num
    keys = [pair_key(part.pairs[phase], width) for phase in ("train", "test")]
    return int(np.isin(keys[1], keys[0]).sum()), len(keys[1])


def warn_of_repeated(part: Any) -> None:
    """One line, where a pair of the test is a training pair: what remembers it is rewarded."""
    again, rows = repeated(part)
    if again:
        getLogger("recbole_mm.data").warning(
            "%d of %d test pairs (%.1f %%) are in training, too: a model that remembers them is rewarded "
            "(rm_dup_inter: first leaves one of each)", again, rows, 100 * again / rows,
        )  # fmt: skip


def report_cold(parts: Sequence[Any]) -> None:
    """Log how many users and items of validation and test no training row has (a split at one time leaves many)."""
    if parts[0].sequence_split not in (None, BY_PARTS):
        return  # an item may be in a history and no target
    train, *others = (parts[0].pairs[phase] for phase in PARTS)
    for name, asked in zip(("validation", "test"), others, strict=True):
        cold = [len(np.setdiff1d(ids, known)) for ids, known in zip(asked, train, strict=True)]
        if any(cold):
            told = getLogger("recbole_mm.data")
            told.info("%s: %d users and %d items have no training row (cold)", name, *cold)


def seen_pairs(part: Any, mask_seen: str) -> Pairs:
    """The pairs that ``mask_seen`` (``train+valid``, ``train`` or ``none``) takes out of the candidates of a part.

    ``train+valid`` are the pairs of the phases before. With ``eval_domain`` the other domains' pairs of the phase are
    among them, as RecBole masks what its sampler knows as used. Pairs may repeat and may be positives.
    """
    before = PARTS.index(part.phase) + (part.config["eval_domain"] is not None)
    return joined(part, PARTS[: {"none": 0, "train": 1, "train+valid": before}[mask_seen]])


def joined(part: Any, phases: Sequence[str] = PARTS) -> Pairs:
    """The pairs of some phases, one after another."""
    found = [part.pairs[phase] for phase in phases] or [(np.empty(0, np.int64),) * 2]
    users, items = zip(*found, strict=True)
    return (users[0], items[0]) if len(found) == 1 else (np.concatenate(users), np.concatenate(items))


def pair_key(pairs: Pairs, width: int) -> np.ndarray:
    """A number for each pair, ``width`` that of items."""
    return pairs[0].astype(np.int64) * width + pairs[1]


def _histories(part: Any) -> Pairs | None:
    """The pairs in the histories that the rows of a sequential part carry; None of another.

    The oldest item of each row will do where RecBole cut the sequences: all later ones are asked for in some row.
    """
    field = getattr(part, "item_id_list_field", None)
    if field is None or field not in part.inter_feat:
        return None
    lists = part.inter_feat[field].numpy()
    if part.benchmark_filename_list is None:
        lists = lists[:, :1]
    users = np.repeat(part.inter_feat[part.uid_field].numpy(), lists.shape[1])
    held = lists.ravel() > 0
    return users[held], lists.ravel()[held]
