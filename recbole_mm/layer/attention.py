"""Aggregation by attention: over the many vectors of one user, and over the few positions of one thing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_mm.layer.projection import masked
from recbole_mm.layer.softmax import grouped_softmax


def query(width: int, out: int) -> nn.Sequential:
    """``V tanh(W x + b)``, ``[..., d] -> [..., out]``: logits of an attention."""
    return nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, out, bias=False))


class BagAttention(nn.Module):
    r"""Bags of vectors to one vector each: :math:`\sum_k \alpha_k r_k`, :math:`\alpha = softmax(q^\top \tanh(W r_k))`.

    Args:
        width: d.
    """

    def __init__(self, width: int):
        super().__init__()
        self.score = query(width, 1)

    def forward(self, vectors: Tensor, size: Tensor) -> Tensor:
        """``vectors [t, d]``, one bag after the other, ``size [n]`` of each -> ``[n, d]``, zeros for an empty bag."""
        bag = torch.arange(len(size), device=size.device).repeat_interleave(size)
        share = grouped_softmax(self.score(vectors).squeeze(1), bag, len(size))
        parts = share.unsqueeze(1) * vectors
        return parts.new_zeros(len(size), vectors.shape[1]).index_add(0, bag, parts)


class PositionAttention(nn.Module):
    """Self-attention over M positions of equal rank, then their mean: ``mean(softmax(QKᵀ/√d) V)`` (MMCPR).

    Args:
        width: d.
    """

    def __init__(self, width: int):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))

    def forward(self, positions: Tensor, present: Tensor) -> Tensor:
        """``positions [n, M, d]``, ``present [n, M]`` -> ``[n, d]``; absent ones neither ask nor answer."""
        positions = masked(positions, present)
        scores = self.query(positions) @ self.key(positions).transpose(1, 2) / positions.shape[2] ** 0.5
        some = present.any(dim=1)[:, None, None]
        scores = scores.masked_fill(~present.unsqueeze(1) & some, -torch.inf)
        return mean_of_present(scores.softmax(dim=2) @ self.value(positions), present)


def mean_of_present(positions: Tensor, present: Tensor) -> Tensor:
    """The mean over the present ones of ``positions [n, M, d]``; zeros where none is."""
    count = present.sum(dim=1, keepdim=True).clamp(min=1)
    return masked(positions, present).sum(dim=1) / count
