"""Learning-rate schedules, as a closed form of the epoch: they have no state, so a resume cannot lose it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable

from torch.optim import Optimizer

from recbole_mm.errors import WrongUse


def cosine(epoch: int, epochs: int) -> float:
    """Cosine annealing without restarts: ½ (1 + cos(π t / T)), 1 at the first epoch, above 0 at the last.

    Source: Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5 with η_min = 0.
    """
    return 0.5 * (1 + math.cos(math.pi * epoch / epochs))


SCHEDULES: dict[str, Callable[[int, int], float]] = {"cosine": cosine}


def schedule_of(name: str | None) -> Callable[[int, int], float] | None:
    """The schedule of that name; None for none.

    Raises:
        WrongUse: unknown name.
    """
    if name is None:
        return None
    if name not in SCHEDULES:
        near = difflib.get_close_matches(str(name), SCHEDULES, n=1) or sorted(SCHEDULES)
        raise WrongUse(f"lr_scheduler: {name!r} is unknown; did you mean {near[0]!r}? (~ for none)")
    return SCHEDULES[name]


def set_learning_rates(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Sets the rate of every parameter group to `factor` times its first rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
