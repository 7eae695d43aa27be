"""RecBole's samplers, which refuse nobody before a negative is drawn, and then say whom.

RecBole's own stop while they are made, also for a model that draws nothing; users who have every item that can be
drawn by popularity make them draw for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from recbole.data import utils as recbole_data
from recbole.sampler import KGSampler, RepeatableSampler, Sampler

from recbole_mm.data.sampler import USER_FILTER, SeenPairs, nothing_to_draw
from recbole_mm.data.split import PARTS
from recbole_mm.errors import Failure

_Host: Any = object  # RecBole's sampler, before which a mixin stands; to mypy it may hold anything


class _Draws(_Host):
    """Goes before a sampler of RecBole's: the same random numbers and values, tested all at once and not row by row."""

    def _drawn(self, keys: np.ndarray, num: int, taken: Callable[[np.ndarray], np.ndarray]) -> torch.Tensor:
        """``num`` values for each of ``keys [n]``, drawn again where ``taken(key * I + value)`` says so."""
        owner = np.tile(np.asarray(keys, dtype=np.int64), num) * self.item_num
        values = np.zeros(len(owner), dtype=np.int64)
        left = np.arange(len(owner))
        while len(left):
            values[left] = self.sampling(len(left))
            left = left[taken(owner[left] + values[left])]
        return torch.from_numpy(values)

    def _build_alias_table(self) -> None:
        super()._build_alias_table()
        self._keys = np.array(list(self.prob), dtype=np.int64)
        self._shares, self._aliases = (
            np.array([table[key] for key in self.prob]) for table in (self.prob, self.alias)
        )

    def _pop_sampling(self, sample_num: int) -> np.ndarray:
        place = np.random.randint(0, len(self._keys), sample_num)
        own = self._shares[place] > np.random.random(sample_num)
        return np.where(own, self._keys[place], self._aliases[place])


class PhaseSampler(_Draws, Sampler):
    """Negatives that a user has not touched in the phase or in those before it."""

    #: ``[U]`` whether a user has all that can be drawn; set with the phase
    full: np.ndarray
    _seen: tuple[np.ndarray, SeenPairs] | None = None

    def get_used_ids(self) -> dict[str, np.ndarray]:
        """By phase a set of items for each user."""
        used: dict[str, np.ndarray] = {}
        last: list[set[int]] = [set() for _ in range(self.user_num)]
        for phase, dataset in zip(self.phases, self.datasets, strict=True):
            last = [set(items) for items in last]
            rows = (dataset.inter_feat[field].tolist() for field in (self.uid_field, self.iid_field))
            for user, item in zip(*rows, strict=True):
                last[user].add(item)
            used[phase] = np.array(last)
        return used

    def set_phase(self, phase: str) -> PhaseSampler:
        """A copy for ``phase``."""
        of_phase: PhaseSampler = super().set_phase(phase)
        of_phase.full = np.array([len(items) for items in of_phase.used_ids]) >= _drawable(self)
        return of_phase

    def refuse_full(self, users: Sequence[int] | np.ndarray) -> None:
        """Raise ``Failure`` if there is nothing to draw for one of ``users``; it names all of the phase."""
        if self.full[users].any():
            tokens = self.datasets[0].field2id_token[self.uid_field][self.full]
            done = f"interacted with all {_drawable(self)} items that can be drawn"
            raise nothing_to_draw("user", tokens, done, USER_FILTER)

    def sample_by_user_ids(self, user_ids: Any, item_ids: Any, num: int) -> torch.Tensor:
        """As RecBole's."""
        self.refuse_full(np.asarray(user_ids))
        return super().sample_by_user_ids(user_ids, item_ids, num)

    def sample_by_key_ids(self, key_ids: Any, num: int) -> torch.Tensor:
        """As RecBole's."""
        if self._seen is None or self._seen[0] is not self.used_ids:
            sizes = [len(items) for items in self.used_ids]
            items = np.fromiter(chain.from_iterable(self.used_ids), dtype=np.int64, count=sum(sizes))
            owners = np.repeat(np.arange(len(sizes)), sizes)
            self._seen = self.used_ids, SeenPairs(owners, items, self.item_num)
        return self._drawn(key_ids, num, self._seen[1])


class OtherItemSampler(_Draws, RepeatableSampler):
    """Negatives that are another item than the row's (``repeatable``)."""

    def refuse_full(self, users: Sequence[int] | np.ndarray) -> None:
        """Raise ``Failure`` if there is one item alone."""
        if _drawable(self) < 2:
            raise one_item(self.dataset)

    def sample_by_user_ids(self, user_ids: Any, item_ids: Any, num: int) -> torch.Tensor:
        """As RecBole's."""
        self.refuse_full(user_ids)
        return self._drawn(item_ids, num, lambda keys: keys // self.item_num == keys % self.item_num)


class NamingKGSampler(KGSampler):
    """Tails that an entity has no relation with."""

    def get_used_ids(self) -> np.ndarray:
        """A set of tails for each entity. Raises ``Failure`` if one has all that can be drawn."""
        used = np.array([set() for _ in range(self.entity_num)])
        for head, tail in zip(self.hid_list, self.tid_list, strict=True):
            used[head].add(tail)
        drawable = len(self.prob) if self.distribution == "popularity" else self.entity_num - 1
        full = np.array([len(tails) for tails in used]) >= drawable
        if full.any():
            tokens = self.dataset.field2id_token[self.dataset.entity_field][full]
            done = f"relations with all {drawable} entities that can be drawn"
            raise nothing_to_draw("head", tokens, done, "filter with entity_kg_num_interval")
        return used


def _drawable(sampler: Any) -> int:
    return len(sampler.prob) if sampler.distribution == "popularity" else sampler.item_num - 1


def one_item(dataset: Any) -> Failure:
    """What to raise where another item than the row's is wanted and there is one alone."""
    token = dataset.field2id_token[dataset.iid_field][-1]
    return Failure(f"{dataset.dataset_name}: no negative can be drawn, {token} is the only item")


def create_samplers(config: Any, dataset: Any, parts: Sequence[Any]) -> list[Any]:
    """RecBole's ``create_samplers`` with the classes above: by phase a sampler, or None where nothing is drawn.

    Classes that a person put in the place of RecBole's, in ``recbole.data.utils``, are taken as they are.
    """
    if (recbole_data.Sampler, recbole_data.RepeatableSampler) != (Sampler, RepeatableSampler):
        return list(recbole_data.create_samplers(config, dataset, parts))
    args = [config[f"{phase}_neg_sample_args"] for phase in PARTS]
    drawn = [each["distribution"] for each in args]
    alpha = args[0]["alpha"] if drawn[0] != "none" else 1.0
    if all(each == "none" for each in drawn):
        return [None] * len(PARTS)
    first = next(each for each in drawn if each != "none")
    base: Any = (
        OtherItemSampler([*PARTS], dataset, first, alpha)
        if config["repeatable"]
        else PhaseSampler([*PARTS], [*parts], first, alpha)
    )
    found = []
    for phase, distribution in zip(PARTS, drawn, strict=True):
        if distribution != "none":
            base.set_distribution(distribution)
        found.append(None if distribution == "none" else base.set_phase(phase))
    return found


def create_kg_sampler(dataset: Any, distribution: str, alpha: float) -> Any:
    """Of a knowledge graph: the class above, or a person's own in ``recbole.data.utils``."""
    own = recbole_data.KGSampler
    return (NamingKGSampler if own is KGSampler else own)(dataset, distribution, alpha)
