r"""CMC: cross-modal contrastive, cross-domain recommendation.

"Personalized Multimodal Recommendations Framework Using Contrastive Learning", A. Liang.

.. math::
    E_i = \sum_m f_m(X_i^m) + e_i \qquad E_u^d = \sum_m f_m(X_u^{m,d}) + e_u^d \\
    \tilde E_u^d = \lambda E_u^d + (1-\lambda)\,\overline{E_u^{d'}} \qquad \mathcal L = \alpha L + \beta L_{domain}

Given: the sum over modalities with the encoders f shared by users and items, L (InfoNCE over cosine similarity and
random negatives), L_domain (distance of a user's vectors in two domains), the total. Inferred: the layers of f, the
id terms e, X_u as the mean of the user's training items, λ (from BiTGCF), the score cos(Ẽ_u^{dom(i)}, E_i), and all of
it for more than two domains or absent ones (each user is present in a domain with a training row there).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.errors import WrongUse
from recbole_mm.layer.domain import DOMAIN_LOSSES, cross_domain_mix
from recbole_mm.layer.fusion import GateFusion, SumFusion, WeightFusion
from recbole_mm.layer.loss import bpr, info_nce, symmetric_info_nce
from recbole_mm.layer.profile import mean_features
from recbole_mm.layer.projection import Projector
from recbole_mm.layer.scoring import candidate_scores
from recbole_mm.model.base import MultimodalRecommender


class CMC(MultimodalRecommender):
    """Users and items in one space, by their content and an id, pulled together by contrast.

    Switches: ``contrastive: False`` (BPR on the same triples), ``fusion: sum | gate | weight | none`` (none = ids
    only), ``use_id``, ``cross_domain_fusion``, ``domain_loss: mse | mse_norm | infonce``, ``modal_align_weight``.
    """

    seen: Tensor

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        width = config["embedding_size"]
        self.temperature = config["temperature"]
        self.alpha, self.beta = config["alpha"], config["beta"]
        self.mix = config["lambda"] if config["cross_domain_fusion"] else 1.0
        self.cross_domain_fusion = config["cross_domain_fusion"] and self.n_domains > 1
        self.contrastive = config["contrastive"]
        self.modal_align_weight = config["modal_align_weight"]
        if config["domain_loss"] not in DOMAIN_LOSSES:
            raise WrongUse(
                f"domain_loss: expected one of {list(DOMAIN_LOSSES)}, got {config['domain_loss']!r}"
            )
        self.domain_loss = DOMAIN_LOSSES[config["domain_loss"]]
        if config["fusion"] == "none":
            self.modalities = []

        self.encoders = nn.ModuleDict({m: Projector(self.features.widths[m], width) for m in self.modalities})
        self.fusion = self._build_fusion(config["fusion"], width)
        if not (self.modalities or config["use_id"]):
            raise WrongUse("CMC: use_id is False and there is no modality, so nothing is left to learn from")
        self.item_id = nn.Embedding(self.n_items, width) if config["use_id"] else None
        # row u * K + d is e_u^d
        self.user_id = nn.Embedding(self.n_users * self.n_domains, width) if config["use_id"] else None
        for table in (self.item_id, self.user_id):
            if table is not None:
                nn.init.normal_(table.weight, std=config["id_std"])
        self._describe_users(dataset)

    def _build_fusion(self, name: str, width: int) -> nn.Module:
        builders = {
            "sum": SumFusion,
            "none": SumFusion,
            "gate": lambda: GateFusion(width),
            "weight": lambda: WeightFusion(len(self.modalities)),
        }
        if name not in builders:
            raise WrongUse(f"fusion: expected one of {list(builders)}, got {name!r}")
        return builders[name]() if self.modalities else SumFusion()

    def _describe_users(self, dataset: Any) -> None:
        """X_u^{m,d} and presence, from training rows alone, as buffers."""
        users, items = (dataset.inter_feat[f].numpy() for f in (self.USER_ID, self.ITEM_ID))
        domain = self.item_domain.numpy()[items]
        seen = np.zeros((self.n_users, self.n_domains), dtype=bool)
        seen[users, domain] = True
        self.register_buffer("seen", torch.from_numpy(seen), persistent=False)
        sources = {m: dataset.modality[m] for m in self.modalities}
        columns = [self.features.names.index(m) for m in self.modalities]
        present = self.features.present.numpy()[:, columns]
        for d in range(self.n_domains if sources else 0):
            rows = domain == d
            means, has = mean_features(users[rows], items[rows], self.n_users, sources, present)
            self.register_buffer(f"user_present_{d}", torch.from_numpy(has), persistent=False)
            for m, values in means.items():
                self.register_buffer(f"user_{m}_{d}", torch.from_numpy(values), persistent=False)

    def _encode(self, vectors: list[Tensor], present: Tensor, id_emb: Tensor | None) -> Tensor:
        if id_emb is None:
            id_emb = self.features.present.new_zeros((), dtype=torch.float)
        if not vectors:
            return id_emb
        modal = torch.stack(
            [self.encoders[m](x) for m, x in zip(self.modalities, vectors, strict=True)], dim=1
        )
        return self.fusion(modal, present, id_emb)

    def _item_vectors(self, items: Tensor) -> tuple[list[Tensor], Tensor]:
        columns = [self.features.names.index(m) for m in self.modalities]
        return [self.features(m, items) for m in self.modalities], self.features.mask(items)[:, columns]

    def encode_items(self, items: Tensor) -> Tensor:
        """Unit vectors E_i / ‖E_i‖, ``[n, d]``."""
        id_emb = None if self.item_id is None else self.item_id(items)
        return F.normalize(self._encode(*self._item_vectors(items), id_emb), dim=-1)

    def _encode_users(self, users: Tensor) -> Tensor:
        """E_u^d, ``[n, K, d]``, before the domains are mixed."""
        per_domain = []
        for d in range(self.n_domains):
            id_emb = None if self.user_id is None else self.user_id(users * self.n_domains + d)
            vectors = [getattr(self, f"user_{m}_{d}")[users] for m in self.modalities]
            present = getattr(self, f"user_present_{d}")[users] if vectors else users
            per_domain.append(self._encode(vectors, present, id_emb))
        return torch.stack(per_domain, dim=1)

    def _mix(self, raw: Tensor, seen: Tensor) -> Tensor:
        mixed = cross_domain_mix(raw, seen, self.mix) if self.cross_domain_fusion else raw
        return F.normalize(mixed, dim=-1)

    def user_vectors(self, users: Tensor) -> Tensor:
        """Unit vectors Ẽ_u^d, ``[n, K, d]``."""
        return self._mix(self._encode_users(users), self.seen[users])

    @property
    def loss_terms(self) -> tuple[str, ...]:
        """Names of what :meth:`calculate_loss` returns."""
        terms = ["contrastive" if self.contrastive else "bpr"]
        terms += ["domain"] if self._has_domain_loss else []
        terms += ["modal_align"] if self._has_modal_align else []
        return tuple(terms)

    @property
    def _has_domain_loss(self) -> bool:
        return self.beta > 0 and self.n_domains > 1

    @property
    def _has_modal_align(self) -> bool:
        return self.modal_align_weight > 0 and len(self.modalities) > 1

    def calculate_loss(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """(α L, β L_domain, w L_align), the last two where they apply."""
        users, items, negatives = (interaction[f] for f in (self.USER_ID, self.ITEM_ID, self.NEG_ITEM_ID))
        distinct, place = torch.unique(users, return_inverse=True)
        raw, seen = self._encode_users(distinct), self.seen[distinct]
        user_emb = self.own_vector(self._mix(raw, seen)[place], items)
        item_emb, (pos, neg) = self.batch_items(items, negatives)
        positive = (user_emb * item_emb[pos]).sum(dim=1)
        negative = candidate_scores(user_emb, item_emb, neg)
        if self.contrastive:
            ranking = info_nce(positive, negative, self.temperature)
        else:
            ranking = bpr(positive / self.temperature, negative / self.temperature)
        losses = [self.alpha * ranking]
        if self._has_domain_loss:
            losses.append(self.beta * self.domain_loss(raw, seen, self.temperature))
        if self._has_modal_align:
            losses.append(self.modal_align_weight * self._modal_alignment(torch.unique(items)))
        return tuple(losses)

    def _modal_alignment(self, items: Tensor) -> Tensor:
        """Symmetric InfoNCE between every two modalities of the batch's distinct items that have both."""
        vectors, present = self._item_vectors(items)
        encoded = [self.encoders[m](x) for m, x in zip(self.modalities, vectors, strict=True)]
        pairs = [(a, b) for a in range(len(encoded)) for b in range(a)]
        terms = []
        for a, b in pairs:
            both = present[:, a] & present[:, b]
            terms.append(symmetric_info_nce(encoded[a][both], encoded[b][both], self.temperature))
        return torch.stack(terms).mean()

    @torch.no_grad()
    def diagnostics(self) -> dict[str, float]:
        """Mean cosine between a user's domain vectors and their mean norm (a raw MSE can fall by shrinking norms)."""
        overlap = (self.seen.sum(dim=1) > 1).nonzero().squeeze(1)
        if not self._has_domain_loss or not len(overlap):
            return {}
        raw, seen = self._encode_users(overlap), self.seen[overlap]
        unit = F.normalize(raw, dim=-1)
        pairs = [(a, b) for a in range(self.n_domains) for b in range(a)]
        cosines = [(unit[:, a] * unit[:, b]).sum(-1)[seen[:, a] & seen[:, b]] for a, b in pairs]
        return {
            "domain_cosine": float(torch.cat(cosines).mean()),
            "domain_norm": float(raw.norm(dim=-1)[seen].mean()),
        }

    def feature_modules(self) -> list[nn.Module]:
        """The encoders and the fusion."""
        return [self.encoders, self.fusion]
