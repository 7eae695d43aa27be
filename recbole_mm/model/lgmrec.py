r"""LGMRec: ids and modalities over the user-item graph, and hyperedges of content that reach over all of it.

"LGMRec: Local and Global Graph Learning for Multimodal Recommendation", Guo, Li, Li, Wang, Shi, Ruan, AAAI 2024, arXiv
2312.16400.

.. math::
    e^{local} = \bar e + \sum_m \frac{z^m}{\|z^m\|} \qquad z^m = \hat A^{L_m} [\bar x_u^m W_m ; x_i^m W_m] \\
    H_i^m = softmax((x_i^m V_m + g) / \tau) \qquad H_u^m = softmax((\textstyle\sum_{i \in N_u} x_i^m V_m + g) / \tau) \\
    G_i^m = (H_i^m H_i^{m\top})^{n} \bar E_i \qquad G_u^m = H_u^m H_i^{m\top} (H_i^m H_i^{m\top})^{n-1} \bar E_i \\
    e = e^{local} + \alpha \frac{\sum_m G^m}{\|\sum_m G^m\|} \qquad \hat x_{ui} = e_u^\top e_i \\
    L = L_{BPR} + \lambda_1 \sum_{m \ne m'} [NCE(G_u^m, G_u^{m'}) + NCE(G_i^m, G_i^{m'})] + \lambda_2 L_2

Given (section 3): all of this; :math:`\bar e` is LightGCN (mean of the layers) over ids, :math:`\bar x_u` the mean of
a user's items, W_m and V_m are linear maps of the features, H has dropout, NCE is the sum over the batch of softmax
losses of cosines at τ among all users or all items. Inferred, with the authors' public code: g is Gumbel noise, z^m
the last layer. Inferred: of more than two modalities each pair is contrasted; an item without a modality, and a user
whose items all lack it, are in none of its hyperedges and none of its contrast, and z^m starts at 0 there; means run
over what there is.

The public code differs in that it draws g in evaluation too (here there is none) and that its L2 is the norms of the
scored vectors of the batch, not squared, over its rows; here ½‖·‖² per positive, at a weight of 1e-6 either way.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.layer.graph import last_layer
from recbole_mm.layer.hypergraph import Membership, through_hyperedges
from recbole_mm.layer.loss import Terms, bpr, half_squares, weighted
from recbole_mm.layer.scoring import scores_of_rows
from recbole_mm.layer.softmax import blockwise_softmax, scores_in
from recbole_mm.model.base import item_features
from recbole_mm.model.graph_recommender import GraphRecommender, Nodes


class LGMRec(GraphRecommender):
    """A graph of users and items over ids and modalities, and hyperedges that content draws over all of them.

    Its nodes are the scored users and items, then the global vectors of both by each modality.
    Switches: ``alpha: 0`` (nothing global), ``cl_weight: 0`` (λ_1), ``reg_weight: 0`` (λ_2).
    """

    multimodal = True
    one_process = True
    scores_from_features = True
    present: Tensor
    counts: Tensor

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.features = item_features(config, dataset)
        names, width = self.features.names, config["embedding_size"]
        self.alpha, self.temperature, self.reg_weight = (
            config[k] for k in ("alpha", "temperature", "reg_weight")
        )
        self.n_modal_layers, self.hyper_layers = config["n_modal_layers"], config["hyper_layers"]
        self.membership = Membership(self.temperature, config["dropout_prob"])
        self._has_global = self.alpha > 0 and self.hyper_layers > 0 and bool(names)
        self.cl_weight = config["cl_weight"] if self._has_global and len(names) > 1 else 0
        self.block = scores_in(config["softmax_memory_mib"])
        self.ids = self.light_gcn(config, dataset)
        self.user_graph = self.ids.user_graph(0)
        counts = self.user_graph(self.features.present.float())
        self.register_buffer("counts", counts, persistent=False)
        self.register_buffer("present", torch.cat([counts > 0, self.features.present]), persistent=False)
        self.local = self._maps(width)
        self.hyper = self._maps(config["n_hyperedges"]) if self._has_global else nn.ModuleList()
        self.features.read_by(self.local, self.hyper)

    def _maps(self, width: int) -> nn.ModuleList:
        """W or V, by modality."""
        maps = [nn.Linear(self.features.widths[m], width, bias=False) for m in self.features.names]
        for each in maps:
            nn.init.xavier_uniform_(each.weight)
        return nn.ModuleList(maps)

    def _mapped(self, k: int, *maps: nn.Module) -> list[Tensor]:
        """Products of one modality's features with ``maps``, ``[I, ·]``, zeros where there are none."""
        held, vectors = self.features.held(self.features.names[k])
        found = [each(vectors) for each in maps]
        return [x.new_zeros(self.n_items, x.shape[1]).index_copy(0, held, x) for x in found]

    def _globally(self, k: int, logits: Tensor, items: Tensor) -> Tensor:
        """G of users, then items, ``[U + I, d]``, from the items' ``logits [I, K]`` and vectors by id ``[I, d]``."""
        of_users, of_items = self.present[:, k].split([self.n_users, self.n_items])
        item_shares = self.membership(logits, of_items)
        user_shares = self.membership(self.user_graph(logits), of_users)
        return torch.cat(through_hyperedges(user_shares, item_shares, items, self.hyper_layers))

    def nodes(self) -> Nodes:
        """Users ``[U, d]``, items ``[I, d]``, then of each modality G ``[U + I, d]``."""
        by_id = torch.cat(self.ids())
        local, found = by_id, []
        for k in range(len(self.features.names)):
            mapped, *logits = self._mapped(k, self.local[k], *([self.hyper[k]] if self._has_global else []))
            start = self.user_graph(mapped) / self.counts[:, k : k + 1].clamp(min=1)
            modal = last_layer(self.ids.graph, torch.cat([start, mapped]), self.n_modal_layers)
            local = local + F.normalize(modal, dim=1)
            found += [self._globally(k, each, by_id[self.n_users :]) for each in logits]
        whole = local + self.alpha * F.normalize(torch.stack(found).sum(dim=0), dim=1) if found else local
        users, items = whole.split([self.n_users, self.n_items])
        return users, items, *found

    def calculate_loss(self, interaction: Interaction) -> Terms:
        """BPR, λ_1 NCE and λ_2 L2."""
        users, items, negatives = self.triplet(interaction)
        all_users, all_items, *found = self.all_nodes()
        user_emb, item_emb = all_users[users], all_items[items]
        return Terms(
            bpr=bpr(*scores_of_rows(user_emb, all_items, items, negatives)),
            contrast=weighted(self.cl_weight, lambda: self._contrast(found, users, items)),
            reg=weighted(self.reg_weight, lambda: half_squares(user_emb, item_emb, all_items[negatives])),
        )

    def _contrast(self, found: list[Tensor], users: Tensor, items: Tensor) -> Tensor:
        total = found[0].new_zeros(())
        sizes = [self.n_users, self.n_items]
        for a, b in combinations(range(len(found)), 2):
            both = (self.present[:, a] & self.present[:, b]).split(sizes)
            sides = zip((users, items), found[a].split(sizes), found[b].split(sizes), both, strict=True)
            for rows, left, right, has in sides:
                known = rows[has[rows]]
                if len(known):
                    unit = F.normalize(left[known], dim=1), F.normalize(right, dim=1)
                    mean = blockwise_softmax(*unit, known, self.block, self.temperature, excluded=~has)
                    total = total + mean * len(known)
        return total
