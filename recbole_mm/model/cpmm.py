r"""CPMM: pre-trains vectors of items from their content and from who meets whom, to be plugged into other models.

"One multimodal plugin enhancing all: CLIP-based pre-training framework …", Neurocomputing 637 (2025) 130059.

.. math::
    z = normalise(P_2(P_1(\hat x)) + P_3(x)) \qquad \hat x = normalise(x + \sigma\varepsilon) \\
    L = \lambda_1 \tfrac12 [CE(100 Z_V Z_T^\top) + CE(100 Z_T Z_V^\top)]
      + \lambda_2 \tfrac12 [\overline{\|Z_T - Z_D\|} + \overline{\|Z_V - Z_D\|}]
      + \lambda_3 BCE(100 Z_D Z_D^\top, A + I)

Read from the authors' code: all of this, the noise in training alone, blocks shared by V and T and three more for the
"ID" input v + t, A = items met by a user in common in training, and the hand-over of D + V + T. There the loss runs
over single items; here over the batch. Inferred: items without a modality are left out of its terms (there: noise);
with other than two modalities the means run over them, with one the first term does not apply; where their widths
differ from ``input_size``, which CLIP's do not, a linear map to it comes first; ``id_source: table`` (in the abstract);
``first_order_bias`` (SigLIP, arXiv 2303.15343: with 1 % positives a plain scale of 100 starts badly); training on the
items of training rows alone, since others would learn to be unlike all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_mm.errors import WrongUse
from recbole_mm.layer.gather import gather_distinct
from recbole_mm.layer.graph import incidence
from recbole_mm.layer.history import Taken, UserHistory
from recbole_mm.layer.loss import Terms, first_order_similarity, paired_distance, pairwise_info_nce, weighted
from recbole_mm.layer.projection import SkipTower
from recbole_mm.model.base import TwoTowerRecommender, check_choices, item_features

#: names of the parts in the publication; other modalities keep theirs
PARTS = {"image": "v", "text": "t"}
ID = "d"


class CPMM(TwoTowerRecommender):
    """A pre-training: an item's modalities and its id in contrast, and items that users took together near each other.

    Trains on batches of items; as a recommender it ranks by the mean of a user's training items, which is the probe.

    Switches: ``lambda1``, ``lambda2``, ``lambda3``, ``noise_std``, ``skip``, ``id_source: clip_sum | table``,
    ``edge_min_count``, ``first_order_bias``.
    """

    multimodal = True
    scores_from_features = True
    triplet_batches = False
    item_batches = True

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        check_choices(config, "id_source")
        self.features = item_features(config, dataset)
        if not self.features.names:
            raise WrongUse(f"CPMM: no vectors of the items of {config['dataset']}, and it learns from them")
        size, width = config["input_size"], config["embedding_size"]
        self.noise_std, self.scale = config["noise_std"], config["logit_scale"]
        self.weights = {
            "modality_contrast": config["lambda1"] if len(self.features.names) > 1 else 0,
            "consistency": config["lambda2"],
            "first_order": config["lambda3"],
        }
        if not any(self.weights.values()):
            raise WrongUse("CPMM: no term of the loss is left; see lambda1, lambda2 and lambda3")
        self._lost_contrast = config["lambda1"] and len(self.features.names) == 1
        # one that has the right width as it is goes through no map
        self.adapters = nn.ModuleDict(
            {m: nn.Linear(w, size, bias=False) for m, w in self.features.widths.items() if w != size}
        )
        self.content = SkipTower(size, width, config["skip"])
        self.id_tower = SkipTower(size, width, config["skip"])
        self.item_id = nn.Embedding(self.n_items, size) if config["id_source"] == "table" else None
        if self.item_id is not None:
            nn.init.normal_(self.item_id.weight, std=size**-0.5)
        self.features.read_by(self.adapters, self.content)
        self.first_order_scale = self.first_order_offset = None
        if config["first_order_bias"] and config["lambda3"]:
            self.first_order_scale = nn.Parameter(torch.tensor(math.log(10.0)))
            self.first_order_offset = nn.Parameter(torch.tensor(-10.0))
        users, items = self.training_pairs(dataset)
        self._met, self._least_common = incidence(items, users, self.n_items), config["edge_min_count"]
        self.history = UserHistory(self.n_users, [Taken("items", users, items)])

    def _noised(self, inputs: Tensor) -> Tensor:
        """x̂; without noise in evaluation."""
        noise = self.noise_std if self.training else 0.0
        return F.normalize(inputs + noise * torch.randn_like(inputs) if noise else inputs, dim=-1)

    def _encode(self, items: Tensor) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """Z of ``items [n]``.

        Returns:
            per modality ``[n, d]`` and which exist, ``[n, M]``; the id's ``[n, d]`` and which exist, ``[n]``. What does
            not exist is 0.
        """
        present = self.features.mask(items)
        rows = [column.nonzero().squeeze(1) for column in present.t()]
        inputs = [
            self._inputs(name, items[part]) for name, part in zip(self.features.names, rows, strict=True)
        ]
        if self.item_id is None:
            exists = present.any(dim=1)
            total: Any = sum(_spread(x, part, len(items)) for x, part in zip(inputs, rows, strict=True))
        else:
            exists, total = torch.ones_like(present[:, 0]), self.item_id(items)
        rows.append(exists.nonzero().squeeze(1))
        # all through the noise at once, and the modalities through their tower: calls cost more than what they do
        sizes = [len(part) for part in rows]
        clean = torch.cat([*inputs, _rows(total, exists)])
        noised, split = self._noised(clean), [sum(sizes[:-1]), sizes[-1]]
        (modal_noised, id_noised), (modal_clean, id_clean) = noised.split(split), clean.split(split)
        modal = _through(self.content, modal_noised, modal_clean, sizes[:-1])
        found = [*modal, *_through(self.id_tower, id_noised, id_clean, sizes[-1:])]
        *modal_emb, id_emb = (_spread(z, part, len(items)) for z, part in zip(found, rows, strict=True))
        return modal_emb, present, id_emb, exists

    def _inputs(self, name: str, items: Tensor) -> Tensor:
        """A modality's vectors ``[n, D]`` as the towers read them."""
        inputs = self.features(name, items)
        return F.normalize(self.adapters[name](inputs), dim=-1) if name in self.adapters else inputs

    def calculate_loss(self, interaction: Interaction) -> Terms:
        """The three terms, weighted, those that apply."""
        items = interaction[self.ITEM_ID]
        modal, present, id_emb, exists = self._encode(items)
        # all of it compares items with each other: of several workers, those of all
        items, present, id_emb, exists, *modal = gather_distinct(
            items, items, present, id_emb, exists, *modal
        )
        compute = {
            "modality_contrast": lambda: pairwise_info_nce(modal, present, 1 / self.scale),
            "consistency": lambda: torch.stack(
                [
                    paired_distance(_rows(z, has), _rows(id_emb, has))
                    for z, has in zip(modal, present.t(), strict=True)
                ]
            ).mean(),
            "first_order": lambda: self._first_order(_rows(id_emb, exists), _rows(items, exists)),
        }
        return Terms(**{name: weighted(weight, compute[name]) for name, weight in self.weights.items()})

    def _first_order(self, id_emb: Tensor, items: Tensor) -> Tensor:
        met = self._met[items.cpu().numpy()]
        common = torch.from_numpy((met @ met.T).toarray()).to(id_emb)
        linked = (common >= self._least_common).to(id_emb).fill_diagonal_(1.0)
        if self.first_order_scale is None or self.first_order_offset is None:
            return first_order_similarity(id_emb, linked, self.scale)
        return first_order_similarity(id_emb, linked, self.first_order_scale.exp(), self.first_order_offset)

    def encode_items(self, items: Tensor) -> Tensor:
        """D + V + T at unit length, ``[n, d]``."""
        modal, _, id_emb, _ = self._encode(items)
        return F.normalize(torch.stack([*modal, id_emb]).sum(dim=0), dim=-1)

    def user_vectors(self, users: Tensor) -> Tensor:
        """The mean of the user's training items, ``[n, 1, d]``."""
        (taken,) = self.history.gather(users)
        return taken.mean(self.item_vectors(), taken.ids).unsqueeze(1)

    def pretrained(self) -> dict[str, dict[str, tuple[Tensor, Tensor]]]:
        """D, V and T of all items, without noise."""
        every = torch.arange(self.n_items, device=self.item_domain.device)
        modal, present, id_emb, exists = self._encode(every)
        parts = {PARTS.get(m, m): (modal[k], present[:, k]) for k, m in enumerate(self.features.names)}
        return {"items": {ID: (id_emb, exists), **parts}}

    def without_effect(self) -> list[str]:
        """With one modality there is nothing to contrast it with."""
        only = (
            f"CPMM: with {self.features.names[0]} alone lambda1 (the contrast of modalities) does not apply"
        )
        return [only] if self._lost_contrast else []


def _rows(values: Tensor, kept: Tensor) -> Tensor:
    """The rows of ``values [n, ...]`` that are ``kept [n]``; most often all of them."""
    return values if bool(kept.all()) else values[kept]


def _spread(values: Tensor, rows: Tensor, n: int) -> Tensor:
    """``values [m, d]`` at their ``rows [m]`` of ``[n, d]``, which ascend; zeros elsewhere."""
    return values if len(rows) == n else values.new_zeros(n, values.shape[1]).index_copy(0, rows, values)


def _through(tower: SkipTower, noised: Tensor, clean: Tensor, sizes: list[int]) -> Sequence[Tensor]:
    """Through the tower, ``sizes`` rows of each kind: a batch's figures count what exists of a kind alone."""
    groups = [size for size in sizes if size]
    if not groups:
        return [clean.new_zeros(0, tower.out_features) for _ in sizes]
    return tower(noised, clean, groups).split(sizes)
