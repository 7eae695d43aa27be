r"""SLMRec: "Self-Supervised Learning for Multimedia Recommendation", Tao et al., IEEE TMM 2022.

.. math::
    z_a = W\,[\,g(e)_a ; g(f^1)_a ; \ldots ; g(f^M)_a\,] + b \qquad
    L = \mathrm{NCE}_\tau(z_u, z_i) + \lambda L_{ssl}

with g LightGCN's mean of the layers over users and items, whose items start from the ids e, or from the features of a
modality :math:`f^m = W_m \bar f + b_m`, and whose users start from the same ids in each; NCE is a user's item against
the other items of the batch, by cosine over τ. The views of :math:`L_{ssl}`, contrasted likewise at a temperature and
by a similarity of their own, are one of

- ``fac``, fine and coarse: :math:`x_m = A_m x_{m-1}`, from :math:`x_0 = g(e)_i`, against :math:`B_m\, g(f^m)_i`;
- ``fd``, feature dropout: z of two passes with dropout after each layer;
- ``fm``, feature masking: z of two passes, each without the items' start of one of ids and modalities, drawn.

Given: that. Inferred, with the public code: features have unit length; the score is the product of the z, and the
similarity of the views a product, no cosine. In MMRec's form of it only ``fac`` runs, its last maps are half as wide
and x is mapped once more before. Inferred: an absent modality starts from nothing, and an item without it is in no
contrast of it; the same item, or user, twice in a batch is no negative of itself.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_mm.layer.loss import Terms, in_batch_info_nce
from recbole_mm.layer.projection import masked
from recbole_mm.model.base import check_choices, item_features
from recbole_mm.model.graph_recommender import GraphRecommender, Nodes


class SLMRec(GraphRecommender):
    """Ids and modalities each over the graph, fused; trained by contrasts. Switches: ``ssl_task``, ``cl_weight``."""

    multimodal = True
    one_process = True
    scores_from_features = True
    input_type = InputType.POINTWISE
    triplet_batches = False

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        check_choices(config, "ssl_task", "ssl_similarity")
        self.features = item_features(config, dataset)
        self.modalities, self.width = self.features.names, config["embedding_size"]
        self.task, self.cl_weight, self.temperature, self.ssl_temp, self.dropout_prob = (
            config[key] for key in ("ssl_task", "cl_weight", "temperature", "ssl_temp", "dropout_prob")
        )
        self.cosine = config["ssl_similarity"] == "cosine"
        self._has_contrast = self.cl_weight > 0 and (bool(self.modalities) or self.task == "fd")
        self.ids = self.light_gcn(config, dataset)
        width, wide = self.width, self.width * (1 + len(self.modalities))
        self.projections = self.features.maps(partial(nn.Linear, out_features=width))
        self.user_fusion, self.item_fusion = nn.Linear(wide, width), nn.Linear(wide, width)
        spaces = len(self.modalities) if self._has_contrast and self.task == "fac" else 0
        # A_m and B_m
        self.coarse, self.fine = (
            nn.ModuleList(nn.Linear(width, width) for _ in range(spaces)) for _ in ("A", "B")
        )

    def _starts(self) -> Tensor:
        """Layer 0 of ids and modalities side by side, ``[U + I, (M + 1) d]``."""
        items = [self.ids.item.weight]
        for k, name in enumerate(self.modalities):
            projected = self.projections[name](F.normalize(self.features(name), dim=1))
            items.append(masked(projected, self.features.present[:, k]))
        return torch.cat([self.ids.user.weight.repeat(1, len(items)), torch.cat(items, dim=1)])

    def _fused(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        return self.user_fusion(users), self.item_fusion(items)

    def nodes(self) -> Nodes:
        """Users ``[U, d]``, items ``[I, d]``, and items before the fusion ``[I, (M + 1) d]``."""
        users, items = self.ids(vectors=self._starts())
        return (*self._fused(users, items), items)

    def _dropped(self) -> tuple[Tensor, Tensor]:
        """Users and items ``[U, d]``, ``[I, d]`` of a pass with dropout after each layer."""
        total = layer = self._starts()
        for _ in range(self.ids.n_layers):
            layer = F.dropout(self.ids.graph(layer), self.dropout_prob, self.training)
            total = total + layer
        return self._fused(*(total / (self.ids.n_layers + 1)).split([self.n_users, self.n_items]))

    def _without(self, block: int) -> tuple[Tensor, Tensor]:
        """Users and items of a pass without the items' start in one ``block``, 0 that of ids."""
        users, items = self._starts().split([self.n_users, self.n_items])
        blocks = list(items.split(self.width, dim=1))
        blocks[block] = torch.zeros_like(blocks[block])
        return self._fused(*self.ids(vectors=torch.cat([users, torch.cat(blocks, dim=1)])))

    def _contrast(self, users: Tensor, items: Tensor, item_views: Tensor) -> Tensor:
        """L_ssl over the distinct ``users [n]`` and ``items [m]``; ``item_views [I, (M + 1) d]``."""
        if self.task == "fac":
            coarse, *fine = item_views[items].split(self.width, dim=1)
            total, present = coarse.new_zeros(()), self.features.mask(items)
            for k, view in enumerate(fine):
                coarse, there = self.coarse[k](coarse), present[:, k]
                pair = coarse[there], self.fine[k](view[there])
                if len(pair[0]):
                    total = total + in_batch_info_nce(*pair, items[there], self.ssl_temp, self.cosine)
            return total
        if self.task == "fd":
            left, right = self._dropped(), self._dropped()
        else:
            first, second = torch.randperm(len(self.modalities) + 1)[:2].tolist()
            left, right = self._without(first), self._without(second)
        pairs = zip((users, items), left, right, strict=True)
        return torch.stack(
            [in_batch_info_nce(a[ids], b[ids], ids, self.ssl_temp, self.cosine) for ids, a, b in pairs]
        ).sum()

    def calculate_loss(self, interaction: Interaction) -> Terms:
        """NCE and λ L_ssl."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        all_users, all_items, item_views = self.all_nodes()
        ssl = self._contrast(users.unique(), items.unique(), item_views) if self._has_contrast else None
        return Terms(
            nce=in_batch_info_nce(all_users[users], all_items[items], items, self.temperature),
            ssl=None if ssl is None else self.cl_weight * ssl,
        )

    def without_effect(self) -> list[str]:
        """``ssl_task`` without modalities."""
        if not self.cl_weight or self._has_contrast:
            return []
        return [f"SLMRec: ssl_task: {self.task} needs a modality, so cl_weight has no effect"]
