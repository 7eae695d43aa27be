"""Validation of a pre-training by its own loss, on what it does not train on; the test is never read."""

from __future__ import annotations

from typing import Any

import torch

from recbole_mm.errors import WrongUse
from recbole_mm.trainer.record import flatten, named_terms

#: name of the score
HELD_OUT_LOSS = "held_out_loss"


class OwnLoss:
    """The model's loss on the batches that its loader holds out, weighted by their size.

    Raises:
        WrongUse: it holds out nothing.
    """

    def __init__(self, train_data: Any, valid_data: Any) -> None:
        self.batches = train_data.held_out(valid_data)
        if not self.batches:
            raise WrongUse(
                "pretrain_valid: loss needs something that is not trained on: raise pretrain_hold_out, or give the "
                "split a validation part"
            )

    @torch.no_grad()
    def __call__(self, model: Any) -> dict[str, float]:
        """The sum and each of its terms."""
        model.eval()
        sums: dict[str, float] = {}
        rows = 0
        for batch in self.batches:
            losses = model.calculate_loss(batch.to(model.device))
            for name, value in named_terms(losses, flatten(losses)).items():
                sums[name] = sums.get(name, 0.0) + value * len(batch)
            rows += len(batch)
        means = {name: total / rows for name, total in sums.items()}
        return {HELD_OUT_LOSS: sum(means.values()), **means}
