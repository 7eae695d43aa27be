r"""GCE: graph convolutional embeddings with the domain as a context node (arXiv 2103.03587).

.. math::
    E = \tilde D^{-1/2} (A + I) \tilde D^{-1/2} W \qquad
    \hat x_{ui} = \tfrac12 \sum_{k=1}^{d} \Big[\big(\textstyle\sum_n e_{nk}\big)^2 - \sum_n e_{nk}^2\Big]

over the nodes n in {user, item, domain of the item}; one-hot inputs, one convolution, BPR. The edges are user–item
from training rows, user–domain where the user has a training row in it, and item–domain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.layer.graph import FixedGraph, normalized_adjacency
from recbole_mm.layer.loss import Terms, bpr
from recbole_mm.layer.scoring import scores_of_rows
from recbole_mm.model.graph_recommender import GraphRecommender, Nodes


class GCE(GraphRecommender):
    """A graph of users, items and domains (its nodes, in this order), scored by a factorisation machine over the three.

    The factorisation machine over three vectors is ``u·i + u·c + i·c``, a dot product of ``[u ; 1 ; u·c]`` and
    ``[i ; i·c ; 1]``.
    """

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        n_nodes = self.n_users + self.n_items + self.n_domains
        shape = n_nodes, config["embedding_size"]
        self.node = nn.Embedding(*shape, _weight=nn.init.xavier_normal_(torch.empty(shape)))
        users, items = self.training_pairs(dataset)
        domain = self.item_domain.numpy()
        first_item, first_domain = self.n_users, self.n_users + self.n_items
        real = np.arange(1, self.n_items)
        rows = np.concatenate([users, users, first_item + real])
        columns = np.concatenate(
            [first_item + items, first_domain + domain[items], first_domain + domain[real]]
        )
        graph = normalized_adjacency(rows, columns, n_nodes, self_loops=True)
        self.adjacency = FixedGraph(graph, symmetric=True)

    def nodes(self) -> Nodes:
        """Vectors of users ``[U, d]``, items ``[I, d]``, domains ``[K, d]``."""
        nodes = self.adjacency(self.node.weight)
        return nodes.split([self.n_users, self.n_items, self.n_domains])

    def _item_tower(self, items: Tensor, nodes: tuple[Tensor, ...]) -> Tensor:
        item_emb, context = nodes[1][items], nodes[2][self.item_domain[items]]
        with_context = (item_emb * context).sum(dim=1, keepdim=True)
        return torch.cat([item_emb, with_context, torch.ones_like(with_context)], dim=1)

    def _user_tower(self, users: Tensor, nodes: tuple[Tensor, ...]) -> Tensor:
        user_emb = nodes[0][users]
        with_context = (user_emb @ nodes[2].t()).unsqueeze(-1)
        user_emb = user_emb.unsqueeze(1).expand(-1, self.n_domains, -1)
        return torch.cat([user_emb, torch.ones_like(with_context), with_context], dim=2)

    def encode_items(self, items: Tensor) -> Tensor:
        """``[n, d + 2]``."""
        return self._item_tower(items, self.all_nodes())

    def user_vectors(self, users: Tensor) -> Tensor:
        """``[n, K, d + 2]``."""
        return self._user_tower(users, self.all_nodes())

    def score_parts(self, users: Tensor, items: Tensor) -> dict[str, dict[str, Tensor]]:
        """By the pairs of nodes."""
        all_users, all_items, domains = self.all_nodes()
        user, item, context = all_users[users], all_items[items], domains[self.item_domain[items]]
        pairs = {
            "user and item": (user, item),
            "user and domain": (user, context),
            "item and domain": (item, context),
        }
        return {"nodes": {name: (a * b).sum(dim=1) for name, (a, b) in pairs.items()}}

    def calculate_loss(self, interaction: Interaction) -> Terms:
        """BPR over the batch."""
        users, items, negatives = self.triplet(interaction)
        nodes = self.all_nodes()
        user_emb = self.own_vector(self._user_tower(users, nodes), items)
        item_emb = self._item_tower(torch.arange(self.n_items, device=users.device), nodes)
        return Terms(bpr=bpr(*scores_of_rows(user_emb, item_emb, items, negatives)))

    def id_rows(self) -> dict[str, list[tuple[str, int]]]:
        """The nodes."""
        return {"node.weight": [("user", 1), ("item", 1), ("", self.n_domains)]}
