"""Learning-rate schedules, as a closed form of the epoch: they have no state, so a resume cannot lose it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from torch.optim import Optimizer


def cosine(epoch: int, epochs: int) -> float:
    """Cosine annealing without restarts: ½ (1 + cos(π t / T)), 1 at the first epoch, above 0 at the last.

    Source: Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5 with η_min = 0.
    """
    return 0.5 * (1 + math.cos(math.pi * epoch / epochs))


SCHEDULES: dict[str, Callable[[int, int], float]] = {"cosine": cosine}


def schedule_of(name: str | None) -> Callable[[int, int], float] | None:
    """The schedule of that name; None for none."""
    return None if name is None else SCHEDULES[name]


def set_learning_rates(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Sets the rate of every parameter group to `factor` times its first rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
