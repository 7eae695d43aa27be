"""What training reports of itself: one record an epoch, the loss by its terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from recbole_mm.layer.loss import Terms


def flatten(losses: Any) -> list[float]:
    """RecBole's epoch loss (a number, or nested tuples of numbers) as a list of its terms."""
    if isinstance(losses, tuple):
        return [number for part in losses for number in flatten(part)]
    return [] if losses is None else [float(losses)]


def named_terms(loss: Any, values: list[float]) -> dict[str, float]:
    """``values`` by the names of ``loss``'s terms (`layer.loss.Terms`); ``loss1``, ``loss2``… where it names others."""
    names = loss.names if isinstance(loss, Terms) else ()  # a tensor has names, too: those of its dimensions
    if len(names) != len(values):
        names = ("loss",) if len(values) == 1 else tuple(f"loss{i + 1}" for i in range(len(values)))
    return dict(zip(names, values, strict=True))


def epoch_record(epoch: int, losses: Any, last: Any, batches: int, seconds: float) -> dict[str, Any]:
    """The record of an epoch before its validation.

    Args:
        losses: sums over batches, as RecBole's.
        last: what ``calculate_loss`` returned last, which may name the terms.
    """
    terms = named_terms(last, flatten(losses))
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


class LastLoss:
    """The loss of the last batch, of which RecBole's loop passes on the sum alone."""

    value: Any = None

    def recorded(self, loss_of: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """``loss_of`` a batch, whose result is kept here."""

        def recording(batch: Any) -> Any:
            self.value = loss_of(batch)
            return self.value

        return recording

    def nan_terms(self) -> list[str]:
        """The names of the terms that are NaN; [] where there is one term."""
        if not isinstance(self.value, tuple):
            return []
        values = [torch.as_tensor(term).detach().float().sum().item() for term in self.value]
        return [name for name, value in named_terms(self.value, values).items() if value != value]
