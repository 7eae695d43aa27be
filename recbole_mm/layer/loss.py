"""Losses: the formula, its shapes, nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(positive: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    r"""InfoNCE over one positive and N negatives (van den Oord et al. 2018, arXiv 1807.03748).

    .. math:: -\frac1B \sum_b \log \frac{e^{s_b/\tau}}{e^{s_b/\tau} + \sum_n e^{s_{bn}/\tau}}

    Args:
        positive: scores of the positives, ``[B]``.
        negatives: scores of the negatives, ``[B, N]``.
        temperature: τ > 0.

    Returns:
        scalar.
    """
    assert negatives.shape[0] == positive.shape[0] and positive.dim() == 1
    logits = torch.cat([positive.unsqueeze(1), negatives], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def bpr(positive: Tensor, negatives: Tensor) -> Tensor:
    r"""BPR (Rendle et al. 2009), the mean of :math:`-\log\sigma(s^+ - s^-)`; ``positive [B]``, ``negatives [B, N]``."""
    assert negatives.shape[0] == positive.shape[0] and positive.dim() == 1
    return F.softplus(negatives - positive.unsqueeze(1)).mean()


def bce(positive: Tensor, negatives: Tensor) -> Tensor:
    r"""Binary cross-entropy, the mean over ``positive [B]`` and ``negatives [B, N]`` of :math:`-\log\sigma(\pm s)`."""
    assert negatives.shape[0] == positive.shape[0] and positive.dim() == 1
    return F.softplus(torch.cat([-positive.unsqueeze(1), negatives], dim=1)).mean()


def symmetric_info_nce(left: Tensor, right: Tensor, temperature: float) -> Tensor:
    """InfoNCE between two views of the same n things, cosine similarity, the others of the batch as negatives.

    Both directions, averaged (as CLIP, arXiv 2103.00020).

    Args:
        left, right: ``[n, d]``; n = 0 gives 0 without gradient.
        temperature: τ > 0.
    """
    if not len(left):
        return left.new_zeros(())
    similarity = F.normalize(left, dim=1) @ F.normalize(right, dim=1).t() / temperature
    target = torch.arange(len(left), device=left.device)
    return (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.t(), target)) / 2


def pairwise_info_nce(views: Sequence[Tensor], present: Tensor, temperature: float) -> Tensor:
    """The mean of :func:`symmetric_info_nce` over every two of M views, over the things that have both.

    *Shapes*: each view ``[n, d]``; present bool ``[n, M]``.
    """
    terms = []
    for a in range(len(views)):
        for b in range(a):
            both = present[:, a] & present[:, b]
            terms.append(symmetric_info_nce(views[a][both], views[b][both], temperature))
    return torch.stack(terms).mean()
