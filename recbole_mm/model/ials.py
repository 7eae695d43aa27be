r"""iALS: implicit alternating least squares, with the regularisation that makes it strong.

Hu, Koren and Volinsky 2008 (ICDM); Rendle et al. 2022, "Revisiting the Performance of iALS on Item Recommendation
Benchmarks" (RecSys, arXiv 2110.14037).

.. math::
    \sum_{(u,i) \in S} (w_u \cdot h_i - 1)^2 + \alpha_0 \sum_{u,i} (w_u \cdot h_i)^2
    + \lambda \Big( \sum_u (|S_u| + \alpha_0 |I|)^\nu \|w_u\|^2 + \sum_i (|S_i| + \alpha_0 |U|)^\nu \|h_i\|^2 \Big)

Given: all of it, first vectors from :math:`N(0, \sigma_*^2 / d)` with σ* = 0.1, users before items in each iteration,
ν = 1 in all its results. Each half is solved exactly; the authors' iALS++ goes to the same place by parts of a vector.
Inferred: users are solved once more at the end, so that a user's vector is that of anyone with the same items (the
authors do so for people who are not in the data).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.utils import InputType, ModelType
from torch import Tensor, nn

from recbole_mm.errors import Failure
from recbole_mm.layer.history import Bags, Taken, UserHistory
from recbole_mm.model.base import TwoTowerRecommender

#: floats of one block of matrices, and of the vectors that are summed into them
_BLOCK = 1 << 24


class iALS(TwoTowerRecommender):  # noqa: N801  (the name that it has)
    """Matrix factorisation with all unobserved pairs as weak zeros, solved in closed form, users and items in turn.

    Keys: ``embedding_size``, ``reg_weight`` (λ), ``reg_exponent`` (ν), ``unobserved_weight`` (α₀), ``n_iterations``,
    ``id_std`` (σ*). Solved when first asked for, so a stored one is read only.
    """

    type = ModelType.TRADITIONAL
    input_type = InputType.POINTWISE
    triplet_batches = False

    user_emb: Tensor
    item_emb: Tensor
    solved: Tensor

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.reg_weight, self.reg_exponent = config["reg_weight"], config["reg_exponent"]
        self.unobserved_weight, self.n_iterations = config["unobserved_weight"], config["n_iterations"]
        users, items = self.training_pairs(dataset)
        self.of_users = UserHistory(self.n_users, [Taken("items", users, items)])
        self.of_items = UserHistory(self.n_items, [Taken("items", items, users)])
        width = config["embedding_size"]
        item_emb = torch.randn(self.n_items, width) * (config["id_std"] / width**0.5)
        item_emb[0] = 0.0  # padding adds nothing to a sum
        self.register_buffer("item_emb", item_emb)
        self.register_buffer("user_emb", torch.zeros(self.n_users, width))
        self.register_buffer("solved", torch.tensor(False))
        self.dummy_param = nn.Parameter(torch.zeros(1))

    @torch.no_grad()
    def _solve(self) -> None:
        if self.solved:
            return
        for _ in range(self.n_iterations):
            self.user_emb = self._solve_side(self.of_users, self.item_emb)
            self.item_emb = self._solve_side(self.of_items, self.user_emb)
        self.user_emb = self._solve_side(self.of_users, self.item_emb)
        self.solved.fill_(True)

    def _solve_side(self, met: UserHistory, others: Tensor) -> Tensor:
        """The best vectors ``[n, d]`` of those who met ``others [m, d]``; rows of like length are solved together."""
        values, basis = torch.linalg.eigh(others.t() @ others)
        turned, gram = others @ basis, self.unobserved_weight * values.clamp(min=0)
        count = met.count[0]
        found = others.new_zeros(len(count), others.shape[1])
        octave = count.float().log2().ceil()  # rows are filled up to the longest of theirs
        for each in octave[count > 0].unique():
            for rows in (octave == each).nonzero().squeeze(1).split(max(1, _BLOCK // others.shape[1] ** 2)):
                found[rows] = self._solve_rows(met.gather(rows)[0], turned, gram)
        return found @ basis.t()

    def _solve_rows(self, met: Bags, others: Tensor, gram: Tensor) -> Tensor:
        """``(D + HᵀH)⁻¹ Hᵀ1`` of the vectors H that each row met, ``[b, d]``; ``D = α₀ gram + λ (|S| + α₀ N)^ν I``.

        In the basis in which the ``gram [d]`` of all others is diagonal, rows of fewer than d are solved in their own
        number: ``D⁻¹ Hᵀ (I + H D⁻¹ Hᵀ)⁻¹ 1``.
        """
        n, width, longest = len(met.size), others.shape[1], int(met.size.max())
        ids = torch.zeros(n, longest, dtype=torch.long, device=others.device)
        ids[torch.arange(longest, device=others.device) < met.size.unsqueeze(1)] = met.ids
        weight = met.size + self.unobserved_weight * (len(others) - 1)
        diagonal = gram + (self.reg_weight * weight**self.reg_exponent).unsqueeze(1)
        if longest < width:
            vectors = others[ids]
            scaled = vectors / diagonal.unsqueeze(1)
            inner = torch.baddbmm(torch.eye(longest, device=others.device), scaled, vectors.transpose(1, 2))
            return (scaled * self._solved(inner, torch.ones_like(vectors[..., :1]))).sum(dim=1)
        matrix, total = torch.diag_embed(diagonal), torch.zeros_like(diagonal)
        for some in ids.split(max(1, _BLOCK // (n * width)), dim=1):
            vectors = others[some]
            matrix.baddbmm_(vectors.transpose(1, 2), vectors)
            total += vectors.sum(dim=1)
        return self._solved(matrix, total.unsqueeze(2)).squeeze(2)

    def _solved(self, matrix: Tensor, target: Tensor) -> Tensor:
        factor, info = torch.linalg.cholesky_ex(matrix)
        if info.any():
            raise Failure(
                f"iALS: the matrix of a user or an item is not positive definite; raise reg_weight: {self.reg_weight}"
            )
        return torch.cholesky_solve(target, factor)

    def encode_items(self, items: Tensor) -> Tensor:
        """h, ``[n, d]``."""
        self._solve()
        return self.item_emb[items]

    def user_vectors(self, users: Tensor) -> Tensor:
        """w, ``[n, 1, d]``."""
        self._solve()
        return self.user_emb[users].unsqueeze(1)

    def vectors_of_history(self, items: Tensor) -> Tensor | None:
        """``[1, 1, d]``, as of a user with these items."""
        self._solve()
        taken = Taken("items", np.zeros(len(items), dtype=np.int64), items.cpu().numpy())
        return self._solve_side(UserHistory(1, [taken]).to(items.device), self.item_emb).unsqueeze(1)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Zero; there is nothing to learn by gradients."""
        self._solve()
        return self.dummy_param.sum() * 0
