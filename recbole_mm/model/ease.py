r"""EASE in the memory of one matrix, in the place of RecBole's; on a very large catalogue its sparse approximation.

Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW); Spišák et al. 2023, "Scalable Approximate
NonSymmetric Autoencoder for Collaborative Filtering" (RecSys).

.. math:: s_{ui} = \sum_j X_{uj} B_{ji} \qquad B = \arg\min \|X - XB\|^2 + \lambda \|B\|^2,\ B_{jj} = 0

RecBole's holds some seven matrices I × I while it inverts; this one holds one. SANSA has :math:`B = W_1 W_2`, both
sparse, by the library of its authors; as there, B_jj is not 0 (only seen items are touched by it).
"""

from __future__ import annotations

from logging import WARNING, LogRecord, getLogger
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import ease
from torch import Tensor, nn

from recbole_mm.errors import Failure, WrongUse
from recbole_mm.layer.linear import ease_weights

#: density up to which SANSA factors incompletely; above, in full (CHOLMOD), as its library advises
SPARSE = 0.05


def _in_one_line(record: LogRecord) -> bool:
    record.msg, record.args = " ".join(record.getMessage().split()), None
    return True


class EASE(ease.EASE):
    """A linear model from items to items, in closed form; solved when first asked for, so a stored one is read only.

    Keys: ``reg_weight`` (λ), ``precision: float32 | float64``, ``dense_memory_mib`` (up to a matrix of that size it is
    solved exactly, above by SANSA with ``sansa_density``).
    """

    def __init__(self, config: Any, dataset: Any):
        super(ease.EASE, self).__init__(config, dataset)  # RecBole's own solves at once
        self.dummy_param = nn.Parameter(torch.zeros(1))
        # a configuration of RecBole's own knows reg_weight alone
        self.reg_weight, self.precision = config["reg_weight"], config["precision"] or "float32"
        self.limit, self.density = config["dense_memory_mib"], config["sansa_density"]
        self.interaction_matrix = dataset.inter_matrix(form="csr").astype(np.float32)
        self.solution: Any = None
        self.other_parameter_name = ["interaction_matrix", "solution"]

    @property
    def item_similarity(self) -> Any:
        """B ``[I, I]``, or SANSA's two sparse factors of it."""
        if self.solution is None:
            self.solution = self._solve()
        return self.solution

    def _solve(self) -> Any:
        matrix = self.n_items**2 * np.dtype(self.precision).itemsize / 2**20
        size = f"the matrix of {self.n_items:,} items takes {matrix:,.0f} MiB ({self.precision})"
        if self.limit is not None and matrix > self.limit:
            return self._approximate(f"EASE: {size}, above dense_memory_mib: {self.limit}")
        getLogger("recbole_mm.model").info("EASE: %s; solved exactly", size)
        try:
            return ease_weights(self.interaction_matrix, self.reg_weight, self.precision)
        except np.linalg.LinAlgError as error:
            more = " or set precision: float64" * (self.precision == "float32" and self.reg_weight > 0)
            raise Failure(
                f"EASE: X'X + {self.reg_weight} I is not positive definite; raise reg_weight{more}"
            ) from error

    def _approximate(self, why: str) -> Any:
        try:
            import sansa
        except ImportError as error:
            raise WrongUse(
                f"{why}, and its sparse approximation needs sansa: pip install 'recbole_mm[linear]' (scikit-sparse "
                "in it needs SuiteSparse: apt install libsuitesparse-dev), or raise dense_memory_mib"
            ) from error
        getLogger("recbole_mm.model").info("%s; approximated by SANSA, sansa_density: %s", why, self.density)
        getLogger("sansa").setLevel(WARNING)
        getLogger("sansa.core.factorizers").addFilter(_in_one_line)
        kind = "ICF" if self.density <= SPARSE else "CHOLMOD"
        model = sansa.SANSA(
            sansa.SANSAConfig(
                l2=self.reg_weight,
                weight_matrix_density=self.density,
                gramian_factorizer_config=getattr(sansa, f"{kind}GramianFactorizerConfig")(),
                lower_triangle_inverter_config=sansa.UMRUnitLowerTriangleInverterConfig(),
            )
        )
        return list(model.fit(self.interaction_matrix).weights)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Zero; there is nothing to learn by gradients."""
        assert self.item_similarity is not None
        return self.dummy_param.sum() * 0

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of all items, flat ``[B * I]``."""
        rows, weights = self.interaction_matrix[interaction[self.USER_ID].cpu().numpy()], self.item_similarity
        exact = isinstance(weights, np.ndarray)
        scores = rows @ weights if exact else ((rows @ weights[0]) @ weights[1]).toarray()
        return torch.from_numpy(scores.reshape(-1)).float()

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores ``[B]`` of the rows' pairs."""
        users, items = (interaction[f].cpu().numpy() for f in (self.USER_ID, self.ITEM_ID))
        rows, weights = self.interaction_matrix[users], self.item_similarity
        if isinstance(weights, np.ndarray):
            row = np.repeat(np.arange(len(users)), np.diff(rows.indptr))
            scores = np.bincount(row, rows.data * weights[rows.indices, items[row]], minlength=len(users))
        else:
            scores = (rows @ weights[0]).multiply(weights[1][:, items].T).sum(axis=1).A1
        return torch.from_numpy(scores).float().to(self.device)
