"""Several processes that train one model: rows and queries in shares, gradients and figures together.

``train_batch_size`` stays that of all workers together: each takes every ``size``-th row of the same batches. A
worker's loss, a mean over its rows (or over the targets in them), counts by its share of them, so that the mean over
the workers is the loss of the whole batch. What a worker draws in an epoch depends on the seed, the epoch and its rank
alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from recbole_mm.errors import WrongUse


class Workers:
    """One process among the ``size`` that train together, in torch's process group.

    Attributes:
        rank: from 0 on; 0 writes the files.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._ddp: DistributedDataParallel | None = None
        self._shard: Shard | None = None

    # ---- training

    def begin(self, loader: Any, seed: int, epoch: int) -> None:
        """Take this worker's share of an epoch's batches, and seed what it draws."""
        if not isinstance(loader, DataLoader) or loader.num_workers:
            raise WrongUse("--workers: batches must be made in the process that trains; leave `worker` out")
        if not isinstance(loader.collate_fn, Shard):
            counted = getattr(loader, "targets_of", len)
            loader.collate_fn = Shard(loader.collate_fn, self.rank, self.size, counted)
        self._shard = loader.collate_fn
        rng = np.random.default_rng([seed, epoch, self.rank])
        np.random.seed(int(rng.integers(2**32)))
        torch.manual_seed(int(rng.integers(2**63)))
        random.seed(int(rng.integers(2**63)))
        if hasattr(loader, "negatives"):
            loader.rng = loader.negatives.rng = rng

    def objective(self, model: Any, loss_of: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The loss of this worker's share of a batch, whose gradients are averaged over the workers."""
        if self._ddp is None:
            # a group of its own: workers whose losses differ in form interleave it with what losses gather
            group = dist.new_group()
            self._ddp = DistributedDataParallel(
                _Loss(model), find_unused_parameters=True, process_group=group
            )
        ddp, shard = self._ddp, self._shard
        ddp.module.loss_of = loss_of
        assert shard is not None

        def weighted(batch: Any) -> Any:
            loss = ddp(batch)
            if isinstance(loss, tuple):
                return tuple(term * shard.weight for term in loss)
            return loss * shard.weight

        return weighted

    def mean(self, losses: Any) -> Any:
        """The mean over the workers of an epoch's losses: a number or a tuple of them."""
        if losses is None:
            return None
        several = isinstance(losses, tuple)
        values = torch.tensor(losses if several else [losses], dtype=torch.float64)
        parts = self._all(values.tolist())
        means = [sum(column) / self.size for column in zip(*parts, strict=True)]
        return tuple(means) if several else means[0]

    # ---- evaluation

    def part(self, count: int) -> range:
        """The share of ``count`` batches of queries that is ranked here."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def merge(self, arrays: Sequence[tuple[np.ndarray, slice]]) -> None:
        """Fill each array with what the other workers have computed of it; ``slice``: this worker's rows."""
        for theirs in self._all([(rows, array[rows]) for array, rows in arrays]):
            for (array, _), (rows, values) in zip(arrays, theirs, strict=True):
                array[rows] = values

    # ---- values

    def of_first(self, value: Any) -> Any:
        """The value that the first worker has."""
        held = [value if self.rank == 0 else None]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def _all(self, value: Any) -> list[Any]:
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found


def n_workers(trainer: Any) -> int:
    """How many processes train together: another number gives other last digits. Trees are grown in one."""
    workers: Workers | None = getattr(trainer, "workers", None)
    return 1 if workers is None else workers.size


class Shard:
    """In the place of a loader's ``collate_fn``: of each batch the rows of one worker.

    Attributes:
        weight: of the last batch, this worker's share of what its loss is a mean over, times the number of workers.
    """

    def __init__(
        self, collate: Callable[[list[int]], Any], rank: int, size: int, counted: Callable[[Any], int] = len
    ) -> None:
        self._collate, self._counted, self._rank, self._size = collate, counted, rank, size
        self.weight = 1.0

    def __call__(self, index: Any) -> Any:
        """The batch of this worker's part of ``index``; of a row that counts nothing where there is none."""
        mine = index[self._rank :: self._size]
        self.weight = self._counted(mine) * self._size / self._counted(index)
        return self._collate(mine if len(mine) else index[:1])


class _Loss(torch.nn.Module):
    """The loss of a model as a module, whose forward torch wraps."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model: Any = model
        # torch cannot send them, and they are the same everywhere: graphs of the data
        self._ddp_params_and_buffers_to_ignore = [
            name for name, buffer in self.named_buffers() if buffer.layout != torch.strided
        ]
        self.loss_of: Callable[[Any], Any] | None = None

    def forward(self, batch: Any) -> Any:
        assert self.loss_of is not None
        loss = self.loss_of(batch)
        # torch looks for tensors in a plain tuple alone
        return tuple(loss) if isinstance(loss, tuple) else loss
