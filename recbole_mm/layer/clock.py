"""Which epoch a training step belongs to."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recbole_mm.layer.gather import several


class EpochClock(nn.Module):
    """Counts the training rows that a model has learned from, for what it makes anew once an epoch.

    The count is part of the state dict, so that a run that is resumed, or a step that is repeated, knows its epoch.

    Args:
        n_rows: rows of an epoch, of all workers together.
    """

    seen: Tensor

    def __init__(self, n_rows: int):
        super().__init__()
        self.n_rows = max(n_rows, 1)
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    @property
    def epoch(self) -> int:
        """From 0."""
        return int(self.seen) // self.n_rows

    def count(self, rows: int) -> None:
        """Call it at the end of each step, with the rows of its batch; those of the other workers are counted, too."""
        if several():
            told = torch.tensor(rows, device=self.seen.device)
            dist.all_reduce(told)
            rows = int(told)
        self.seen += rows
