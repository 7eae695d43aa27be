"""The loss of a batch of prefixes without most of the padding behind them (``loader: fast``)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from recbole_mm.data.sequence import MASKED, without_padding
from recbole_mm.layer.loss import Terms
from recbole_mm.layer.transformer import SMALL_BATCH_PADDING, length_buckets


class PrefixObjective:
    """Called with a batch of RecBole's sequential loader, it gives the model's own loss, up to rounding.

    The rows go through ``calculate_loss`` in buckets of about the same length, each cut to its longest. The loss is a
    mean over rows, with ``transform: mask_itemseq`` over masked places; so is the mean over buckets.
    """

    def __init__(self, config: Any, model: Any, dataset: Any):
        """``dataset`` is that of the loader."""
        self.model, self.dataset, self._masks = model, dataset, config[MASKED[0]]

    def __call__(self, interaction: Any) -> Tensor | tuple[Tensor, ...]:
        """Scalar, or scalars where the model's loss has terms."""
        losses: list[Any] = []
        weights: list[int] = []
        for rows in length_buckets(interaction[self.model.ITEM_SEQ_LEN], SMALL_BATCH_PADDING):
            part = without_padding(self.dataset, interaction[rows])
            weight = int((part[self._masks] > 0).sum()) if self._masks in part else len(rows)
            if weight:
                losses.append(self.model.calculate_loss(part))
                weights.append(weight)
        if not losses:  # nothing is masked: RecBole's is no number
            return self.model.calculate_loss(interaction)  # type: ignore[no-any-return]
        first = losses[0]
        if not isinstance(first, tuple):
            return _mean(losses, weights)
        means = [_mean(terms, weights) for terms in zip(*losses, strict=True)]
        return (
            Terms(**dict(zip(first.names, means, strict=True))) if isinstance(first, Terms) else tuple(means)
        )


def _mean(values: Any, weights: list[int]) -> Tensor:
    total = sum(weights)
    return sum(value * (weight / total) for value, weight in zip(values, weights, strict=True))  # type: ignore[return-value]
