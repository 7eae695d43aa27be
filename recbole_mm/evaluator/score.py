"""A model's scores for a batch of queries, over all items, whatever family it is of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recbole_mm.errors import Failure


class Scorer:
    """Scores [B, I] by ``full_sort_predict``, or by ``predict`` over all pairs where a model has none (context)."""

    def __init__(self, model: Any, eval_data: Any, items: int, pairs: int) -> None:
        """``pairs``: how many (query, item) pairs one call of ``predict`` may get."""
        self.model, self.items, self.pairs = model, items, max(pairs, 1)
        self.dataset = eval_data._dataset
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.device = torch.device(getattr(model, "device", self.device))
        self._item_features: Any = None

    def __call__(self, interaction: Any) -> Tensor:
        """Scores [B, I] on the model's device; the caller may overwrite them."""
        interaction = interaction.to(self.device)
        if self._item_features is None:
            try:
                scores = self.model.full_sort_predict(interaction)
            except NotImplementedError:
                self._item_features = self.dataset.get_item_feature().to(self.device)
            else:
                return self._shaped(scores, len(interaction))
        return self._by_pairs(interaction)

    def _shaped(self, scores: Tensor, rows: int) -> Tensor:
        if scores.numel() != rows * self.items:
            raise Failure(
                f"{type(self.model).__name__}.full_sort_predict gave {tuple(scores.shape)} "
                f"for {rows} queries and {self.items} items"
            )
        return scores.view(rows, self.items).contiguous()

    def _by_pairs(self, interaction: Any) -> Tensor:
        """Every query with every item, at most ``pairs`` at a time (items split where one query has more)."""
        rows = []
        users = max(1, self.pairs // self.items)
        for a in range(0, len(interaction), users):
            part = interaction[slice(a, a + users)]
            scores = []
            for b in range(0, self.items, self.pairs):
                items = self._item_features[slice(b, b + self.pairs)]
                pairs = part.repeat_interleave(len(items))
                pairs.update(items.repeat(len(part)))
                scores.append(self.model.predict(pairs).reshape(len(part), -1))
            rows.append(torch.cat(scores, dim=1))
        return torch.cat(rows)


def predict_rows(model: Any, interaction: Any, device: Any, size: int) -> Tensor:
    """``predict`` over the rows of an interaction, ``size`` at a time; [N]."""
    parts = [
        model.predict(interaction[slice(a, a + size)].to(device)).reshape(-1)
        for a in range(0, len(interaction), size)
    ]
    return torch.cat(parts)
