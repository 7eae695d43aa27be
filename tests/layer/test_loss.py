"""Every loss against a naive loop over its formula, in single and double precision."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from recbole_mm.layer import loss
from recbole_mm.layer.loss import (
    Terms,
    bce,
    bpr,
    gbce,
    half_squares,
    info_nce,
    pairwise_info_nce,
    symmetric_info_nce,
)

DTYPES = [torch.float32, torch.float64]


@pytest.fixture(params=DTYPES)
def scores(request: pytest.FixtureRequest) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    positive = torch.randn(5, generator=generator, dtype=request.param)
    return positive, torch.randn(5, 4, generator=generator, dtype=request.param)


def close(value: torch.Tensor, expected: float) -> None:
    assert value.shape == ()
    assert value.item() == pytest.approx(expected, rel=1e-5 if value.dtype == torch.float32 else 1e-12)


def test_terms_are_a_tuple_with_names_of_those_that_apply() -> None:
    one, two = torch.tensor(1.0, requires_grad=True), torch.tensor(2.0)
    terms = Terms(bpr=one, contrast=None, reg=two)
    assert isinstance(terms, tuple) and terms == (one, two) and terms.names == ("bpr", "reg")
    sum(terms).backward()
    assert one.grad == 1.0


@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
def test_info_nce(scores: tuple[torch.Tensor, torch.Tensor], temperature: float) -> None:
    positive, negatives = scores
    total = 0.0
    for p, row in zip(positive.tolist(), negatives.tolist(), strict=True):
        top = math.exp(p / temperature)
        total -= math.log(top / (top + sum(math.exp(n / temperature) for n in row)))
    close(info_nce(positive, negatives, temperature), total / 5)


def test_info_nce_survives_huge_scores() -> None:
    positive, negatives = torch.tensor([1e4]), torch.tensor([[-1e4, 1e4]])
    assert info_nce(positive, negatives, 0.05).item() == pytest.approx(math.log(2))


def test_bpr(scores: tuple[torch.Tensor, torch.Tensor]) -> None:
    positive, negatives = scores
    total = 0.0
    for p, row in zip(positive.tolist(), negatives.tolist(), strict=True):
        total -= sum(math.log(1 / (1 + math.exp(n - p))) for n in row)
    close(bpr(positive, negatives), total / 20)


@pytest.mark.parametrize(("t", "rate"), [(0.0, 0.1), (0.75, 0.1), (1.0, 0.1), (0.5, 1.0)])
def test_gbce(scores: tuple[torch.Tensor, torch.Tensor], t: float, rate: float) -> None:
    positive, negatives = scores
    beta = rate * (t * (1 - 1 / rate) + 1 / rate)
    total = 0.0
    for p, row in zip(positive.tolist(), negatives.tolist(), strict=True):
        total -= math.log((1 / (1 + math.exp(-p))) ** beta)
        total -= sum(math.log(1 - 1 / (1 + math.exp(-n))) for n in row)
    close(gbce(positive, negatives, t, rate), total / 25)


def test_gbce_of_t_0_is_bce(scores: tuple[torch.Tensor, torch.Tensor]) -> None:
    torch.testing.assert_close(gbce(*scores, 0.0, 0.01), bce(*scores))


def test_bce_weighs_rows(scores: tuple[torch.Tensor, torch.Tensor]) -> None:
    positive, negatives = scores
    weight, total = [0.5, 0.0, 1.0, 2.0, 3.0], 0.0
    for w, p, row in zip(weight, positive.tolist(), negatives.tolist(), strict=True):
        total -= w * math.log(1 / (1 + math.exp(-p)))
        total -= w * sum(math.log(1 - 1 / (1 + math.exp(-n))) for n in row)
    close(bce(positive, negatives, torch.tensor(weight, dtype=positive.dtype)), total / 25)


def test_half_squares_per_row_of_the_first(scores: tuple[torch.Tensor, torch.Tensor]) -> None:
    rows = scores[1]
    total = sum(x * x for row in rows.tolist() for x in row)
    close(half_squares(rows, rows.repeat(3, 1)), 4 * total / 2 / 5)
    several = rows.unsqueeze(1).repeat(1, 7, 1)
    close(half_squares(rows, several), 2 * total / 2 / 5)


def test_bpr_refuses_to_broadcast_a_column() -> None:
    with pytest.raises(AssertionError):
        bpr(torch.zeros(5, 1), torch.zeros(5, 4))


@pytest.mark.parametrize("dtype", DTYPES)
def test_symmetric_info_nce(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    left, right = (torch.randn(4, 6, generator=generator, dtype=dtype) for _ in range(2))
    total = 0.0
    for a, b in ((left, right), (right, left)):
        for i in range(4):
            cosines = [F.cosine_similarity(a[i], b[j], dim=0).item() / 0.2 for j in range(4)]
            total -= math.log(math.exp(cosines[i]) / sum(map(math.exp, cosines))) / 8
    close(symmetric_info_nce(left, right, 0.2), total)


def test_of_three_views_every_two_are_compared_over_what_has_both() -> None:
    generator = torch.Generator().manual_seed(3)
    views = [torch.randn(6, 4, generator=generator) for _ in range(3)]
    present = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1]]).bool()
    total = 0.0
    for a, b, rows in ((0, 1, [0, 1, 4, 5]), (0, 2, [1, 2, 4, 5]), (1, 2, [1, 3, 4, 5])):
        total += symmetric_info_nce(views[a][rows], views[b][rows], 0.2).item() / 3
    close(pairwise_info_nce(views, present, 0.2), total)


def test_symmetric_info_nce_of_nothing_is_zero() -> None:
    assert symmetric_info_nce(torch.zeros(0, 3), torch.zeros(0, 3), 0.2).item() == 0.0


def test_in_batch_contrast_in_blocks_has_the_gradients_of_the_whole_matrix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loss, "BLOCK", 24)  # two of eleven rows at once
    generator = torch.Generator().manual_seed(4)
    ids = torch.tensor([3, 1, 3, 2, 9, 9, 9, 4, 5, 6, 1])
    left, right = (
        torch.randn(11, 4, dtype=torch.double, generator=generator, requires_grad=True) for _ in range(2)
    )
    similarity = F.normalize(left, dim=1) @ F.normalize(right, dim=1).t() / 0.3
    same = (ids[:, None] == ids).fill_diagonal_(False)
    expected = F.cross_entropy(similarity.masked_fill(same, -torch.inf), torch.arange(11))
    found = loss.in_batch_info_nce(left, right, ids, 0.3)
    torch.testing.assert_close(found, expected)
    for a, b in zip(*(torch.autograd.grad(each, (left, right)) for each in (found, expected)), strict=True):
        torch.testing.assert_close(a, b)
