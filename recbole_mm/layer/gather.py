"""Vectors of the other workers of a distributed training, for losses that compare the rows of a batch.

Alone, every function gives back what it was given. Each worker then computes the whole loss; the mean of the workers'
gradients is that of the loss over the whole batch, for what comes back from another worker is added up there.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def several() -> bool:
    """Whether other workers train with this one."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather_distinct(ids: Tensor, *vectors: Tensor) -> tuple[Tensor, ...]:
    """The rows of all workers in the order of the workers, each id once.

    Args:
        ids: what each row is of, ``[n]``; ``n`` may differ between the workers.
        vectors: ``[n, d]`` each.

    Returns:
        each of ``vectors`` as ``[m, d]``.
    """
    if not several():
        return vectors
    known, first = torch.unique(all_rows(ids), return_inverse=True)
    place = torch.full_like(known, len(first))
    place = place.scatter_reduce(0, first, torch.arange(len(first), device=ids.device), "amin")
    place = place.sort().values
    return tuple(all_rows(each)[place] for each in vectors)


def all_rows(values: Tensor) -> Tensor:
    """``[Σn, ...]``: the rows ``[n, ...]`` of all workers; gradients flow back to the worker whose row it is."""
    told = torch.tensor([len(values), values.requires_grad], device=values.device)
    every = [torch.zeros_like(told) for _ in range(dist.get_world_size())]
    dist.all_gather(every, told)
    counts, learnt = torch.stack(every).unbind(dim=1)
    padded = torch.cat([values, values.new_zeros(int(counts.max()) - len(values), *values.shape[1:])])
    if learnt.any():
        from torch.distributed.nn.functional import all_gather

        # the way back is one of all workers too, also of one whose rows depend on no weight
        parts = all_gather(padded if padded.requires_grad else padded.requires_grad_())
    else:
        parts = [torch.empty_like(padded) for _ in every]
        dist.all_gather(list(parts), padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts.tolist(), strict=True)])
