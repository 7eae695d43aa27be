"""A graph of items by features that are learned: chosen once an epoch, weighted anew in each step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_mm.layer.clock import EpochClock
from recbole_mm.layer.feature import FeatureTable
from recbole_mm.layer.graph import symmetric_weights
from recbole_mm.layer.item_graph import nearest_edges, pair_products


class LearnedGraph(nn.Module):
    """``D^{-1/2} S D^{-1/2}``, S_ij the cosine of ``W x + b`` from an item to its k nearest, negative ones as 0.

    The k nearest are found at the first step of an epoch, and in evaluation by the weights as they are. The weights
    that chose are part of the state dict, so that a run that is resumed has the same neighbours.

    Args:
        features, name: the modality; items without it have no edges.
        width: of ``W x + b``.
        k: edges of an item, to itself the first.
    """

    chosen_by: Tensor
    chosen_in: Tensor

    def __init__(self, features: FeatureTable, name: str, width: int, k: int):
        super().__init__()
        self.name, self.k = name, k
        self.projection = nn.Linear(features.widths[name], width)
        self.register_buffer("chosen_by", self._matrix())
        self.register_buffer("chosen_in", torch.tensor(-1))
        self._edges: tuple[int, Tensor] | None = None

    def forward(self, features: FeatureTable, clock: EpochClock) -> tuple[Tensor, Tensor]:
        """Edges ``[2, e]`` between items, and their weights ``[e]``, with gradients."""
        held, vectors = features.held(self.name)
        edges = self._chosen(vectors, clock) if self.training else self._nearest(vectors, self._matrix())
        unit = F.normalize(self.projection(vectors), dim=1)
        cosines = pair_products(edges, unit, unit).clamp(min=0)
        return held[edges], symmetric_weights(edges, cosines, len(held))

    def forget(self) -> None:
        """Forget the edges: other weights may have been loaded."""
        self._edges = None

    def _matrix(self) -> Tensor:
        """``[W ; b]``, ``[d, D + 1]``."""
        parts = [self.projection.weight, self.projection.bias.unsqueeze(1)]
        return torch.cat(parts, dim=1).detach()

    @torch.no_grad()
    def _chosen(self, vectors: Tensor, clock: EpochClock) -> Tensor:
        epoch = clock.epoch
        if int(self.chosen_in) != epoch:
            self.chosen_in.fill_(epoch)
            self.chosen_by.copy_(self._matrix())
        if self._edges is None or self._edges[0] != epoch:
            self._edges = epoch, self._nearest(vectors, self.chosen_by)
        return self._edges[1]

    @torch.no_grad()
    def _nearest(self, vectors: Tensor, matrix: Tensor) -> Tensor:
        """Numbers of rows of ``vectors``, ``[2, e]``."""
        rows = torch.arange(len(vectors), device=vectors.device)
        return nearest_edges(F.linear(vectors, matrix[:, :-1], matrix[:, -1]), rows, self.k)[0]
