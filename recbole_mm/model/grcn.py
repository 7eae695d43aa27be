r"""GRCN: a graph of users and items that content prunes ("Graph-Refined Convolutional Network for Multimedia
Recommendation with Implicit Feedback", Wei et al., ACM MM 2020, arXiv 2111.02036).

.. math::
    u_m \leftarrow \overline{u_m + \textstyle\sum_{i \in N_u} P_m(i|u)\, i_m} \quad (T \text{ times}) \qquad
    P_m(b|a) = \mathrm{softmax}_{b \in N_a}(u_m^\top i_m) \\
    s_{ab} = \mathrm{ReLU}\big(\max_m c_{bm} P_m(b|a)\big) \qquad
    e_a^{(l)} = \sum_{b \in N_a} s_{ab}\, e_b^{(l-1)} \\
    x_a = \Big[\textstyle\sum_l e_a^{(l)} ;\ a_m + \sum_{b \in N_a} P_m(b|a)\, b_m\ \ldots\Big]

with :math:`i_m = \overline{\mathrm{LeakyReLU}(W_m f_i^m + b_m)}`, free vectors of users :math:`u_m` and ids
:math:`e^{(0)}` of unit length (the bar), and a confidence c of each node in each modality. The score is the product of
user and item, the loss BPR with L2.

Given: routing, affinities in both directions, their largest by confidence, soft pruning, propagation of the ids along
them, ids and contents side by side. Inferred, with the public code: the confidence is the sender's, contents hear of
their neighbours once more at the end. In MMRec's form the messages of the routing go to items and are left out, so that
users stay where they are, ids have two layers whatever it is told, and L2 is a mean over numbers, 2 / d of this one.
Inferred: items without a modality are no neighbours in it and have zeros there; an edge to an item without any has
weight 1 / |N|. So without modalities it is a convolution of ids.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_mm.layer.edge import Edges
from recbole_mm.layer.projection import masked, xavier_normal
from recbole_mm.model.base import item_features
from recbole_mm.model.graph_recommender import GraphRecommender, Nodes


class GRCN(GraphRecommender):
    """Contents tell which interactions the ids hear of. Switch: ``pruning: False`` (no ReLU)."""

    multimodal = True
    scores_from_features = True

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.features = item_features(config, dataset)
        self.modalities, width = self.features.names, config["embedding_size"]
        self.n_layers, self.n_routing = config["n_layers"], config["n_routing"]
        self.pruning, self.reg_weight = config["pruning"], config["reg_weight"]
        self.user_id, self.item_id = nn.Embedding(self.n_users, width), nn.Embedding(self.n_items, width)
        latent = config["latent_dimension"]
        self.projections = self.features.maps(partial(nn.Linear, out_features=latent))
        self.user_preference = nn.ModuleDict({m: nn.Embedding(self.n_users, latent) for m in self.modalities})
        sizes = {"user": self.n_users, "item": self.n_items} if self.modalities else {}
        self.confidence = nn.ModuleDict({k: nn.Embedding(n, len(self.modalities)) for k, n in sizes.items()})
        xavier_normal(self)
        users, items = self.distinct_pairs(dataset)
        self.to_users = Edges(users, items, self.n_users, self.n_items)
        self.to_items = Edges(items, users, self.n_items, self.n_users)

    def _routed(self, name: str) -> tuple[list[Tensor], list[Tensor]]:
        """Of one modality the contents of users ``[U, c]`` and items ``[I, c]``; P of edges to users and to items."""
        present = self.features.present[:, self.modalities.index(name)]
        sent, received = present[self.to_users.sender], present[self.to_items.receiver]
        content = F.leaky_relu(self.projections[name](self.features(name)))
        item = masked(F.normalize(content, dim=1), present)
        user = F.normalize(cast(nn.Embedding, self.user_preference[name]).weight, dim=1)
        for _ in range(self.n_routing):
            share = self.to_users.softmax(self.to_users.scores(user, item), sent)
            user = F.normalize(user + self.to_users.sums(share, item), dim=1)
        of_users = self.to_users.softmax(self.to_users.scores(user, item), sent)
        of_items = self.to_items.softmax(self.to_items.scores(item, user), received)
        contents = [user + self.to_users.sums(of_users, item), item + self.to_items.sums(of_items, user)]
        return contents, [of_users, of_items]

    def _weights(self, edges: Edges, affinities: list[Tensor], sender: str, items: Tensor) -> Tensor:
        """The weights s ``[e]`` of edges sent by the ``user`` or the ``item``, by their P and their ``items``."""
        if not self.modalities:
            return edges.mean_weights()
        present = self.features.present[items]
        claims = torch.stack(affinities, dim=1) * self.confidence[sender](edges.sender)
        largest = claims.masked_fill(~present, -torch.inf).amax(dim=1)
        largest = F.relu(largest) if self.pruning else largest
        return torch.where(present.any(dim=1), largest, edges.mean_weights())

    def nodes(self) -> Nodes:
        """Ids and contents side by side, ``[U, d + M c]`` and ``[I, d + M c]``."""
        routed = [self._routed(name) for name in self.modalities]
        to_users = self._weights(self.to_users, [p[0] for _, p in routed], "item", self.to_users.sender)
        to_items = self._weights(self.to_items, [p[1] for _, p in routed], "user", self.to_items.receiver)
        layer = tuple(F.normalize(table.weight, dim=1) for table in (self.user_id, self.item_id))
        ids = list(layer)
        for _ in range(self.n_layers):
            layer = self.to_users.sums(to_users, layer[1]), self.to_items.sums(to_items, layer[0])
            ids = [own + heard for own, heard in zip(ids, layer, strict=True)]
        users, items = (torch.cat([ids[k], *(contents[k] for contents, _ in routed)], dim=1) for k in (0, 1))
        return users, items

    def score_parts(self, users: Tensor, items: Tensor) -> dict[str, dict[str, Tensor]]:
        """By ids and modalities."""
        all_users, all_items = self.all_nodes()
        product = all_users[users] * all_items[items]
        ids, contents = product.tensor_split([self.user_id.embedding_dim], dim=1)
        parts = [part.sum(dim=1) for part in (ids, *contents.chunk(max(len(self.modalities), 1), dim=1))]
        return {"item": dict(zip(["id", *self.modalities], parts, strict=False))}

    def penalised(self, nodes: Nodes, users: Tensor, items: Tensor, negatives: Tensor) -> list[Tensor]:
        """The ids and the users' free vectors of the batch."""
        ids = [self.user_id(users), self.item_id(items), self.item_id(negatives)]
        return ids + [preference(users) for preference in self.user_preference.values()]
