"""Shards through an encoder, here or elsewhere: what every engine does, and the one of this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from recbole_mm.errors import Failure
from recbole_mm.extract.encoder import Absent, Cut, Encoder
from recbole_mm.extract.shards import Encoded

CHUNK = 32  # items that one thread prepares at a time


class Engine(Protocol):
    """Encodes shards, in any order."""

    def __call__(
        self, encoder: Encoder, shards: Sequence[Sequence[str]], advance: Callable[[int], Any]
    ) -> Iterator[tuple[int, Encoded]]:
        """Lists of raws -> (number of the list, what it came to); `advance` hears of items done."""
        ...


def available_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalEngine:
    """In this process: threads prepare the next shard and collate the next batch while one is encoded."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or available_cores()

    def __call__(
        self, encoder: Encoder, shards: Sequence[Sequence[str]], advance: Callable[[int], Any]
    ) -> Iterator[tuple[int, Encoded]]:
        """Shards in order; the prepared items of two shards are in memory at once."""
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: list[Future[list[Any]]] = _prepare(encoder, shards[0], pool) if shards else []
            for number in range(len(shards)):
                prepared = [item for chunk in waiting for item in chunk.result()]
                waiting = _prepare(encoder, shards[number + 1], pool) if number + 1 < len(shards) else []
                yield number, encode_prepared(encoder, prepared, pool, advance)


def encode_shard(encoder: Encoder, raws: Sequence[str], pool: Executor) -> Encoded:
    """One shard from its raws; what every engine does."""
    prepared = [item for chunk in _prepare(encoder, raws, pool) for item in chunk.result()]
    return encode_prepared(encoder, prepared, pool, lambda count: None)


def encode_prepared(
    encoder: Encoder, prepared: Sequence[Any], pool: Executor, advance: Callable[[int], Any]
) -> Encoded:
    """Batches by size, largest first (a lack of memory shows at once), rows back in the shard's order."""
    absent = {place: item.reason for place, item in enumerate(prepared) if isinstance(item, Absent)}
    advance(len(absent))
    order = [place for place in range(len(prepared)) if place not in absent]
    order.sort(key=lambda place: -encoder.size(prepared[place]))  # stable
    batches = [order[at : at + encoder.batch_size] for at in range(0, len(order), encoder.batch_size)]
    values = np.zeros((len(prepared), encoder.width), dtype=np.float32)
    ahead: Future[Any] | None = None
    for number, places in enumerate(batches):
        batch = ahead.result() if ahead else encoder.collate([prepared[place] for place in places])
        if number + 1 < len(batches):
            ahead = pool.submit(encoder.collate, [prepared[place] for place in batches[number + 1]])
        try:
            rows = encoder.encode(batch)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "out of memory" not in str(error):
                raise
            remedy = f"run again with --batch-size {max(1, encoder.batch_size // 2)}"
            what = f"out of memory with {len(places)} items at once"
            raise Failure(f"encoder {encoder.name}: {what}; {remedy}") from error
        if rows.shape != (len(places), encoder.width):
            wanted = f"{len(places)} items of {encoder.width}"
            raise Failure(f"encoder {encoder.name} gave {rows.shape} for {wanted}")
        values[places] = rows
        advance(len(places))
    for place in order:
        if not np.isfinite(values[place]).all():
            absent[place] = "encoder gave values that are not finite"
        elif not values[place].any():
            absent[place] = "encoder gave a zero vector"
    cut = [place for place, item in enumerate(prepared) if isinstance(item, Cut) and place not in absent]
    return Encoded(np.delete(values, list(absent), axis=0), absent, cut)


def _prepare(encoder: Encoder, raws: Sequence[str], pool: Executor) -> list[Future[list[Any]]]:
    return [pool.submit(encoder.prepare, raws[at : at + CHUNK]) for at in range(0, len(raws), CHUNK)]
