r"""LATTICE: graphs of similar items, by their features as they are and as they are learned, enrich LightGCN's items.

"Mining Latent Structures for Multimedia Recommendation", Zhang et al., ACM MM 2021, arXiv 2104.09036.

.. math::
    A = \sum_m \alpha_m [\lambda\, \mathcal N(S(x^m)) + (1 - \lambda)\, \mathcal N(S(W_m x^m + b_m))] \qquad
    \alpha = softmax(a) \\
    h = A^{L} E \qquad \hat x_{ui} = \tilde e_u^\top (\tilde e_i + h_i / \|h_i\|)

Given (section 3): S is the cosine to an item's k nearest, negative ones and all others 0; :math:`\mathcal N(S) =
D^{-1/2} S D^{-1/2}`; :math:`\tilde e` a collaborative model over ids E, here LightGCN (mean of the layers; with
``n_layers: 0`` MF); BPR with L2. Inferred, with the authors' public code: an item is among its own k, h is the last
layer, L2 is ½‖·‖² of the scored vectors, per positive, and the neighbours are looked for once an epoch and in
evaluation. Inferred: α of an item that lacks a modality is a softmax over those it has; without any h is 0.

Here the cosines of the chosen pairs have their gradient in every step and only the choice has none; in the public
code the graph is a constant but in an epoch's first step. That code also adds the learned graphs up before it
normalises them, trains the features x themselves, and has user-item edges weighted :math:`D^{-1}(A + I)`. There a
graph is a dense matrix of all items; here it never is.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.layer.clock import EpochClock
from recbole_mm.layer.fusion import softmax_of_present
from recbole_mm.layer.graph import FixedGraph
from recbole_mm.layer.item_graph import similarity_graph
from recbole_mm.layer.learned_graph import LearnedGraph
from recbole_mm.layer.loss import Terms
from recbole_mm.model.base import item_features
from recbole_mm.model.graph_recommender import GraphRecommender, Nodes


class LATTICE(GraphRecommender):
    """LightGCN plus a walk over learned graphs of items.

    Switches: ``frozen_share`` (λ; 1: nothing is learned of the graphs), ``n_layers``, ``n_item_layers``.
    """

    multimodal = True
    scores_from_features = True

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.features = item_features(config, dataset)
        names, k = self.features.names, config["graph_k"]
        self.frozen_share, self.reg_weight = config["frozen_share"], config["reg_weight"]
        self.n_item_layers = config["n_item_layers"] if names else 0
        self.ids = self.light_gcn(config, dataset)
        self.clock = EpochClock(len(dataset.inter_feat))
        used = names if self.n_item_layers else []
        self.modality_logits = nn.Parameter(torch.zeros(len(used))) if len(used) > 1 else None
        self.frozen = nn.ModuleList(
            [FixedGraph(similarity_graph(self.features, m, k, binary=False)) for m in used]
        )
        learned = used if self.frozen_share < 1 else []
        self.learned = nn.ModuleList(
            [LearnedGraph(self.features, m, config["embedding_size"], k) for m in learned]
        )
        self.features.read_by(self.learned)

    def _enriched(self) -> Tensor:
        """H, ``[I, d]``."""
        hidden = self.ids.item.weight
        if not self.frozen:
            return torch.zeros_like(hidden)
        shares = softmax_of_present(self.features.present, self.modality_logits)
        graphs = [graph(self.features, self.clock) for graph in self.learned]
        for _ in range(self.n_item_layers):
            walked = [self.frozen_share * graph(hidden) for graph in self.frozen]
            for m, (edges, weights) in enumerate(graphs):
                walked[m] = walked[m] + (1 - self.frozen_share) * edges.sums(weights, hidden)
            hidden = (shares.unsqueeze(-1) * torch.stack(walked, dim=1)).sum(dim=1)
        return F.normalize(hidden, dim=1)

    def nodes(self) -> Nodes:
        """Users ``[U, d]``, items with h ``[I, d]``."""
        users, items = self.ids()
        return users, items + self._enriched()

    def score_parts(self, users: Tensor, items: Tensor) -> dict[str, dict[str, Tensor]]:
        """By the item's own vector and by h."""
        user_emb, item_emb = self.ids()
        parts = {"id": item_emb, "similar items": self._enriched()}
        return {"item": {name: (user_emb[users] * part[items]).sum(dim=1) for name, part in parts.items()}}

    def calculate_loss(self, interaction: Interaction) -> Terms:
        """BPR with L2; the graphs are those of the epoch."""
        loss = super().calculate_loss(interaction)
        self.clock.count(len(interaction))
        return loss

    def forget_cached(self) -> None:
        """Forget the edges too."""
        super().forget_cached()
        for graph in self.learned:
            cast(LearnedGraph, graph).forget()
