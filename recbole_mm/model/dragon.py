r"""DRAGON: users and items in a graph of both, then in a graph of their own kind ("Enhancing Dyadic Relations with
Homogeneous Graphs for Multimodal Recommendation", Zhou et al., ECAI 2023, arXiv 2301.12097).

.. math::
    \tilde x^m = \sum_{l=0}^{L} A^l x^m \qquad x^m_i = \overline{\mathrm{MLP}_m(f^m_i)} \\
    x_u = [\alpha_{u1} \tilde x^1_u ; \ldots ; \alpha_{uM} \tilde x^M_u] \qquad
    x_i = [\tilde x^1_i ; \ldots ; \tilde x^M_i] \\
    \hat x_{ui} = (x_u + \textstyle\sum_{v} C_{uv} x_v)^\top (x_i + (S^{L_{ii}} x)_i)

with free vectors of users in each modality (of unit length, the bar), A LightGCN's graph, C the softmax of the numbers
of items that u and each of the k users with the most in common with u share, S FREEDOM's frozen graph of similar items;
BPR, with L2 on the users' free vectors and their weights α.

Given: that; users' modalities are weighed, items' not. Inferred, with the public code: the MLP, D → 4 d → d with
LeakyReLU; α are free numbers from 1 / M (the code: from a softmax of random ones); it takes two layers of A whatever it
is told, fills up the users of someone with fewer than k by drawing some again (here the softmax is over those there
are), and its L2 is a mean over numbers, 2 / d of this one. Inferred: an item without a modality starts from zeros in
it, and its weights in S are those of its others. Without modalities items have free vectors.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_mm.layer.graph import (
    FixedGraph,
    common_shares,
    last_layer,
    mean_of_layers,
    normalized_adjacency,
    to_torch,
)
from recbole_mm.layer.item_graph import frozen_graph
from recbole_mm.layer.projection import xavier_normal
from recbole_mm.model.base import item_features
from recbole_mm.model.graph_recommender import GraphRecommender, Nodes


class DRAGON(GraphRecommender):
    """Three graphs one after the other: of users and items, of users, of items.

    Switches: ``use_user_graph: False`` (no C), ``n_item_layers: 0`` (no S).
    """

    multimodal = True
    scores_from_features = True

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.features = item_features(config, dataset)
        self.modalities, width = self.features.names, config["embedding_size"]
        self.reg_weight, self.n_item_layers = config["reg_weight"], config["n_item_layers"]
        self.n_layers, self.modality_weights = config["n_layers"], config["modality_weights"]
        blocks = self.modalities or ["id"]
        self.user_preference = nn.Embedding(self.n_users, width * len(blocks))
        xavier_normal(self.user_preference)
        self.user_share = nn.Embedding.from_pretrained(
            torch.full((self.n_users, len(blocks)), 1 / len(blocks)), freeze=False
        )
        self.item_id = None if self.modalities else nn.Embedding(self.n_items, width)
        self.projections = self.features.maps(partial(_mlp, width=width))
        users, items = self.training_pairs(dataset)
        size = self.n_users + self.n_items
        of_pairs = normalized_adjacency(users, self.n_users + items, size, False)
        self.graph = FixedGraph(of_pairs, symmetric=True)
        self.user_graph = self.item_graph = None
        if config["use_user_graph"]:
            shares = common_shares(users, items, self.n_users, config["user_graph_k"])
            self.user_graph = FixedGraph(to_torch(shares))
        if self.modalities and self.n_item_layers:
            self.item_graph = frozen_graph(self.features, config["graph_k"], self.modality_weights)

    def _starts(self) -> Tensor:
        """Layer 0 of the modalities side by side, ``[U + I, M d]``."""
        items = [] if self.item_id is None else [F.normalize(self.item_id.weight, dim=1)]
        items += [F.normalize(content, dim=1) for content in self.features.mapped(self.projections)]
        users = self.user_preference.weight.unflatten(1, (len(items), -1))
        return torch.cat([F.normalize(users, dim=2).flatten(1), torch.cat(items, dim=1)])

    def nodes(self) -> Nodes:
        """``[U, M d]`` and ``[I, M d]``."""
        layers = mean_of_layers(self.graph, self._starts(), self.n_layers) * (self.n_layers + 1)
        users, items = layers.split([self.n_users, self.n_items])
        weight = self.user_share.weight
        users = (users.unflatten(1, (weight.shape[1], -1)) * weight.unsqueeze(2)).flatten(1)
        if self.user_graph is not None:
            users = users + self.user_graph(users)
        if self.item_graph is not None:
            items = items + last_layer(self.item_graph, items, self.n_item_layers)
        return users, items

    def score_parts(self, users: Tensor, items: Tensor) -> dict[str, dict[str, Tensor]]:
        """By the modalities of user and item."""
        all_users, all_items = self.all_nodes()
        names = self.modalities or ["id"]
        parts = (all_users[users] * all_items[items]).unflatten(1, (len(names), -1)).sum(dim=2)
        return {"modality": dict(zip(names, parts.unbind(dim=1), strict=True))}

    def penalised(self, nodes: Nodes, users: Tensor, items: Tensor, negatives: Tensor) -> list[Tensor]:
        """The users' free vectors and weights."""
        return [self.user_preference(users), self.user_share(users)]


def _mlp(in_features: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(in_features, 4 * width), nn.LeakyReLU(), nn.Linear(4 * width, width))
