"""Softmax over a whole catalogue in bounded memory, over samples of it, and over groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from recbole_mm.layer.scoring import candidate_scores


def scores_in(mib: float) -> int:
    """How many scores (float32) fill so many MiB, at least one."""
    return max(1, int(mib * (1 << 18)))


def grouped_softmax(scores: Tensor, group: Tensor, n_groups: int) -> Tensor:
    """A softmax of ``scores [e]`` over each ``group [e]``; those of -inf have no share, in a group of these too."""
    # the largest of each group is taken off, so that no exponential is too large
    top = scores.new_full((n_groups,), -torch.inf).scatter_reduce(0, group, scores.detach(), "amax")
    power = (scores - top.masked_fill(top == -torch.inf, 0.0)[group]).exp()
    total = power.new_zeros(n_groups).index_add(0, group, power)
    return power / total.clamp(min=1e-12)[group]


def blockwise_softmax(
    h: Tensor,
    items: Tensor,
    target: Tensor,
    block: int,
    temperature: float = 1.0,
    excluded: Tensor | None = None,
    left_out: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    r"""Cross-entropy over all items, without the matrix of all scores.

    .. math:: -\frac1n \sum_r \log \frac{e^{\langle h_r, v_{t_r}\rangle/\tau}}{\sum_i e^{\langle h_r, v_i\rangle/\tau}}

    Value and gradient are those of ``F.cross_entropy(h @ items.T / temperature, target)``. The rows are taken some at a
    time; their gradient is computed with the value, in the place of their scores. So beside the gradients of ``h`` and
    ``items`` one block is in memory, and no score is computed twice. Mixed precision ends here: scores are at least
    float32.

    Args:
        h: ``[n, d]``, n > 0.
        items: ``[I, d]``.
        target: the item of each row, ``[n]``.
        block: the most scores at once; a row of I is never divided.
        temperature: τ > 0.
        excluded: items that are in no row's sum, bool ``[I]``, such as padding.
        left_out: items that are not in the sum of one row: rows ``[m]`` and items ``[m]``. The target of a row always
            is in its sum.

    Returns:
        scalar.
    """
    assert h.dim() == items.dim() == 2 and h.shape[1] == items.shape[1] and target.shape == h.shape[:1]
    assert block > 0 and temperature > 0
    dtype = torch.promote_types(torch.promote_types(h.dtype, items.dtype), torch.float32)
    wanted = torch.is_grad_enabled() and (h.requires_grad or items.requires_grad)
    with torch.autocast(h.device.type, enabled=False):
        return _BlockwiseSoftmax.apply(  # type: ignore[no-any-return, no-untyped-call]
            h.to(dtype) / temperature, items.to(dtype), target, block, excluded, left_out, wanted
        )


def checkpointed_softmax(
    score: Callable[[Tensor, Tensor], Tensor],
    h: Tensor,
    items: Tensor,
    target: Tensor,
    block: int,
    temperature: float = 1.0,
    excluded: Tensor | None = None,
    left_out: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """As :func:`blockwise_softmax` for scores that are no dot product; each block is computed again for its gradient.

    Args:
        score: ``(h [b, d], items [I, d]) -> [b, I]``.
    """
    n, at_once = len(h), max(1, block // len(items))

    def of_rows(low: int, some: Tensor, items: Tensor) -> Tensor:
        scores, own = score(some, items) / temperature, target[low : low + at_once, None]
        if (out := _out(scores, low, own, excluded, left_out)) is not None:
            scores = scores.masked_fill(out, -torch.inf)
        return F.cross_entropy(scores, own.squeeze(1), reduction="sum")

    parts = [
        checkpoint(of_rows, low, h[low : low + at_once], items, use_reentrant=False)
        for low in range(0, n, at_once)
    ]
    return torch.stack(parts).sum() / n


def _out(
    scores: Tensor, low: int, own: Tensor, excluded: Tensor | None, left_out: tuple[Tensor, Tensor] | None
) -> Tensor | None:
    """Which ``scores [b, I]`` of the rows from ``low`` are in no sum; those of their targets ``own [b, 1]`` are."""
    if excluded is None and left_out is None:
        return None
    out = torch.zeros_like(scores, dtype=torch.bool)
    if excluded is not None:
        out |= excluded
    if left_out is not None:
        rows, columns = left_out
        here = (rows >= low) & (rows < low + len(scores))
        out[rows[here] - low, columns[here]] = True
    return out.scatter_(1, own, False)


class _BlockwiseSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        h: Tensor,
        items: Tensor,
        target: Tensor,
        block: int,
        excluded: Tensor | None,
        left_out: tuple[Tensor, Tensor] | None,
        wanted: bool,
    ) -> Tensor:
        n, at_once = len(h), max(1, block // len(items))
        total, block_of_scores = h.new_zeros(()), h.new_empty(min(n, at_once), len(items))
        of_h, of_items = (torch.empty_like(h), torch.zeros_like(items)) if wanted else (None, None)
        for low in range(0, n, at_once):
            some, own = h[low : low + at_once], target[low : low + at_once, None]
            scores = torch.mm(some, items.t(), out=block_of_scores[: len(some)])
            of_target = scores.gather(1, own)
            if (out := _out(scores, low, own, excluded, left_out)) is not None:
                scores.masked_fill_(out, -torch.inf)
            highest = scores.amax(dim=1, keepdim=True)
            scores.sub_(highest).exp_()
            norm = scores.sum(dim=1, keepdim=True)
            total += (norm.log() + highest - of_target).sum()
            if of_h is None or of_items is None:
                continue
            # the gradient of the scores, in their place: (softmax - one at the target) / n
            scores.div_(norm * n).scatter_add_(1, own, torch.full_like(of_target, -1 / n))
            torch.mm(scores, items, out=of_h[low : low + at_once])
            of_items.addmm_(scores.t(), some)
        if wanted:
            ctx.save_for_backward(of_h, of_items)
        return total / n

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        of_h, of_items = (
            gradient * upstream if needed else None
            for gradient, needed in zip(ctx.saved_tensors, ctx.needs_input_grad[:2], strict=True)
        )
        return of_h, of_items, None, None, None, None, None


def sampled_softmax(
    h: Tensor,
    items: Tensor,
    target: Tensor,
    negatives: Tensor,
    log_q: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    r"""Cross-entropy over the target and N sampled items, corrected for how often each is drawn (logQ).

    .. math::
        s^c(h, i) = \langle h, v_i\rangle / \tau - \log Q(i) \qquad
        -\frac1n \sum_r \log \frac{e^{s^c(h_r, t_r)}}{e^{s^c(h_r, t_r)} + \sum_{j \ne t_r} e^{s^c(h_r, j)}}

    Yi et al. 2019, "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations" (RecSys): without
    the correction an item is pushed away as often as it is drawn. A negative that is the row's target (an accidental
    hit) is left out of the sum.

    Args:
        h: ``[n, d]``, n > 0.
        items: ``[I, d]``.
        target: the item of each row, ``[n]``.
        negatives: drawn items, ``[N]`` for all rows or ``[n, N]``.
        log_q: the logarithm of each item's probability to be drawn ``[I]``, up to a constant, finite for targets and
            negatives; None where it is the same for all.
        temperature: τ > 0.

    Returns:
        scalar.
    """
    assert h.dim() == items.dim() == 2 and h.shape[1] == items.shape[1] and target.shape == h.shape[:1]
    assert negatives.dim() == 1 or negatives.shape[0] == len(h)
    positive = (h * F.embedding(target, items)).sum(dim=1, keepdim=True) / temperature
    if negatives.dim() == 1:
        negative = h @ F.embedding(negatives, items).t() / temperature
    else:
        negative = candidate_scores(h, items, negatives) / temperature
    if log_q is not None:
        positive, negative = positive - log_q[target].unsqueeze(1), negative - log_q[negatives]
    negative = negative.masked_fill(negatives == target.unsqueeze(1), -torch.inf)
    scores = torch.cat([positive, negative], dim=1)
    return F.cross_entropy(scores, torch.zeros_like(target))
