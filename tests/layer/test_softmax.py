"""Softmax in blocks against PyTorch's on the whole matrix, and over samples against a naive loop."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recbole_mm.layer.softmax import blockwise_softmax, checkpointed_softmax, sampled_softmax, scores_in


def example(n: int = 7, n_items: int = 11, width: int = 3, seed: int = 3, dtype: torch.dtype = torch.float64):
    generator = torch.Generator().manual_seed(seed)
    h, items = (torch.randn(k, width, generator=generator, dtype=dtype) for k in (n, n_items))
    target = torch.randint(n_items, (n,), generator=generator)
    return h.requires_grad_(), items.requires_grad_(), target


def whole(
    h: Tensor, items: Tensor, target: Tensor, temperature: float = 1.0, out: Tensor | None = None
) -> Tensor:
    """PyTorch's, where ``out [n, I]`` is not in the sum."""
    scores = h @ items.t() / temperature
    if out is not None:
        scores = scores.masked_fill(out & (torch.arange(len(items)) != target.unsqueeze(1)), -torch.inf)
    return F.cross_entropy(scores, target)


def product(h: Tensor, items: Tensor) -> Tensor:
    return h @ items.t()


def same(ours: Tensor, expected: Tensor, h: Tensor, items: Tensor, **tolerance: float) -> None:
    torch.testing.assert_close(ours, expected, **tolerance)
    found, wanted = (torch.autograd.grad(3 * loss, (h, items)) for loss in (ours, expected))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 9),
    n_items=st.integers(1, 12),
    width=st.integers(1, 5),
    block=st.integers(1, 120),
    temperature=st.sampled_from([0.05, 1.0, 3.0]),
    seed=st.integers(0, 99),
    excluding=st.booleans(),
    leaving_out=st.booleans(),
)
def test_blocks_give_what_the_whole_gives(
    n: int,
    n_items: int,
    width: int,
    block: int,
    temperature: float,
    seed: int,
    excluding: bool,
    leaving_out: bool,
) -> None:
    h, items, target = example(n, n_items, width, seed)
    generator = torch.Generator().manual_seed(seed)
    excluded = torch.rand(n_items, generator=generator) < 0.4 if excluding else None
    pairs = (torch.rand(n, n_items, generator=generator) < 0.3) & leaving_out
    out = pairs if excluded is None else pairs | excluded
    left_out = tuple(pairs.nonzero().t()) if leaving_out else None
    given = (h, items, target, block, temperature, excluded, left_out)
    same(blockwise_softmax(*given), whole(h, items, target, temperature, out), h, items)
    same(checkpointed_softmax(product, *given), whole(h, items, target, temperature, out), h, items)


@pytest.mark.parametrize("block", [1, 25, 1000])
def test_gradient_of_blocks(block: int) -> None:
    h, items, target = example()
    excluded = torch.arange(len(items)) == 0
    target = target.clamp(min=1)
    assert torch.autograd.gradcheck(
        lambda a, b: blockwise_softmax(a, b, target, block, 0.7, excluded), (h, items)
    )


def test_scores_too_large_for_an_exponential() -> None:
    h, items, target = (x if x.dtype == torch.long else x.detach() * 1e4 for x in example())
    h, items = h.requires_grad_(), items.requires_grad_()
    same(blockwise_softmax(h, items, target, 20), whole(h, items, target), h, items)


def test_one_of_the_two_may_be_a_constant() -> None:
    h, items, target = example()
    for constant in (0, 1):
        pair = [h, items]
        pair[constant] = pair[constant].detach()
        blockwise_softmax(*pair, target, 20).backward()
    expected = torch.autograd.grad(whole(h, items, target), (h, items))
    torch.testing.assert_close((h.grad, items.grad), expected)


def test_without_gradients_none_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    h, items, target = example()
    expected = whole(h, items, target)
    monkeypatch.setattr(Tensor, "addmm_", None)
    with torch.no_grad():
        torch.testing.assert_close(blockwise_softmax(h, items, target, 20), expected)
    torch.testing.assert_close(blockwise_softmax(h.detach(), items.detach(), target, 20), expected)


def test_mixed_precision_ends_in_float32() -> None:
    h, items, target = example(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = blockwise_softmax(h.to(torch.bfloat16), items, target, 20)
    assert ours.dtype == torch.float32
    same(ours, whole(h.to(torch.bfloat16).float(), items, target), h, items)


def test_no_more_scores_at_once_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    exp_ = Tensor.exp_
    monkeypatch.setattr(Tensor, "exp_", lambda scores: sizes.append(tuple(scores.shape)) or exp_(scores))
    h, items, target = example()
    blockwise_softmax(h, items, target, 35)
    assert sizes == [(3, 11), (3, 11), (1, 11)]
    sizes.clear()
    checkpointed_softmax(lambda a, b: sizes.append(len(a)) or a @ b.t(), h, items, target, 35)
    assert sizes == [3, 3, 1]
    assert scores_in(64) == 1 << 24 and scores_in(1e-9) == 1


# ---- samples


def naive_sampled(
    h: Tensor, items: Tensor, target: Tensor, drawn: list[list[int]], q: list[float], tau: float
) -> float:
    total = 0.0
    for row, (vector, positive) in enumerate(zip(h.tolist(), target.tolist(), strict=True)):

        def weight(i: int, vector: list[float] = vector) -> float:
            dot = sum(a * b for a, b in zip(vector, items[i].tolist(), strict=True))
            return math.exp(dot / tau) / q[i]

        others = [j for j in drawn[row] if j != positive]
        total -= math.log(weight(positive) / (weight(positive) + sum(map(weight, others))))
    return total / len(h)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("corrected", [True, False])
@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_sampled_softmax(shared: bool, corrected: bool, temperature: float) -> None:
    h, items, target = example()
    generator = torch.Generator().manual_seed(5)
    negatives = torch.randint(11, (6,) if shared else (7, 6), generator=generator)
    assert (negatives == target.unsqueeze(1)).any(), "an accidental hit"
    q = torch.rand(11, generator=generator, dtype=torch.float64) + 0.1
    drawn = negatives.expand(7, 6).tolist()
    expected = naive_sampled(h, items, target, drawn, q.tolist() if corrected else [1.0] * 11, temperature)
    ours = sampled_softmax(h, items, target, negatives, q.log() if corrected else None, temperature)
    assert ours.item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(
        lambda a, b: sampled_softmax(a, b, target, negatives, q.log(), temperature), (h, items)
    )


def test_all_items_once_are_the_full_softmax() -> None:
    h, items, target = example()
    every = torch.arange(11)
    same(sampled_softmax(h, items, target, every), whole(h, items, target), h, items)


def test_a_constant_of_log_q_changes_nothing() -> None:
    h, items, target = example()
    negatives, log_q = torch.randint(11, (7, 4), generator=torch.Generator().manual_seed(0)), torch.randn(11)
    torch.testing.assert_close(
        sampled_softmax(h, items, target, negatives, log_q),
        sampled_softmax(h, items, target, negatives, log_q + 5),
    )


def test_a_negative_for_each_row_is_asked_for() -> None:
    h, items, target = example()
    with pytest.raises(AssertionError):
        sampled_softmax(h, items, target, torch.zeros(6, 4, dtype=torch.long))
