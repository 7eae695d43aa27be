r"""MMGCN: a graph of users and items for each modality (Wei et al., ACM MM 2019, "Multi-modal Graph Convolution Network
for Personalized Recommendation of Micro-video").

.. math::
    h^{(l)} = \phi\Big(\frac{1}{|N|} \sum_{j \in N} W_1 x_j^{(l-1)}\Big) \qquad
    \hat x^{(l)} = \phi\big(W_2 x^{(l-1)}\big) + e^{id} \qquad
    x^{(l)} = \phi\big(W_3 h^{(l)} + \hat x^{(l)}\big)

in the graph of each modality, φ = LeakyReLU, x of layer 0 an item's feature and a user's free vector; the matrices are
those of a layer and a modality, the ids are shared. A node is the mean over its modalities of the last layer; the score
is the product of user and item, the loss BPR with L2.

Given: all that, in the element-wise form of the combination and the mean form of the aggregation, which the paper finds
best. Inferred, with the public code: features are mapped to one width, layer 0 has unit length, the modalities' mean
(the paper: their sum). The code maps images alone, to 256, takes three layers whatever it is told, has biases in W_2
and W_3, and its L2 is a mean over numbers, 2 / d of this one. Inferred: an item without a modality has no feature to
send, so in the first layer its users' mean is over their other items; it hears of its users as the others do. Without
any modality there is one graph, of ids.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_mm.layer.graph import FixedGraph, mean_of_neighbours
from recbole_mm.layer.projection import xavier_normal
from recbole_mm.model.base import item_features
from recbole_mm.model.graph_recommender import GraphRecommender, Nodes


class MMGCN(GraphRecommender):
    """Message passing between users and items, by modality; nodes are users, then items."""

    multimodal = True
    scores_from_features = True

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.features = item_features(config, dataset)
        width, latent, self.reg_weight = (
            config[key] for key in ("embedding_size", "latent_dimension", "reg_weight")
        )
        self.node = nn.Embedding(self.n_users + self.n_items, width)
        xavier_normal(self.node)
        names = self.features.names
        self.projections = self.features.maps(partial(nn.Linear, out_features=latent))
        self.branches = nn.ModuleDict(
            {m: Branch(self.n_users, latent, width, config["n_layers"]) for m in names or ["id"]}
        )
        pairs = self.distinct_pairs(dataset)
        # from a receiver to a sender
        to_users = pairs + torch.tensor([[0], [self.n_users]])
        present = (
            self.features.present[pairs[1]] if names else torch.zeros(pairs.shape[1], 1, dtype=torch.bool)
        )
        self.graph, *first = (
            mean_of_neighbours(torch.cat([to_users[:, sent], to_users.flip(0)], dim=1), len(self.node.weight))
            for sent in (torch.ones_like(present[:, 0]), *present.unbind(dim=1))
        )
        self.first = nn.ModuleList(first)

    def _branch(self, name: str) -> Branch:
        return cast(Branch, self.branches[name])

    def _by_modality(self) -> dict[str, Tensor]:
        """Nodes ``[U + I, d]`` of each modality."""
        contents = self.features.mapped(self.projections) or [
            self.node.weight.new_zeros(self.n_items, self._branch("id").user_preference.embedding_dim)
        ]
        parts = zip(self.branches, contents, self.first, strict=True)
        return {
            m: self._branch(m)(content, self.node.weight, first, self.graph) for m, content, first in parts
        }

    def nodes(self) -> Nodes:
        """``[U, d]`` and ``[I, d]``."""
        mean = torch.stack(list(self._by_modality().values())).mean(dim=0)
        return mean.split([self.n_users, self.n_items])

    def score_parts(self, users: Tensor, items: Tensor) -> dict[str, dict[str, Tensor]]:
        """By the item's modalities."""
        found, user_emb = self._by_modality(), self.all_nodes()[0][users] / len(self.branches)
        parts = {m: (user_emb * nodes[self.n_users + items]).sum(dim=1) for m, nodes in found.items()}
        return {"item": parts}

    def penalised(self, nodes: Nodes, users: Tensor, items: Tensor, negatives: Tensor) -> list[Tensor]:
        """The ids and the users' free vectors of the batch."""
        ids = [self.node(rows) for rows in (users, self.n_users + items, self.n_users + negatives)]
        return ids + [self._branch(name).user_preference(users) for name in self.branches]

    def id_rows(self) -> dict[str, list[tuple[str, int]]]:
        """Users and items share one table of ids."""
        return {"node.weight": [("user", 1), ("item", 1)], **super().id_rows()}


class Branch(nn.Module):
    """The layers of one modality, with the users' free vectors in it."""

    def __init__(self, n_users: int, latent: int, width: int, n_layers: int):
        super().__init__()
        self.user_preference = nn.Embedding(n_users, latent)
        sizes = [latent, *([width] * n_layers)]
        # W_1, W_2, W_3 of each layer
        self.maps = nn.ModuleList(
            nn.ModuleList(nn.Linear(n, width, bias=False) for n in (before, before, width))
            for before in sizes[:n_layers]
        )
        xavier_normal(self)

    def forward(self, content: Tensor, ids: Tensor, first: FixedGraph, graph: FixedGraph) -> Tensor:
        """``content [I, latent]``, ``ids [U + I, d]`` -> ``[U + I, d]``."""
        # users and items apart in layer 0, which is the widest
        parts = [F.normalize(self.user_preference.weight, dim=1), F.normalize(content, dim=1)]
        for depth, maps in enumerate(self.maps):
            neighbour, own, together = cast(nn.ModuleList, maps)
            sent = torch.cat([neighbour(part) for part in parts])
            heard = F.leaky_relu((graph if depth else first)(sent), inplace=True)
            kept = F.leaky_relu(torch.cat([own(part) for part in parts]), inplace=True)
            parts = [F.leaky_relu(together(heard) + kept + ids, inplace=True)]
        return torch.cat(parts)
