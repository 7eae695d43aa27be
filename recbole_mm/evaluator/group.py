"""The same metrics within groups of queries or of positives, from one pass.

A *query* group (user history, domain of the query, overlap of users) averages over the queries in it. An *item*
group (cold, popularity, modality, domain of the item) keeps only the positives in it: a query counts if it has
one, its other positives are neither hits nor negatives.

``domain``      each domain; users with training rows in several domains (overlap) and in one
``cold``        items with no training interaction (none), with fewer than ``cold_threshold`` (5; cold, none included)
                and the others (warm)
``popularity``  items by training interactions, most popular first: head, the first half of the interactions; mid, the
                next 30 %; tail, the rest and items without any
``history``     users by their distinct training items: 0-4, 5-9, 10-19, 20-49, 50+
``modality``    for each modality, items with it (present) and without (missing)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_mm.errors import WrongUse
from recbole_mm.evaluator.query import item_domain

Array = np.ndarray
BINS = (0, 5, 10, 20, 50)
HEAD, MID = 0.5, 0.8


@dataclass(frozen=True)
class TrainStats:
    """Training interactions per item ``count`` [I]; the training pairs ``user``, ``item`` [N]."""

    count: Array
    user: Array
    item: Array


@dataclass(frozen=True)
class Group:
    """One line of the table: either ``queries`` [Q] bool or ``items`` [I] bool says who is in."""

    group: str
    value: str
    queries: Array | None = None
    items: Array | None = None


def popularity_class(count: Array) -> Array:
    """0 head, 1 mid, 2 tail for each item [I] (see above); an item belongs where its first interaction falls."""
    order = np.argsort(-count, kind="stable")
    before = np.concatenate([[0], count[order].cumsum()[:-1]]) / max(count.sum(), 1)
    label = np.empty(len(count), np.int64)
    label[order] = np.where(before < HEAD, 0, np.where(before < MID, 1, 2))
    return label


def groups_of(
    names: list[str], dataset: Any, user: Array, domain: Array | None, train: TrainStats, threshold: int
) -> Iterator[Group]:
    """The groups asked for. ``user`` [Q]; ``domain`` [Q] where queries are (user, domain) pairs."""
    if "all" in names:
        several, modal = item_domain(dataset) is not None, dataset.modality is not None
        names = ["cold", "popularity", "history", *(["domain"] * several), *(["modality"] * modal)]
    if "domain" in names:
        yield from _domains(dataset, user, domain, train)
    if "cold" in names:
        yield Group("cold", "none", items=train.count == 0)
        yield Group("cold", f"cold (<{threshold})", items=train.count < threshold)
        yield Group("cold", "warm", items=train.count >= threshold)
    if "popularity" in names:
        label = popularity_class(train.count)
        for index, value in enumerate(("head", "mid", "tail")):
            yield Group("popularity", value, items=label == index)
    if "history" in names:
        key = np.unique(train.user.astype(np.int64) * len(train.count) + train.item)
        length = np.bincount(key // len(train.count), minlength=dataset.user_num)[user]
        for low, high in zip(BINS, [*BINS[1:], None], strict=True):
            value = f"{low}+" if high is None else f"{low}-{high - 1}"
            yield Group("history", value, queries=(length >= low) & (high is None or length < high))
    if "modality" in names:
        yield from _modalities(dataset)


def _domains(dataset: Any, user: Array, domain: Array | None, train: TrainStats) -> Iterator[Group]:
    of_item = item_domain(dataset)
    if of_item is None:
        raise WrongUse("eval_groups: domain needs a cross-domain dataset (domains: in its yaml)")
    seen = np.zeros((dataset.user_num, len(dataset.domain_names)), bool)
    seen[train.user, of_item[train.item]] = True
    for index, value in enumerate(dataset.domain_names):
        where = {"items": of_item == index} if domain is None else {"queries": domain == index}
        yield Group("domain", value, **where)
    overlap = seen.sum(axis=1)[user] >= 2
    yield Group("domain", "overlap users", queries=overlap)
    yield Group("domain", "single-domain users", queries=~overlap)


def _modalities(dataset: Any) -> Iterator[Group]:
    modality = dataset.modality
    if modality is None:
        raise WrongUse("eval_groups: modality needs a dataset with modalities (modality_path, modalities)")
    present = np.asarray(modality.present)
    for index, name in enumerate(modality.names):
        yield Group("modality", f"{name}: missing", items=~present[:, index])
        yield Group("modality", f"{name}: present", items=present[:, index])
