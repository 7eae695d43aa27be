"""Hypergraphs: nodes that belong to a few edges by shares, and meet in them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_mm.layer.projection import masked


class Membership(nn.Module):
    """Shares of nodes in K hyperedges, ``softmax((logits + g) / τ)``; Gumbel noise g and dropout in training alone.

    Args:
        temperature: τ > 0.
        dropout_prob: of the shares.
    """

    def __init__(self, temperature: float, dropout_prob: float):
        super().__init__()
        self.temperature, self.dropout_prob = temperature, dropout_prob

    def forward(self, logits: Tensor, present: Tensor) -> Tensor:
        """``[n, K]``; a node that is not ``present [n]`` is in no edge."""
        soft = (
            F.gumbel_softmax(logits, self.temperature)
            if self.training
            else torch.softmax(logits / self.temperature, dim=1)
        )
        return F.dropout(masked(soft, present), self.dropout_prob, self.training)


def through_hyperedges(
    of_users: Tensor, of_items: Tensor, items: Tensor, passes: int
) -> tuple[Tensor, Tensor]:
    """Users and items as what meets in their hyperedges: ``H_u H_iᵀ v`` and ``H_i H_iᵀ v``, with the items v of before.

    Args:
        of_users, of_items: shares H, ``[U, K]`` and ``[I, K]``.
        items: v, ``[I, d]``.
        passes: how often, from 1.

    Returns:
        ``[U, d]`` and ``[I, d]`` of the last pass.
    """
    for _ in range(passes - 1):
        items = of_items @ (of_items.t() @ items)
    edges = of_items.t() @ items
    return of_users @ edges, of_items @ edges
