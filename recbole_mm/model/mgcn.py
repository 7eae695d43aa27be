r"""MGCN: modalities purified by ids, spread over similar items, and weighed by what users do.

"Multi-View Graph Convolutional Network for Multimedia Recommendation", Yu, Tan, Lu, Bao, ACM MM 2023, arXiv 2308.03588.

.. math::
    \ddot e_i^m = e_i \odot \sigma(W_2^m (W_1^m x_i^m + b_1^m) + b_2^m) \qquad
    \bar e_i^m = (S_m^{L} \ddot E^m)_i \qquad
    \bar e_u^m = \sum_{i \in N_u} \frac{\bar e_i^m}{\sqrt{|N_u| |N_i|}} \\
    s = \sum_m \alpha_m \bar e^m \quad \alpha = softmax(q^\top \tanh(W_4 \bar e^m + b_4)) \qquad
    p^m = (\bar e^m - s) \odot \sigma(W_3^m \bar e + b_3^m) \\
    v = \frac{1}{M + 1} \Big(s + \sum_m p^m\Big) \qquad \hat x_{ui} = (\bar e_u + v_u)^\top (\bar e_i + v_i) \\
    L = L_{BPR} + \lambda_C [NCE(v_u, \bar e_u) + NCE(v_i, \bar e_i)] + \lambda_E L_2

Given (section 3): the purifier, the two views, the fuser, the losses; :math:`\bar e` is LightGCN (mean of the layers)
over ids e. Inferred, with the authors' public code: S_m keeps the cosines to an item's k nearest, itself among them,
:math:`D^{-1/2} S D^{-1/2}`; v is a mean of M + 1 parts; NCE is cosine within the batch at τ = .2, from v alone; L2 is
½‖·‖² of the scored vectors, per positive. Inferred: an item without a modality, and a user whose items all lack it,
have no :math:`\bar e^m`: α and the mean run over what there is, and v of nothing is 0.

The public code differs in that it trains the features x themselves, lets the learning rate fall (by .96 in 50 epochs),
and takes the other rows of the same user or item in the batch for negatives of the contrast.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.layer.attention import query
from recbole_mm.layer.fusion import gate, softmax_of_present
from recbole_mm.layer.graph import FixedGraph, last_layer
from recbole_mm.layer.item_graph import similarity_graph
from recbole_mm.layer.loss import Terms, bpr, half_squares, in_batch_info_nce, weighted
from recbole_mm.layer.projection import masked
from recbole_mm.layer.scoring import scores_of_rows
from recbole_mm.model.base import item_features
from recbole_mm.model.graph_recommender import GraphRecommender, Nodes


class MGCN(GraphRecommender):
    """LightGCN plus the fused modalities; its nodes are the scored users and items, then v and the ids' of both.

    Switches: ``cl_weight: 0`` (λ_C), ``reg_weight: 0`` (λ_E).
    """

    multimodal = True
    scores_from_features = True
    present: Tensor

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.features = item_features(config, dataset)
        names, width = self.features.names, config["embedding_size"]
        self.reg_weight, self.temperature = config["reg_weight"], config["temperature"]
        self.cl_weight = config["cl_weight"] if names else 0
        self.n_item_layers = config["n_item_layers"]
        self.ids = self.light_gcn(config, dataset)
        graphs = [similarity_graph(self.features, m, config["graph_k"], binary=False) for m in names]
        self.user_graph = self.ids.user_graph(0.5)
        self.register_buffer("present", self._present(), persistent=False)
        self._build(config, graphs, width)

    def _build(self, config: Any, graphs: list[Tensor], width: int) -> None:
        """The parts behind the ids, from the graph of each modality."""
        self.purifiers = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(self.features.widths[m], width), *gate(width))
                for m in self.features.names
            ]
        )
        self.features.read_by(self.purifiers)
        self.item_graphs = nn.ModuleList([FixedGraph(graph) for graph in graphs])
        self.preferences = nn.ModuleList([gate(width) for _ in graphs])
        # with one modality it is all that is shared
        self.attention = query(width, 1) if len(graphs) > 1 else None

    def _present(self) -> Tensor:
        """Which modalities a user's training items or an item have, ``[U + I, M]``."""
        users, items = self.ids.pairs
        of_items = self.features.present
        of_users = torch.zeros(self.n_users, of_items.shape[1]).index_add(0, users, of_items[items].float())
        return torch.cat([of_users > 0, of_items])

    def _purified(self, held: Tensor, gates: Tensor) -> Tensor:
        """The ids of the items ``held [n]`` under ``gates [n, d]``, ``[I, d]``."""
        ids = self.ids.item.weight
        return torch.zeros_like(ids).index_copy(0, held, ids[held] * gates)

    def _spread(self, graph: nn.Module, items: Tensor) -> Tensor:
        """Over similar items, then to users: users, then items, ``[U + I, d]``."""
        items = last_layer(cast(FixedGraph, graph), items, self.n_item_layers)
        return torch.cat([self.user_graph(items), items])

    def _modal(self, k: int, name: str) -> Tensor:
        """One modality's vectors, ``[U + I, d]``."""
        held, vectors = self.features.held(name)
        pure = self._purified(held, self.purifiers[k](vectors))
        return self._spread(self.item_graphs[k], pure)

    def _views(self) -> list[Tensor]:
        """The modalities' vectors, ``[U + I, d]`` each."""
        return [self._modal(k, name) for k, name in enumerate(self.features.names)]

    def _fused(self, views: Tensor, behaviour: Tensor, present: Tensor) -> Tensor:
        """V ``[n, d]`` of some rows, by their ``views [n, M, d]``, vectors by id ``[n, d]`` and ``present [n, M]``."""
        logits = None if self.attention is None else self.attention(views).squeeze(-1)
        shared = (softmax_of_present(present, logits).unsqueeze(-1) * views).sum(dim=1)
        liked = torch.stack([each(behaviour) for each in self.preferences], dim=1)
        own = masked((views - shared.unsqueeze(1)) * liked, present).sum(dim=1)
        return (shared + own) / (1 + present.sum(dim=1, keepdim=True))

    def _rows(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """V and the ids' part ``[n, d]`` of some users and items, which stand behind the users."""
        behaviour = torch.cat(self.ids())[rows]
        if not self.features.names:
            return torch.zeros_like(behaviour), behaviour
        views = torch.stack([view[rows] for view in self._views()], dim=1)
        return self._fused(views, behaviour, self.present[rows]), behaviour

    def nodes(self) -> Nodes:
        """Users ``[U, d]``, items ``[I, d]``, then v and the ids' part of all users, then items, ``[U + I, d]``."""
        fused, behaviour = self._rows(slice(None))
        users, items = (behaviour + fused).split([self.n_users, self.n_items])
        return users, items, fused, behaviour

    def score_parts(self, users: Tensor, items: Tensor) -> dict[str, dict[str, Tensor]]:
        """By the item's own vector and by what its modalities are fused to."""
        all_users, _, fused, behaviour = self.all_nodes()
        parts = {"id": behaviour, "modalities": fused}
        user_emb, rows = all_users[users], self.n_users + items
        return {"item": {name: (user_emb * part[rows]).sum(dim=1) for name, part in parts.items()}}

    def calculate_loss(self, interaction: Interaction) -> Terms:
        """BPR, λ_C NCE and λ_E L2."""
        users, items, negatives = self.triplet(interaction)
        named = torch.cat([users, self.n_users + items, self.n_users + negatives.flatten()])
        # no row of another user or item is fused
        rows, place = named.unique(return_inverse=True)
        fused, behaviour = self._rows(rows)
        scored = behaviour + fused
        of_users, of_items, of_negatives = place.split([len(users), len(items), negatives.numel()])
        of_negatives = of_negatives.view_as(negatives)
        user_emb, item_emb = scored[of_users], scored[of_items]

        def contrast() -> Tensor:
            sides = (of_users, of_items)
            pairs = [in_batch_info_nce(fused[at], behaviour[at], at, self.temperature) for at in sides]
            return torch.stack(pairs).sum()

        return Terms(
            bpr=bpr(*scores_of_rows(user_emb, scored, of_items, of_negatives)),
            contrast=weighted(self.cl_weight, contrast),
            reg=weighted(self.reg_weight, lambda: half_squares(user_emb, item_emb, scored[of_negatives])),
        )
