"""LightGCN (He et al., SIGIR 2020, arXiv 2002.02126) as a part of other models: ids over the user-item graph."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from recbole_mm.layer.graph import FixedGraph, mean_of_layers, symmetric_weights


class LightGCN(nn.Module):
    """Vectors of users and items by id, and the mean of their layers over the graph of the training pairs.

    Args:
        users, items: the pairs, ``[t]``, **of the training part**; one given twice counts once.
        n_users, n_items: U and I.
        width: d.
        n_layers: products with the graph; 0 leaves the ids as they are.

    Attributes:
        user, item: the embeddings, ``[U, d]`` and ``[I, d]`` (Xavier, uniform).
        pairs: the distinct pairs, ``[2, e]``, by user; no part of the state dict.
        graph: ``D^{-1/2} A D^{-1/2}`` over users, then items.
    """

    pairs: Tensor

    def __init__(
        self, users: np.ndarray, items: np.ndarray, n_users: int, n_items: int, width: int, n_layers: int
    ):
        super().__init__()
        self.n_layers = n_layers
        self.user, self.item = nn.Embedding(n_users, width), nn.Embedding(n_items, width)
        for table in (self.user, self.item):
            nn.init.xavier_uniform_(table.weight)
        distinct = np.unique(users.astype(np.int64) * n_items + items)
        pairs = torch.from_numpy(np.stack(np.divmod(distinct, n_items)))
        self.register_buffer("pairs", pairs, persistent=False)
        self.graph = self.graph_of(self.pairs)

    def graph_of(self, pairs: Tensor) -> FixedGraph:
        """``D^{-1/2} A D^{-1/2}`` of distinct ``pairs [2, e]`` of a user and an item, by their own degrees."""
        n_users = self.user.num_embeddings
        n_nodes = n_users + self.item.num_embeddings
        edges = torch.stack([pairs[0], pairs[1] + n_users])
        edges = torch.cat([edges, edges.flip(0)], dim=1)
        weights = symmetric_weights(edges, torch.ones(edges.shape[1], device=edges.device), n_nodes)
        matrix = torch.sparse_coo_tensor(edges, weights, (n_nodes, n_nodes), check_invariants=False)
        return FixedGraph(matrix, symmetric=True)

    def user_graph(self, power: float) -> FixedGraph:
        """``[U, I]``, ``(d_u d_i)^{-power}`` of a pair: 0 sums a user's items, ½ is the part of ``graph``."""
        users, items = self.pairs
        weight = (torch.bincount(users)[users] * torch.bincount(items)[items]).float().pow(-power)
        shape = self.user.num_embeddings, self.item.num_embeddings
        return FixedGraph(torch.sparse_coo_tensor(self.pairs, weight, shape, check_invariants=False))

    def thinned(self, drop_ratio: float, generator: torch.Generator) -> Tensor:
        """The pairs but for a share, ``[2, e']``, drawn without replacement by p ∝ 1/√(d_u d_i) (FREEDOM): those of a
        busy user and a popular item go first.
        """
        users, items = self.pairs.cpu()
        weight = (torch.bincount(users)[users] * torch.bincount(items)[items]).double().rsqrt()
        # the first of exponential clocks of these rates: as draws one by one
        alarm = torch.empty_like(weight).exponential_(generator=generator) / weight
        kept = alarm.topk(max(1, int(len(weight) * (1 - drop_ratio))), largest=False, sorted=False).indices
        return self.pairs[:, kept.to(self.pairs.device)]

    def forward(
        self, graph: FixedGraph | None = None, vectors: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """``[U, d]`` and ``[I, d]``; over another ``graph``, or of other ``vectors [U + I, d]`` than the ids."""
        graph = self.graph if graph is None else graph
        vectors = torch.cat([self.user.weight, self.item.weight]) if vectors is None else vectors
        users, items = mean_of_layers(graph, vectors, self.n_layers).split(
            [self.user.num_embeddings, self.item.num_embeddings]
        )
        return users, items
