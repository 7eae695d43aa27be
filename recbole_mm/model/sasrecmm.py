"""SASRecMM: SASRec (Kang and McAuley, ICDM 2018, arXiv 1808.09781) over items that are an id and their content.

.. math:: v_i = e_i + \\sum_m W_m f_i^m + b_m

An item's vector stands in the input sequence and, with the same weights, in the score; an absent modality adds nothing.
SASRec itself is RecBole's, with ``modalities: []`` to the digit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from recbole.model.sequential_recommender.sasrec import SASRec
from torch import Tensor, nn

from recbole_mm.layer.feature import FeatureTable
from recbole_mm.model.base import ITEMS_AT_ONCE, item_features
from recbole_mm.model.traits import Traits


class ItemVectors(nn.Module):
    """In the place of a table of items: called with ids ``[...]`` it gives vectors ``[..., d]``; all are ``weight``.

    Args:
        ids: ``[I, d]``, e.
        features: f, with which items have which.
        project: makes the module ``[n, D] -> [n, d]`` of a modality from D and d.
        add_ids: whether e is part of the vectors.
    """

    def __init__(
        self,
        ids: nn.Embedding,
        features: FeatureTable,
        project: Callable[[int, int], nn.Module] = nn.Linear,
        add_ids: bool = True,
    ):
        super().__init__()
        self.ids, self.features, self.add_ids = ids, features, add_ids
        self.projections = features.maps(lambda width: project(width, ids.embedding_dim))
        self._all: Tensor | None = None
        self.register_load_state_dict_post_hook(lambda *_: self._forget())

    def forward(self, items: Tensor) -> Tensor:
        """``[..., d]``; each item is projected once."""
        distinct, rows = torch.unique(items, return_inverse=True)
        return nn.functional.embedding(rows, self._encode(distinct))

    @property
    def weight(self) -> Tensor:
        """``[I, d]``; in evaluation computed once, until the mode or the weights change."""
        if self._all is not None:
            return self._all
        every = torch.arange(self.ids.num_embeddings, device=self.ids.weight.device)
        if self.training or torch.is_grad_enabled():
            return self._encode(every)
        self._all = torch.cat([self._encode(part) for part in every.split(ITEMS_AT_ONCE)])
        return self._all

    def _encode(self, items: Tensor) -> Tensor:
        vectors = (
            self.ids(items) if self.add_ids else self.ids.weight.new_zeros(len(items), self.ids.embedding_dim)
        )
        for content in self.features.mapped(self.projections, items):
            vectors = vectors + content
        return vectors

    def _forget(self) -> None:
        self._all = None

    def train(self, mode: bool = True) -> ItemVectors:
        """Set the mode; forgets computed vectors."""
        self._forget()
        return super().train(mode)


class SASRecMM(Traits, SASRec):
    """SASRec whose item vectors are an id and projected features, at input and at output."""

    multimodal = True
    scores_from_features = True
    causal = True

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.features = item_features(config, dataset)
        if self.features.names:
            ids: Any = self.item_embedding
            self.item_embedding: Any = ItemVectors(ids, self.features)
            self._start_projections()

    @torch.no_grad()
    def _start_projections(self) -> None:
        """Content starts as large as the ids, whatever the length of f: beside a large one they would not learn."""
        for k, (name, projection) in enumerate(self.item_embedding.projections.items()):
            there = self.features.present[:, k].nonzero().squeeze(1)[:ITEMS_AT_ONCE]
            length = self.features(name, there).square().sum(1).mean().sqrt()
            nn.init.normal_(projection.weight, std=self.initializer_range / max(float(length), 1e-12))
            nn.init.zeros_(projection.bias)

    def item_rows(self, items: Tensor) -> Tensor:
        """Those of the ``items`` alone are projected."""
        return self.item_embedding(items)

    def id_rows(self) -> dict[str, list[tuple[str, int]]]:
        """E."""
        ids = "item_embedding.ids.weight" if self.features.names else "item_embedding.weight"
        return {ids: [("item", 1)]}
