"""Losses: the formula, its shapes, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_mm.layer.gather import all_rows, several
from recbole_mm.layer.softmax import blockwise_softmax, scores_in

#: similarities of :func:`in_batch_info_nce` at once
BLOCK = scores_in(1)


class Terms(tuple[Tensor, ...]):
    """The terms of a loss, each under its name; RecBole adds a tuple up. A term that is None does not apply.

    ::

        return Terms(bpr=ranking, reg=weighted(self.reg_weight, lambda: half_squares(user_emb, item_emb)))
    """

    names: tuple[str, ...]

    def __new__(cls, **terms: Tensor | None) -> Terms:
        """Of scalars."""
        there = {name: term for name, term in terms.items() if term is not None}
        made = super().__new__(cls, there.values())
        made.names = tuple(there)
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, Tensor]]:
        """For a copy."""
        return (), dict(zip(self.names, self, strict=True))


def weighted(weight: float, term: Callable[[], Tensor]) -> Tensor | None:
    """``weight`` times a term of a loss; where it is 0 the term is not computed, and does not apply."""
    return weight * term() if weight else None


def total(loss: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The sum of a loss's terms, or the loss that has none."""
    return sum(loss) if isinstance(loss, tuple) else loss  # type: ignore[return-value]


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


def bpr(positive: Tensor, negatives: Tensor, counted: Tensor | None = None) -> Tensor:
    r"""BPR (Rendle et al. 2009), the mean of :math:`-\log\sigma(s^+ - s^-)`; ``positive [B]``, ``negatives [B, N]``.

    With ``counted [B, N]`` over these pairs alone; without any 0.
    """
    assert negatives.shape[0] == positive.shape[0] and positive.dim() == 1
    losses = F.softplus(negatives - positive.unsqueeze(1))
    if counted is None:
        return losses.mean()
    assert counted.shape == losses.shape
    return losses.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)


def half_squares(*vectors: Tensor) -> Tensor:
    """L2 per positive, ``½ Σ ‖·‖² / B``, of a batch's vectors ``[B, d]``; of negatives ``[B, N, d]`` the mean."""
    squares = (v.square().sum() / (v.shape[1] if v.dim() == 3 else 1) for v in vectors)
    return sum(squares) / (2 * len(vectors[0]))  # type: ignore[return-value]


def bce(positive: Tensor, negatives: Tensor, weight: Tensor | None = None) -> Tensor:
    r"""Binary cross-entropy, the mean over ``positive [B]`` and ``negatives [B, N]`` of :math:`-\log\sigma(\pm s)`.

    ``weight [B]``: what the terms of a row are multiplied by.
    """
    assert negatives.shape[0] == positive.shape[0] and positive.dim() == 1
    terms = F.softplus(torch.cat([-positive.unsqueeze(1), negatives], dim=1))
    return (terms if weight is None else weight.unsqueeze(1) * terms).mean()


def gbce(positive: Tensor, negatives: Tensor, t: float, sampling_rate: float | Tensor) -> Tensor:
    r"""Generalised BCE of gSASRec (Petrov and Macdonald 2023, arXiv 2308.07192), for few negatives of many items.

    .. math:: -\frac{1}{B (N + 1)} \sum_b \Big(\beta \log\sigma(s_b) + \sum_n \log(1 - \sigma(s_{bn}))\Big)
        \qquad \beta = \alpha \big(t (1 - \tfrac1\alpha) + \tfrac1\alpha\big) = 1 - t (1 - \alpha)

    Sampling makes a model overrate all scores; a power β of the positive's probability takes that back.

    Args:
        positive: scores of the positives, ``[B]``.
        negatives: scores of the negatives, ``[B, N]``.
        t: how much, from 0 (β = 1: :func:`bce`) to 1 (β = α: probabilities as without sampling).
        sampling_rate: α, the share N / (I - 1) of all negatives that are drawn, in (0, 1]; or one for each row ``[B]``.

    Returns:
        scalar.
    """
    assert negatives.shape[0] == positive.shape[0] and positive.dim() == 1
    beta = 1 - t * (1 - sampling_rate)
    terms = torch.cat([(beta * F.softplus(-positive)).unsqueeze(1), F.softplus(negatives)], dim=1)
    return terms.mean()


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


def in_batch_info_nce(
    left: Tensor, right: Tensor, ids: Tensor, temperature: float, cosine: bool = True
) -> Tensor:
    """InfoNCE of each of ``left`` with its own of ``right``, the others of the batch, of all workers, as negatives.

    In blocks that stay in the processor's cache; of all pairs only which are of the same id is held, one byte each.

    Args:
        left, right: ``[n, d]``, n > 0.
        ids: what each row is about, ``[n]``; rows of the same are no negatives of each other.
        temperature: τ > 0.
        cosine: their similarity; else it is their product.
    """
    if several():
        left, right, ids = (all_rows(each) for each in (left, right, ids))
    order = torch.arange(len(ids), device=ids.device)
    row, column = (ids.unsqueeze(0) == ids.unsqueeze(1)).fill_diagonal_(False).nonzero(as_tuple=True)
    if cosine:
        left, right = F.normalize(left, dim=1), F.normalize(right, dim=1)
    return blockwise_softmax(left, right, order, BLOCK, temperature, left_out=(row, column))


def paired_distance(left: Tensor, right: Tensor) -> Tensor:
    r"""The mean of ``‖left - right‖``, not squared, over the rows ``[n, d]``; n = 0 gives 0."""
    return (left - right).norm(dim=1).sum() / max(len(left), 1)


def first_order_similarity(
    vectors: Tensor, linked: Tensor, scale: Tensor | float, bias: Tensor | float = 0.0
) -> Tensor:
    r"""Binary cross-entropy of all pairs of n nodes (CPMM): :math:`s\, z_i^\top z_j + b` tells :math:`A_{ij}`.

    Args:
        vectors: ``[n, d]``, unit; n = 0 gives 0.
        linked: A, ``[n, n]`` of 0 and 1.
        scale, bias: s and b.
    """
    if not len(vectors):
        return vectors.new_zeros(())
    return F.binary_cross_entropy_with_logits(scale * (vectors @ vectors.t()) + bias, linked)


def pairwise_info_nce(views: Sequence[Tensor], present: Tensor, temperature: float) -> Tensor:
    """The mean of :func:`symmetric_info_nce` over every two of M views, over the things that have both.

    *Shapes*: each view ``[n, d]``; present bool ``[n, M]``.
    """
    terms = []
    for a, b in combinations(range(len(views)), 2):
        both = present[:, a] & present[:, b]
        # most often all of them: no copy
        left, right = (view if bool(both.all()) else view[both] for view in (views[a], views[b]))
        terms.append(symmetric_info_nce(left, right, temperature))
    return torch.stack(terms).mean()
