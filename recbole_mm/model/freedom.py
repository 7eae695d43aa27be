r"""FREEDOM: a frozen graph of similar items, and a graph of users and items thinned out anew each epoch.

"A Tale of Two Graphs: Freezing and Denoising Graph Structures for Multimodal Recommendation", Zhou and Shen, ACM MM
2023, arXiv 2211.06924.

.. math::
    S = \sum_m \alpha_m D_m^{-1/2} S^m D_m^{-1/2} \qquad h_i = (S^{L_{ii}} E)_i \qquad
    \hat x_{ui} = \tilde e_u^\top (\tilde e_i + h_i) \\
    L = -\log\sigma(\hat x_{ui} - \hat x_{uj}) - \lambda \sum_m \log\sigma(\tilde e_u^\top (f_i^m - f_j^m))
    \qquad f^m = W_m x^m + b_m

Given (section 3): S^m is 1 from an item to its k nearest by cosine, else 0; :math:`\tilde e` is LightGCN (mean of the
layers) over ids E; in training over a share 1 - ρ of the edges, drawn each epoch without replacement by
:math:`p \propto 1/\sqrt{d_u d_i}` and normalised by the degrees that are left; in evaluation over all of them.
Inferred, with the authors' public code: an item is among its own k; D has the sums of S's rows; h is the last layer.
Inferred: of an item without a modality the weights α are those of the others, brought to 1, and without any its h is
0; the BPR of a modality is the mean over the pairs whose two items have it; of more than two modalities those that
``modality_weights`` does not name share what is left. The public code trains the features x, too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.layer.clock import EpochClock
from recbole_mm.layer.graph import FixedGraph, last_layer
from recbole_mm.layer.item_graph import frozen_graph
from recbole_mm.layer.loss import Terms, bpr
from recbole_mm.layer.scoring import scores_of_rows
from recbole_mm.model.base import item_features
from recbole_mm.model.graph_recommender import GraphRecommender, Nodes


class FREEDOM(GraphRecommender):
    """LightGCN over a thinned graph, plus what each item's nearest items by content are.

    Switches: ``drop_ratio: 0`` (all edges), ``modal_weight: 0`` (λ), ``n_item_layers: 0`` (h is an item's own id).
    """

    multimodal = True
    scores_from_features = True

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.features = item_features(config, dataset)
        self.modalities, self.modality_weights = self.features.names, config["modality_weights"]
        self.drop_ratio, self.seed = config["drop_ratio"], config["seed"]
        self.modal_weight, self.n_item_layers = config["modal_weight"], config["n_item_layers"]
        self._has_modal = self.modal_weight > 0 and bool(self.modalities)
        self.ids = self.light_gcn(config, dataset)
        self.clock = EpochClock(len(dataset.inter_feat))
        self._thinned: tuple[int, FixedGraph] | None = None
        self.item_graph = None
        if self.modalities:
            self.item_graph = frozen_graph(self.features, config["graph_k"], self.modality_weights)
        make = partial(nn.Linear, out_features=config["embedding_size"])
        self.projections = self.features.maps(make, self.modalities if self._has_modal else [])

    def _graph(self) -> FixedGraph:
        """The users' and items' graph: in training that of this epoch."""
        epoch = self.clock.epoch
        if not self.training or not self.drop_ratio:
            return self.ids.graph
        if self._thinned is None or self._thinned[0] != epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._thinned = epoch, self.ids.graph_of(self.ids.thinned(self.drop_ratio, generator))
        return self._thinned[1]

    def _neighbours(self) -> Tensor:
        """h, ``[I, d]``."""
        ids = self.ids.item.weight
        if self.item_graph is None:
            return torch.zeros_like(ids)
        return last_layer(self.item_graph, ids, self.n_item_layers)

    def nodes(self) -> Nodes:
        """Users ``[U, d]``, items with h ``[I, d]``."""
        users, items = self.ids(self._graph())
        return users, items + self._neighbours()

    def score_parts(self, users: Tensor, items: Tensor) -> dict[str, dict[str, Tensor]]:
        """By the item's own vector and by h."""
        user_emb, item_emb = self.ids(self._graph())
        parts = {"id": item_emb, "similar items": self._neighbours()}
        return {"item": {name: (user_emb[users] * part[items]).sum(dim=1) for name, part in parts.items()}}

    def calculate_loss(self, interaction: Interaction) -> Terms:
        """BPR, and λ Σ_m BPR by modality."""
        users, items, negatives = self.triplet(interaction)
        all_users, all_items = self.all_nodes()
        user_emb, modal = all_users[users], None
        if self._has_modal:
            distinct, rows = self.distinct_items(items, negatives)
            modal = self.modal_weight * self._by_modality(user_emb, distinct, *rows)
        self.clock.count(len(users))
        return Terms(bpr=bpr(*scores_of_rows(user_emb, all_items, items, negatives)), modal=modal)

    def _by_modality(self, user_emb: Tensor, items: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
        """Σ_m BPR of the projected features; ``pos [B]`` and ``neg [B, N]`` are rows of ``items``."""
        present, total = self.features.mask(items), user_emb.new_zeros(())
        for k, vectors in enumerate(self.features.mapped(self.projections, items)):
            both = present[pos, k].unsqueeze(1) & present[neg, k]
            total = total + bpr(*scores_of_rows(user_emb, vectors, pos, neg), both)
        return total
