"""Scores of candidate items against their row's user."""

from __future__ import annotations

import torch
from torch import Tensor


def candidate_scores(user_emb: Tensor, item_emb: Tensor, candidates: Tensor) -> Tensor:
    """Dot products ``[B, K]`` of ``user_emb [B, d]`` with ``item_emb [n, d][candidates [B, K]]``.

    With few distinct items one matrix product and a gather of scalars beat gathering K vectors a row, whose
    backward pass is a slow scatter; with many, the product would be larger than what is needed.
    """
    width = user_emb.shape[1]
    if item_emb.shape[0] <= candidates.shape[1] * width:
        return (user_emb @ item_emb.t()).gather(1, candidates)
    return torch.einsum("bd,bkd->bk", user_emb, item_emb[candidates])
