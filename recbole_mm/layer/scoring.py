"""Scores of users against items: candidates of a row, or every item."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def candidate_scores(user_emb: Tensor, item_emb: Tensor, candidates: Tensor) -> Tensor:
    """Dot products ``[B, K]`` of ``user_emb [B, d]`` with ``item_emb [n, d][candidates [B, K]]``.

    With few distinct items one matrix product and a gather of scalars beat gathering K vectors a row, whose
    backward pass is a slow scatter; with many, the product would be larger than what is needed.
    """
    width = user_emb.shape[1]
    if item_emb.shape[0] <= candidates.shape[1] * width:
        return (user_emb @ item_emb.t()).gather(1, candidates)
    return torch.einsum("bd,bkd->bk", user_emb, item_emb[candidates])


def scores_of_rows(
    user_emb: Tensor, item_emb: Tensor, positives: Tensor, negatives: Tensor
) -> tuple[Tensor, Tensor]:
    """What losses compare: products ``[B]`` and ``[B, N]`` of ``user_emb [B, d]`` with rows of ``item_emb [n, d]``."""
    return (user_emb * item_emb[positives]).sum(dim=1), candidate_scores(user_emb, item_emb, negatives)


def score_candidates(
    score_pairs: Callable[[Tensor, Tensor], Tensor], users: Tensor, candidates: Tensor
) -> Tensor:
    """Scores ``[B, K]`` of ``users [B]`` with their ``candidates [B, K]``; ``score_pairs`` as in `score_every_item`."""
    return score_pairs(users.repeat_interleave(candidates.shape[1]), candidates.flatten()).view_as(candidates)


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


class PairMLP(nn.Module):
    """A score of a pair by an MLP on ``[u ; i ; u ⊙ i]`` with one hidden layer as wide as a vector.

    The hidden layer's matrix is kept in three, so that users and items meet in the product alone.

    Args:
        width: r.
    """

    def __init__(self, width: int):
        super().__init__()
        self.user = nn.Linear(width, width)
        self.item = nn.Linear(width, width, bias=False)
        self.product = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, 1)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """``user [..., r]`` and ``item [..., r]``, broadcast against each other -> ``[...]``."""
        hidden = self.user(user) + self.item(item) + self.product(user * item)
        return self.out(F.relu(hidden)).squeeze(-1)
