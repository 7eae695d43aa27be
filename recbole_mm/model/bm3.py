r"""BM3: bootstrapped vectors of users, items and modalities, learned without negatives.

"Bootstrap Latent Representations for Multi-modal Recommendation", Zhou, Zhou, Liu, Zeng, Miao, Wang, You, Jiang, WWW
2023, arXiv 2207.05969.

.. math::
    h_i = \bar e_i + e_i \qquad h_u = \bar e_u \qquad h_m = W_m x_m + b_m \\
    \tilde h = W_p h + b_p \qquad \dot h = dropout(h) \qquad C(\tilde h, \dot h) = 1 - \cos(\tilde h, sg(\dot h)) \\
    L = C(\tilde h_u, \dot h_i) + C(\tilde h_i, \dot h_u)
      + \mu \sum_m [C(\tilde h_m, \dot h_i) + C(\tilde h_m, \dot h_m)] + \lambda R \qquad
    \hat x_{ui} = \tilde h_u^\top \tilde h_i

Given (section 3): all of this but μ and R; :math:`\bar e` is LightGCN (mean of the layers) over ids e, sg stops the
gradient, one predictor W_p serves users, items and modalities. Inferred, with the authors' public code: μ = 2, and R
is :math:`(\|H_U\|_F + \|H_I\|_F) / I` over all nodes, not squared. Inferred: the terms of a modality are means over
the rows of the batch whose item has it.

The public code differs in that it trains the features x themselves, and drops the entries of a node once a step; here
each row of the batch drops its own. What is scored has no features: they act through the loss alone, so an item without
interactions is not told from another.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_mm.layer.loss import Terms, weighted
from recbole_mm.model.base import item_features
from recbole_mm.model.graph_recommender import GraphRecommender, Nodes


class BM3(GraphRecommender):
    """LightGCN, a predictor, and what an item's modalities are pulled to: its vector, and themselves under dropout.

    Switches: ``modal_weight: 0`` (μ), ``reg_weight: 0`` (λ).
    """

    multimodal = True
    input_type = InputType.POINTWISE
    triplet_batches = False

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.features = item_features(config, dataset)
        width = config["embedding_size"]
        self.dropout_prob, self.reg_weight = config["dropout_prob"], config["reg_weight"]
        self.modal_weight = config["modal_weight"]
        self.modalities = self.features.names if self.modal_weight else []
        self.ids = self.light_gcn(config, dataset)
        self.predictor = _linear(width, width)
        self.projections = self.features.maps(partial(_linear, out_features=width), self.modalities)

    def nodes(self) -> Nodes:
        """Those of users ``[U, d]`` and items ``[I, d]``."""
        users, items = self.ids()
        return users, items + self.ids.item.weight

    def encode_items(self, items: Tensor) -> Tensor:
        """The predictor's, ``[n, d]``."""
        return self.predictor(super().encode_items(items))

    def user_vectors(self, users: Tensor) -> Tensor:
        """The predictor's, ``[n, 1, d]``."""
        return self.predictor(super().user_vectors(users))

    def _target(self, vectors: Tensor) -> Tensor:
        """The other view, without gradient."""
        return F.dropout(vectors.detach(), self.dropout_prob, self.training)

    def calculate_loss(self, interaction: Interaction) -> Terms:
        """L_rec, μ (L_align + L_mask) and λ R."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        all_users, all_items = self.all_nodes()
        user_emb, item_emb = all_users[users], all_items[items]
        of_item = self._target(item_emb)
        rec = _distance(self.predictor(user_emb), of_item).mean()
        rec = rec + _distance(self.predictor(item_emb), self._target(user_emb)).mean()
        return Terms(
            rec=rec,
            modal=self.modal_weight * self._of_modalities(items, of_item) if self.modalities else None,
            reg=weighted(self.reg_weight, lambda: (all_users.norm() + all_items.norm()) / self.n_items),
        )

    def _of_modalities(self, items: Tensor, of_item: Tensor) -> Tensor:
        present, terms = self.features.mask(items), []
        for k, name in enumerate(self.modalities):
            has = present[:, k]
            modal = self.projections[name](self.features(name, items[has]))
            predicted = self.predictor(modal)
            distances = _distance(predicted, of_item[has]) + _distance(predicted, self._target(modal))
            terms.append(distances.sum() / has.sum().clamp(min=1))
        return torch.stack(terms).sum()


def _distance(predicted: Tensor, target: Tensor) -> Tensor:
    """C, ``[n]``."""
    return 1 - F.cosine_similarity(predicted, target, dim=1)


def _linear(in_features: int, out_features: int) -> nn.Linear:
    linear = nn.Linear(in_features, out_features)
    nn.init.xavier_normal_(linear.weight)
    return linear
