"""A graph of items by features that are learned: chosen once an epoch, weighted anew in each step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_mm.layer.clock import EpochClock
from recbole_mm.layer.edge import Edges
from recbole_mm.layer.feature import FeatureTable
from recbole_mm.layer.graph import symmetric_weights
from recbole_mm.layer.item_graph import nearest_edges


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
        self._edges: tuple[int, Edges] | None = None

    def forward(self, features: FeatureTable, clock: EpochClock) -> tuple[Edges, Tensor]:
        """Edges to the I items from those near to them, and weights ``[e]`` with gradients."""
        held, vectors = features.held(self.name)
        edges = self._chosen(features, clock) if self.training else self._nearest(features, self._matrix())
        unit = F.normalize(self.projection(vectors), dim=1)
        unit = unit.new_zeros(len(features.present), unit.shape[1]).index_copy(0, held, unit)
        cosines = edges.scores(unit, unit).clamp(min=0)
        return edges, symmetric_weights(torch.stack([edges.receiver, edges.sender]), cosines, len(unit))

    def forget(self) -> None:
        """Forget the edges: other weights may have been loaded."""
        self._edges = None

    def _matrix(self) -> Tensor:
        """``[W ; b]``, ``[d, D + 1]``."""
        parts = [self.projection.weight, self.projection.bias.unsqueeze(1)]
        return torch.cat(parts, dim=1).detach()

    @torch.no_grad()
    def _chosen(self, features: FeatureTable, clock: EpochClock) -> Edges:
        epoch = clock.epoch
        if int(self.chosen_in) != epoch:
            self.chosen_in.fill_(epoch)
            self.chosen_by.copy_(self._matrix())
        if self._edges is None or self._edges[0] != epoch:
            self._edges = epoch, self._nearest(features, self.chosen_by)
        return self._edges[1]

    @torch.no_grad()
    def _nearest(self, features: FeatureTable, matrix: Tensor) -> Edges:
        held, vectors = features.held(self.name)
        mapped = F.linear(vectors, matrix[:, :-1], matrix[:, -1])
        items, near = nearest_edges(mapped, held, self.k, features.approximate)[0]
        size = len(features.present)
        return Edges(items, near, size, size)
