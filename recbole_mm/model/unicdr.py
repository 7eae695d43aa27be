r"""UniCDR (Cao et al., "Towards Universal Cross-Domain Recommendation", WSDM 2023).

A user has a vector of its own in each domain and a shared one, each an id and an aggregate of items:

.. math::
    z_u^d = \lambda e_u^d + (1 - \lambda) W_d \overline{q_i}_{i \in d} \qquad
    s_u^d = \lambda e_u + (1 - \lambda) W_s \overline{q_i}_{i \notin d} \qquad \hat x_{ui} = (z_u^d + s_u^d)^\top q_i

Given: both vectors and their sum with equal weight (Eq. 13), the mean as aggregator (of three), masking of interactions
and, in the shared vector, of the whole own domain; cross-entropy, and a contrast in which a bilinear form for each
domain tells a user's pair (z, s) from one with another user's z. Of the public code: a training row's own item is
masked too, the defaults. Inferred: the shared vector reads the other domains alone in scoring as well; with one domain
there is none.

The public code reads at most ten items, drawn anew, and drops out items' vectors too; here it is all items of a user,
and the user's vectors alone. It weighs the positives as much as all negatives, here each pair counts alike. Its batches
are of one domain, and the other user is a random one; here a batch mixes the rows of all domains, and the other user is
that of the row before in the same domain.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.layer.domain import idle_transfer
from recbole_mm.layer.history import Bags
from recbole_mm.layer.loss import Terms, bce
from recbole_mm.layer.projection import xavier_normal
from recbole_mm.layer.scoring import candidate_scores
from recbole_mm.model.base import TwoTowerRecommender


class UniCDR(TwoTowerRecommender):
    """Vectors that belong to a domain, and one that all share, in contrast.

    Keys: ``lambda``, ``mask_ratio``, ``dropout_prob``, ``cl_weight``.
    """

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        width, self.id_share = config["embedding_size"], config["lambda"]
        self.mask_ratio, self.dropout = config["mask_ratio"], nn.Dropout(config["dropout_prob"])
        several = self.n_domains > 1
        self.cl_weight = config["cl_weight"] if several else 0.0
        self.user_id = nn.Embedding(self.n_users * self.n_domains, width)
        self.shared_user_id = nn.Embedding(self.n_users, width) if several else None
        self.item_id = nn.Embedding(self.n_items, width)
        self.own = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(self.n_domains))
        self.shared = nn.Linear(width, width, bias=False) if several else None
        self.critics = nn.ModuleList(
            nn.Bilinear(width, width, 1) for _ in range(self.n_domains) if self.cl_weight
        )
        xavier_normal(self.user_id, self.shared_user_id, self.item_id)
        self.history = self.items_by_domain(dataset)

    def encode_items(self, items: Tensor) -> Tensor:
        """``[n, d]``."""
        return self.item_id(items)

    def user_vectors(self, users: Tensor) -> Tensor:
        """The sum z + s, ``[n, K, d]``."""
        own, shared = self._vectors(users)
        return own if shared is None else own + shared

    def _vectors(self, users: Tensor, masked: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Both z and s of ``users [n]``, ``[n, K, d]``; in training without ``masked [n]``, an item of each."""
        parts = [self._sum(bags, masked) for bags in self.history.gather(users)]
        total, count = (torch.stack(each, dim=1) for each in zip(*parts, strict=True))
        mean = total / count.clamp(min=1)
        told = torch.stack([matrix(mean[:, d]) for d, matrix in enumerate(self.own)], dim=1)
        ids = self.user_id.weight.view(self.n_users, self.n_domains, -1)[users]
        own = self.id_share * ids + (1 - self.id_share) * told
        if self.shared is None:
            return own, None
        others = 1 - torch.eye(self.n_domains, device=total.device)
        mean = torch.einsum("kj,njd->nkd", others, total)
        mean = mean / torch.einsum("kj,njd->nkd", others, count).clamp(min=1)
        ids = self.shared_user_id(users).unsqueeze(1)  # type: ignore[misc]
        return own, self.id_share * ids + (1 - self.id_share) * self.shared(mean)

    def _sum(self, bags: Bags, masked: Tensor | None) -> tuple[Tensor, Tensor]:
        """The sum of each user's items ``[n, d]`` and their number ``[n, 1]``, in training but for those masked."""
        owner = torch.arange(len(bags.size), device=bags.ids.device).repeat_interleave(bags.size)
        kept = torch.ones(len(bags.ids), device=bags.ids.device)
        if masked is not None:
            kept = (torch.rand_like(kept) >= self.mask_ratio).float() * (bags.ids != masked[owner])
        start = bags.size.cumsum(0) - bags.size
        total = F.embedding_bag(bags.ids, self.item_id.weight, start, mode="sum", per_sample_weights=kept)
        return total, kept.new_zeros(len(bags.size), 1).index_add(0, owner, kept.unsqueeze(1))

    def calculate_loss(self, interaction: Interaction) -> Terms:
        """Cross-entropy, and ``cl_weight`` times the contrast where there are several domains."""
        users, items, negatives = self.triplet(interaction)
        both = [each for each in self._vectors(users, items) if each is not None]
        vectors = [self.dropout(self.own_vector(each, items)) for each in both]
        user_emb = torch.stack(vectors).sum(dim=0)
        positive = (user_emb * self.item_id(items)).sum(dim=1)
        loss = bce(positive, candidate_scores(user_emb, self.item_id.weight, negatives))
        if not self.cl_weight:
            return Terms(bce=loss)
        own, shared = vectors
        return Terms(bce=loss, contrast=self.cl_weight * self._contrast(own, shared, self.item_domain[items]))

    def _contrast(self, own: Tensor, shared: Tensor, domain: Tensor) -> Tensor:
        """Mean over the rows of the cross-entropy of their own pair and of one with z of the row before."""
        total = own.new_zeros(())
        for d, critic in enumerate(self.critics):
            z, s = own[domain == d], shared[domain == d]
            total = total + F.softplus(-critic(z, s)).sum()
            if len(z) > 1:
                total = total + F.softplus(critic(z.roll(1, 0), s)).sum()
        return total / len(own)

    def without_effect(self) -> list[str]:
        """Where no user is in several domains."""
        return idle_transfer("UniCDR", self.history.count.t() > 0)
