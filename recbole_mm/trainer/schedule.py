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


def schedule_of(name: str | None, warmup: int = 0) -> Callable[[int, int], float] | None:
    """The schedule of that name behind ``warmup`` epochs in which the rate rises in equal steps; None for neither."""
    if name is None and not warmup:
        return None
    after = SCHEDULES[name] if name else lambda epoch, epochs: 1.0

    def factor(epoch: int, epochs: int) -> float:
        return (epoch + 1) / (warmup + 1) if epoch < warmup else after(epoch - warmup, epochs - warmup)

    return factor


def set_learning_rates(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Sets the rate of every parameter group to `factor` times its first rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
