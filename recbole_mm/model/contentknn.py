r"""ContentKNN: items like those that a user took, by content, by who took them, or by both.

.. math::
    \hat x_{ui} = \sum_{j \in S_u \cap N_k(i)} s_{ij} \qquad
    s_{ij} = w\, \frac{1}{|M_{ij}|} \sum_{m \in M_{ij}} \cos(f_i^m - \bar f^m, f_j^m - \bar f^m)
    + (1 - w) \frac{|U_i \cap U_j|}{\sqrt{|U_i|\,|U_j|} + h}

:math:`M_{ij}` are the modalities that both items have, :math:`\bar f^m` is the mean over the items that have m, N_k(i)
the k items of the training rows with the largest :math:`s_{ij} > 0`, h ``shrink``. w = 0 is RecBole's ItemKNN (Aiolli
2013; it adds 1e-6 to the denominator), w = 1 knows items that nobody has taken yet. The hybrid among the baselines of
Ferrari Dacrema et al. 2019 (arXiv 1907.06902) joins an item's interactions and features in one vector;
the mixture of two similarities is ours (inferred). Items without a modality in common are as alike as any two: cosines
of centred vectors are about 0 on average.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.utils import InputType, ModelType
from scipy import sparse
from torch import Tensor, nn

from recbole_mm.errors import WrongUse
from recbole_mm.layer.graph import BLOCK_BYTES
from recbole_mm.layer.projection import masked
from recbole_mm.model.base import TripletRecommender, item_features


class ContentKNN(TripletRecommender):
    """The k nearest items by content, or by content and interactions together.

    Keys: ``k``, ``content_weight`` (w: 1 content alone, 0 interactions alone), ``shrink``.
    """

    multimodal = True
    scores_from_features = True
    features_alone: ClassVar[Mapping[str, Any]] = {"content_weight": 1}
    type = ModelType.TRADITIONAL
    input_type = InputType.POINTWISE
    triplet_batches = False

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.features = item_features(config, dataset)
        self.k, self.shrink, self.content_weight = config["k"], config["shrink"], config["content_weight"]
        if not self.features.names and self.content_weight == 1:
            raise WrongUse(
                "ContentKNN: content_weight is 1 and there is no modality, so nothing is left to compare"
            )
        self.interactions = dataset.inter_matrix(form="csr").astype(np.float32).sign()
        self.similarity: Any = None
        self.other_parameter_name = ["similarity"]
        self.dummy_param = nn.Parameter(torch.zeros(1))

    @torch.no_grad()
    def neighbours(self) -> Any:
        """s, scipy CSC ``[I, I]``: column i holds the k items that i is compared with."""
        if self.similarity is None:
            contents = self._contents() if self.content_weight else []
            blocks = torch.arange(self.n_items).split(max(1, BLOCK_BYTES // (16 * self.n_items)))
            columns = [self._nearest(items, contents) for items in blocks]
            self.similarity = sparse.vstack(columns, format="csr").T
        return self.similarity

    def _contents(self) -> list[Tensor]:
        """Centred unit vectors ``[I, D]`` of each modality, zeros for absent items."""
        present, unit = self.features.present, []
        for k, name in enumerate(self.features.names):
            vectors = self.features(name)
            centred = masked(vectors - vectors[present[:, k]].mean(dim=0), present[:, k])
            unit.append(F.normalize(centred, dim=1))
        return unit

    def _nearest(self, items: Tensor, contents: list[Tensor]) -> Any:
        """The nearest of ``items [b]``, CSR ``[b, I]``."""
        own = items.to(self.item_domain.device)
        scores = torch.zeros(len(own), self.n_items, device=own.device)
        for vectors in contents:
            scores.addmm_(vectors[own], vectors.t())
        if contents:
            present = self.features.present.float()
            scores *= self.content_weight / (present[own] @ present.t()).clamp_(min=1)
        if self.content_weight < 1:
            scores += (1 - self.content_weight) * self._together(items).to(own.device)
        scores[:, torch.from_numpy(self._count() == 0).to(own.device)] = 0.0
        scores[torch.arange(len(own)), own] = 0.0
        values, ids = scores.topk(min(self.k, self.n_items), dim=1)
        row = np.repeat(np.arange(len(items)), values.shape[1])
        value = values.clamp_(min=0).flatten().cpu().numpy()
        nearest = sparse.csr_matrix((value, (row, ids.flatten().cpu().numpy())), shape=scores.shape)
        nearest.eliminate_zeros()
        return nearest

    def _count(self) -> np.ndarray:
        """Training users of each item, ``[I]``."""
        return np.bincount(self.interactions.indices, minlength=self.n_items)

    def _together(self, items: Tensor) -> Tensor:
        """Of ``items [b]`` and all items the cosine of the columns of interactions, ``[b, I]``."""
        norm = np.sqrt(self._count()).astype(np.float32)
        common = (self.interactions[:, items.numpy()].T @ self.interactions).tocoo()
        common.data /= norm[items.numpy()][common.row] * norm[common.col] + self.shrink
        return torch.from_numpy(common.toarray())

    def score_all(self, users: Tensor) -> Tensor:
        """``[B, I]``."""
        return self._scores(self.interactions[users.cpu().numpy()])

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """``[B]``."""
        rows, columns = self.interactions[users.cpu().numpy()], self.neighbours()[:, items.cpu().numpy()]
        return torch.from_numpy(rows.multiply(columns.T).sum(axis=1).A1).to(users.device)

    def score_history(self, items: Tensor) -> Tensor | None:
        """``[I]``."""
        taken = np.unique(items.cpu().numpy())
        row = sparse.csr_matrix((np.ones(len(taken), "f4"), (taken * 0, taken)), shape=(1, self.n_items))
        return self._scores(row)[0]

    def _scores(self, taken: Any) -> Tensor:
        return torch.from_numpy((taken @ self.neighbours()).toarray()).to(self.item_domain.device)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Zero; there is nothing to learn by gradients."""
        self.neighbours()
        return self.dummy_param.sum() * 0

    def without_effect(self) -> list[str]:
        """``content_weight`` without content."""
        if self.features.names or not self.content_weight:
            return []
        return ["ContentKNN: there is no modality, so content_weight only scales the similarities"]
