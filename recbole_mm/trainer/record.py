"""What training reports of itself: one record an epoch, the loss by its terms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from recbole_mm.model.traits import trait


def flatten(losses: Any) -> list[float]:
    """RecBole's epoch loss (a number, or nested tuples of numbers) as a list of its terms."""
    if isinstance(losses, tuple):
        return [number for part in losses for number in flatten(part)]
    return [] if losses is None else [float(losses)]


def named_terms(model: nn.Module, values: list[float]) -> dict[str, float]:
    """The terms by the names in ``model.loss_terms``; ``loss1``, ``loss2``… where it names none or others."""
    names = tuple(trait(model, "loss_terms"))
    if len(names) != len(values):
        names = ("loss",) if len(values) == 1 else tuple(f"loss{i + 1}" for i in range(len(values)))
    return dict(zip(names, values, strict=True))


def epoch_record(epoch: int, losses: Any, model: nn.Module, batches: int, seconds: float) -> dict[str, Any]:
    """The record of an epoch before its validation; losses are sums over batches, as RecBole's."""
    terms = named_terms(model, flatten(losses))
    return {
        "epoch": epoch,
        "loss": sum(terms.values()),
        "terms": terms,
        "batches": batches,
        "seconds": seconds,
        "valid_score": None,
        "valid": None,
        "valid_seconds": None,
        "best": False,
        "diagnostics": {},
    }


def epoch_line(record: dict[str, Any], epochs: int, metric: str) -> str:
    """One short line on an epoch; losses are means over batches."""
    batches = max(record["batches"], 1)
    parts = [f"epoch {record['epoch'] + 1}/{epochs}", f"loss {record['loss'] / batches:.4f}"]
    if len(record["terms"]) > 1:
        parts[-1] += " (" + ", ".join(f"{n} {v / batches:.4f}" for n, v in record["terms"].items()) + ")"
    if record["valid_score"] is not None:
        parts.append(f"{metric} {record['valid_score']:.4f}" + (" (best)" if record["best"] else ""))
    parts += [f"{name} {value:.3f}" for name, value in record["diagnostics"].items()]
    parts.append(f"{record['seconds'] + (record['valid_seconds'] or 0.0):.1f} s")
    return " · ".join(parts)


@contextmanager
def recorded_losses(model: Any) -> Iterator[list[Any]]:
    """While open, the list holds what ``model.calculate_loss`` returned last.

    RecBole's ``_check_nan`` sees only the sum of the terms; this tells which of them is not a number.
    """
    last: list[Any] = []
    original = model.calculate_loss

    def recording(*args: Any, **kwargs: Any) -> Any:
        losses = original(*args, **kwargs)
        last[:] = [losses]
        return losses

    model.calculate_loss = recording
    try:
        yield last
    finally:
        del model.calculate_loss  # the method of the class is there again


def nan_terms(model: nn.Module, last: list[Any]) -> list[str]:
    """The names of the terms of the last loss that are NaN; [] where it has one term."""
    if not last or not isinstance(last[0], tuple):
        return []
    values = [torch.as_tensor(loss).detach().float().sum().item() for loss in last[0]]
    return [name for name, value in named_terms(model, values).items() if value != value]
