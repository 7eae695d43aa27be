"""Vectors of an encoder, such as BERT's, made even in all directions by learned maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: least deviation of the gates' noise
NOISE = 0.01


class WhiteningExperts(nn.Module):
    r"""A mixture of experts that whiten (UniSRec, arXiv 2206.05941, eq. 1–3), ``[n, D] -> [n, d]``.

    .. math:: v = \sum_k g_k (x - b_k) W_k \qquad g = softmax(x W_g + \delta), \quad \delta \sim N(0, softplus(x W_n)^2)

    The noise is there in training alone, where it spreads the items over the experts.

    Args:
        in_features: D.
        out_features: d.
        experts: G.
        dropout: of x before the experts, not before the gates.
    """

    def __init__(self, in_features: int, out_features: int, experts: int, dropout: float):
        super().__init__()
        self.out_features, self.dropout = out_features, dropout
        self.shift = nn.Parameter(torch.zeros(experts, in_features))
        self.maps = nn.Parameter(torch.empty(experts, in_features, out_features).normal_(std=0.02))
        self.gate, self.noise = (nn.Parameter(torch.zeros(in_features, experts)) for _ in range(2))

    def gates(self, features: Tensor) -> Tensor:
        """Each expert's share g, ``[n, G]``."""
        logits = features @ self.gate
        if self.training:
            deviation = F.softplus(features @ self.noise) + NOISE
            logits = logits + deviation * torch.randn_like(logits)
        return logits.softmax(dim=-1)

    def forward(self, features: Tensor) -> Tensor:
        """``[n, d]``."""
        dropped = F.dropout(features, self.dropout, self.training)
        experts, width, _ = self.maps.shape
        mapped = (dropped @ self.maps.transpose(0, 1).reshape(width, -1)).unflatten(1, (experts, -1))
        mapped = mapped - torch.einsum("gi,gio->go", self.shift, self.maps)
        return torch.einsum("ng,ngo->no", self.gates(features), mapped)
