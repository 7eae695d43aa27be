"""Scores of users against items: candidates of a row, or every item."""

from __future__ import annotations

from collections.abc import Callable

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


def score_every_item(
    score_pairs: Callable[[Tensor, Tensor], Tensor], users: Tensor, n_items: int, pairs: int
) -> Tensor:
    """Scores ``[B, I]`` of ``users [B]`` with all items, at most ``pairs`` of them in a call.

    Args:
        score_pairs: ``(users [n], items [n]) -> [n]``.
        users: ``[B]``.
        n_items: I.
        pairs: the largest n.
    """
    every = torch.arange(n_items, device=users.device)
    rows = []
    for some in users.split(max(1, pairs // n_items)):
        parts = [
            score_pairs(some.repeat_interleave(len(items)), items.repeat(len(some))).view(len(some), -1)
            for items in every.split(max(1, pairs))
        ]
        rows.append(torch.cat(parts, dim=1))
    return torch.cat(rows)
