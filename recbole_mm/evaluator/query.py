"""What is asked: queries, their positives and their masked items, read once from a RecBole loader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from recbole_mm.data.seen import joined, pairs_of, seen_pairs
from recbole_mm.errors import WrongUse


@dataclass(frozen=True)
class Batch:
    """Queries ``start:stop``, all with the same candidates (``domain`` -1: all items)."""

    start: int
    stop: int
    domain: int


@dataclass
class EvalTask:
    """The queries of one loader. Q queries, P positives, I items.

    user, row [Q]          internal user id; row of the loader's table that the model is given
    domain [Q] | None      domain of the candidates, None: all items
    pos_query, pos_item [P]   ascending by query, no pair twice
    batches                consecutive, domains never mixed
    columns                candidates (item ids, ascending) of a domain, -1 for no domain; empty: all items
    mask_flat, mask_start  masked cells as row · width + column of their batch, and where each batch begins
    """

    user: np.ndarray
    row: np.ndarray
    domain: np.ndarray | None
    pos_query: np.ndarray
    pos_item: np.ndarray
    n_pos: np.ndarray
    items: int
    batches: list[Batch]
    columns: dict[int, np.ndarray]
    local: np.ndarray
    mask_flat: np.ndarray = field(init=False)
    mask_start: np.ndarray = field(init=False)

    @property
    def queries(self) -> int:
        """Q."""
        return len(self.user)

    def mask_of(self, index: int) -> np.ndarray:
        """Flat cells to mask in batch ``index``."""
        return self.mask_flat[self.mask_start[index] : self.mask_start[index + 1]]

    def positives_of(self, batch: Batch) -> slice:
        """The batch's part of the positives."""
        start, stop = np.searchsorted(self.pos_query, [batch.start, batch.stop])
        return slice(int(start), int(stop))


def item_domain(dataset: Any) -> np.ndarray | None:
    """Domain of each item [I], -1 for PAD; None on a single-domain dataset."""
    return None if dataset.item_domain is None else np.asarray(dataset.item_domain)


def pool_of(dataset: Any, candidates: str) -> np.ndarray:
    """Whether an item is a candidate [I]: those with a row in any part (``interacted``), or all (``catalogue``)."""
    if candidates == "interacted":
        return dataset.interacted
    pool = np.ones(dataset.item_num, bool)
    pool[0] = False
    return pool


def by_row(eval_data: Any) -> bool:
    """Whether each row is a query, as in RecBole's loader of prefixes, not each user."""
    return eval_data.is_sequential and not hasattr(eval_data, "uid_list")


def build_task(eval_data: Any, config: Any, *, budget: int) -> EvalTask:
    """Read the queries of a full-ranking loader.

    ``eval_candidates``: ``all`` or ``domain`` (one query for each user and domain with positives; the dataset must
    carry ``item_domain``). ``candidates``: ``interacted`` items or the whole ``catalogue``. ``mask_seen``: see
    `recbole_mm.data.seen.seen_pairs`. ``budget``: scores that a batch may hold.
    """
    dataset = eval_data._dataset
    I = dataset.item_num  # noqa: E741
    of_item = item_domain(dataset) if config["eval_candidates"] == "domain" else None
    pool = pool_of(dataset, config["candidates"])
    if of_item is not None and (lost := int((of_item[pool] < 0).sum())):
        raise WrongUse(
            f"candidates: catalogue: {lost} items have no row, so their domain is unknown; use eval_candidates: all"
        )
    pos_user, pos_item = pairs_of(dataset)
    if by_row(eval_data):
        user = pos_user
        row = pos_query = np.arange(len(user))
        domain = None
        if of_item is not None:
            row = np.argsort(of_item[pos_item], kind="stable")
            user, pos_item = user[row], pos_item[row]
            domain = of_item[pos_item]
    else:
        table_user = eval_data.uid_list.numpy()
        row_of = np.full(dataset.user_num, -1, np.int64)
        row_of[table_user] = np.arange(len(table_user))
        group = row_of[pos_user]
        if of_item is not None:
            group = of_item[pos_item] * len(table_user) + group
        key = np.sort(group * I + pos_item)  # numpy's sort is 30 times as fast as its unique
        group, pos_item = np.divmod(key[np.diff(key, prepend=-1) != 0], I)
        if of_item is None:
            pos_query, row, domain = group, np.arange(len(table_user)), None
        else:
            found, pos_query = np.unique(group, return_inverse=True)
            domain, row = np.divmod(found, len(table_user))
        user = table_user[row]
    pairs = seen_pairs(dataset, config["mask_seen"])
    return _task_of(user, row, domain, (pos_query, pos_item), pairs, of_item, pool, dataset.user_num, budget)


def user_task(
    dataset: Any,
    config: Any,
    users: np.ndarray,
    domains: Sequence[int] | None,
    phases: Sequence[str],
    *,
    budget: int,
) -> EvalTask:
    """What `build_task` makes of a loader, for any ``users [n]``, asked for once each: queries without positives.

    Args:
        dataset: a part.
        config: with ``candidates``.
        users: ids, without repeats; ``row`` of the task is the place of a query's user among them.
        domains: those that are asked for, one query for each and user; None: one query over all items.
        phases: names of the parts whose pairs are masked.
        budget: scores that a batch may hold.
    """
    of_item = item_domain(dataset) if domains is not None else None
    row, domain = np.arange(len(users)), None
    if domains is not None:
        domain, row = np.repeat(np.asarray(domains), len(users)), np.tile(row, len(domains))
    none = np.empty(0, np.int64)
    pool = pool_of(dataset, config["candidates"])
    return _task_of(
        users[row],
        row,
        domain,
        (none, none),
        joined(dataset, phases),
        of_item,
        pool,
        dataset.user_num,
        budget,
    )


def _task_of(
    user: np.ndarray,
    row: np.ndarray,
    domain: np.ndarray | None,
    positives: tuple[np.ndarray, np.ndarray],
    masked: tuple[np.ndarray, np.ndarray],
    of_item: np.ndarray | None,
    pool: np.ndarray,
    user_num: int,
    budget: int,
) -> EvalTask:
    """The task of queries that are ordered by domain, with what they mask."""
    pos_query, pos_item = positives
    I = len(pool)  # noqa: E741
    n_pos = np.bincount(pos_query, minlength=len(user))
    columns: dict[int, np.ndarray] = {}
    local = np.arange(I)
    if domain is None and not pool[1:].all():
        columns[-1] = np.flatnonzero(pool)
    for d in [] if domain is None else np.unique(domain).tolist():
        columns[d] = np.flatnonzero((of_item == d) & pool)
    for ids in columns.values():
        local[ids] = np.arange(len(ids))
    batches = _batches(len(user), domain, max(1, budget // I))
    task = EvalTask(user, row, domain, pos_query, pos_item, n_pos, I, batches, columns, local)
    _lay_out(task, *masked, user_num, of_item)
    return task


def some_of(task: EvalTask, queries: np.ndarray, *, budget: int) -> EvalTask:
    """The task of some of its queries, numbers ascending; ``budget``: scores that a batch may hold."""
    number = np.full(task.queries, -1)
    number[queries] = np.arange(len(queries))
    kept = number[task.pos_query] >= 0
    domain = None if task.domain is None else task.domain[queries]
    batches = _batches(len(queries), domain, max(1, budget // task.items))
    part = EvalTask(
        task.user[queries], task.row[queries], domain, number[task.pos_query[kept]], task.pos_item[kept],
        task.n_pos[queries], task.items, batches, task.columns, task.local,
    )  # fmt: skip
    width = {batch.domain: len(task.columns.get(batch.domain, range(task.items))) for batch in task.batches}
    masked = [np.divmod(task.mask_of(k), width[batch.domain]) for k, batch in enumerate(task.batches)]
    query = number[np.concatenate([row + b.start for (row, _), b in zip(masked, task.batches, strict=True)])]
    column = np.concatenate([column for _, column in masked])
    query, column = query[query >= 0], column[query >= 0]
    order = np.argsort(query, kind="stable")
    query, column = query[order], column[order]
    part.mask_start = np.searchsorted(query, [*(batch.start for batch in batches), len(queries)])
    part.mask_flat = np.concatenate(
        [
            (query[a:b] - batch.start) * width[batch.domain] + column[a:b]
            for batch, (a, b) in zip(batches, pairwise(part.mask_start), strict=True)
        ]
    )
    return part


def _lay_out(
    task: EvalTask, users: np.ndarray, items: np.ndarray, user_num: int, of_item: np.ndarray | None
) -> None:
    """Order the masked pairs by batch and turn them into flat cells.

    One table gives the first cell of a user's row (or of a user and domain), another its batch: a pair costs two
    look-ups. Users without a query stand in a batch after the last.
    """
    n = len(task.batches)
    domains = 1 if of_item is None else int(of_item.max()) + 1
    key = task.user if task.domain is None else task.user * domains + task.domain
    sizes = [b.stop - b.start for b in task.batches]
    widths = {domain: len(ids) for domain, ids in task.columns.items()}
    width = np.repeat([widths.get(b.domain, task.items) for b in task.batches], sizes)
    begin = np.repeat([b.start for b in task.batches], sizes)
    asked = users if of_item is None else users * domains + of_item[items]
    keys = user_num * domains
    if len(np.unique(key)) < len(key):  # a sequential model may be asked about a user several times
        asked, pair = _queries_of(asked, key, keys)
        items, key, keys = items[pair], np.arange(task.queries), task.queries
    batch_of = np.full(keys, n, np.uint16 if n < 65536 else np.int64)
    batch_of[key] = np.repeat(np.arange(n), sizes)
    first = np.zeros(keys, np.int64)
    first[key] = (np.arange(task.queries) - begin) * width
    cell = first[asked] + (task.local[items] if task.columns else items)
    batch = batch_of[asked]
    if (batch[1:] < batch[:-1]).any():
        order = np.argsort(batch, kind="stable")  # a radix sort on 16 bits
        batch, cell = batch[order], cell[order]
    task.mask_flat = cell
    task.mask_start = np.searchsorted(batch, np.arange(n + 1, dtype=batch.dtype))


def _queries_of(asked: np.ndarray, key: np.ndarray, keys: int) -> tuple[np.ndarray, np.ndarray]:
    """Each masked pair for every query of its key: (numbers of the queries, numbers of the pairs)."""
    order = np.argsort(key, kind="stable")
    count = np.bincount(key, minlength=keys)
    start = count.cumsum() - count
    pair = np.repeat(np.arange(len(asked)), count[asked])
    within = np.arange(len(pair)) - np.repeat(count[asked].cumsum() - count[asked], count[asked])
    return order[start[asked[pair]] + within], pair


def _batches(queries: int, domain: np.ndarray | None, size: int) -> list[Batch]:
    """Cut the queries, ordered by domain, into batches of one domain each."""
    if domain is None:
        return [Batch(a, min(a + size, queries), -1) for a in range(0, queries, size)]
    edges = [0, *(np.flatnonzero(np.diff(domain)) + 1).tolist(), queries]
    return [
        Batch(a, min(a + size, stop), int(domain[start]))
        for start, stop in pairwise(edges)
        for a in range(start, stop, size)
    ]
