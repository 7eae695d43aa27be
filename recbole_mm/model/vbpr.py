r"""VBPR: Visual Bayesian Personalized Ranking (He and McAuley, AAAI 2016, arXiv 1510.01784).

.. math:: \hat x_{ui} = \beta_i + \gamma_u^T\gamma_i + \theta_u^T \sum_m E_m f_i^m + \sum_m \beta_m'^T f_i^m

The paper has one modality, a photograph; several are summed here, an absent one adds nothing (inferred). The
constant and the user's bias cancel in BPR and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.layer.loss import Terms, bpr, half_squares, weighted
from recbole_mm.layer.projection import masked, xavier_normal
from recbole_mm.layer.scoring import scores_of_rows
from recbole_mm.model.base import TwoTowerRecommender, item_features


class VBPR(TwoTowerRecommender):
    """Matrix factorisation with a content term, trained by BPR.

    An item's vector is ``[γ_i ; Σ E_m f_i^m ; β_i + Σ β_m'ᵀ f_i^m]``, a user's ``[γ_u ; θ_u ; 1]``.
    """

    multimodal = True
    scores_from_features = True

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.features = item_features(config, dataset)
        self.modalities = self.features.names
        width = config["embedding_size"]
        self.reg_weight = config["reg_weight"]
        self.user_id = nn.Embedding(self.n_users, width)
        self.item_id = nn.Embedding(self.n_items, width)
        self.item_bias = nn.Embedding(self.n_items, 1)
        self.user_taste = nn.Embedding(self.n_users, width) if self.modalities else None
        # one matrix [E_m ; β_m'] a modality
        self.content = self.features.maps(partial(nn.Linear, out_features=width + 1, bias=False))
        xavier_normal(self.user_id, self.item_id, self.user_taste, self.content)
        nn.init.zeros_(self.item_bias.weight)

    def encode_items(self, items: Tensor) -> Tensor:
        """``[n, 2d + 1]`` (``[n, d + 1]`` without modalities)."""
        bias = self.item_bias(items)
        if not self.modalities:
            return torch.cat([self.item_id(items), bias], dim=1)
        contents = [self.features(name, items) for name in self.modalities]
        content = torch.stack(self._project(contents, self.features.mask(items))).sum(dim=0)
        return torch.cat([self.item_id(items), content[:, :-1], bias + content[:, -1:]], dim=1)

    def _project(self, contents: Sequence[Tensor], present: Tensor) -> list[Tensor]:
        """``[E_m f^m ; β_m'ᵀ f^m]``, ``[n, d + 1]`` of each modality."""
        return [
            masked(self.content[name](x), present[:, k])
            for k, (name, x) in enumerate(zip(self.modalities, contents, strict=True))
        ]

    def encode_content(self, contents: Sequence[Tensor], present: Tensor) -> Tensor | None:
        """``[n, 2d + 1]``, γ and β of no item; None without modalities."""
        if not self.modalities:
            return None
        content = torch.stack(self._project(contents, present)).sum(dim=0)
        return torch.cat([torch.zeros_like(content[:, :-1]), content], dim=1)

    def score_parts(self, users: Tensor, items: Tensor) -> dict[str, dict[str, Tensor]]:
        """By what describes the item: bias, id, modalities."""
        parts = {
            "bias": self.item_bias(items).squeeze(1),
            "id": (self.user_id(users) * self.item_id(items)).sum(dim=1),
        }
        if self.user_taste is not None:
            contents = [self.features(name, items) for name in self.modalities]
            projected = self._project(contents, self.features.mask(items))
            taste = torch.cat([self.user_taste(users), torch.ones(len(users), 1, device=users.device)], dim=1)
            parts |= {m: (taste * x).sum(dim=1) for m, x in zip(self.modalities, projected, strict=True)}
        return {"item": parts}

    def user_vectors(self, users: Tensor) -> Tensor:
        """``[n, 1, 2d + 1]``: one vector for all domains."""
        parts = [self.user_id(users)]
        if self.user_taste is not None:
            parts.append(self.user_taste(users))
        parts.append(torch.ones(len(users), 1, device=users.device))
        return torch.cat(parts, dim=1).unsqueeze(1)

    def calculate_loss(self, interaction: Interaction) -> Terms:
        """BPR plus L2 on the vectors of the batch, ``reg_weight`` · ½‖·‖² per positive."""
        users, items, negatives = self.triplet(interaction)
        distinct, (pos, neg) = self.distinct_items(items, negatives)
        item_emb = self.encode_items(distinct)
        user_emb = self.user_vectors(users)[:, 0]
        free = [self.user_id(users), self.item_id(items), self.item_id(negatives)]
        if self.user_taste is not None:
            free.append(self.user_taste(users))
        return Terms(
            bpr=bpr(*scores_of_rows(user_emb, item_emb, pos, neg)),
            reg=weighted(self.reg_weight, lambda: half_squares(*free)),
        )
