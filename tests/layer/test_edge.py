"""Messages along edges against loops, and their gradients against those of the loops."""

from __future__ import annotations

import pytest
import torch

from recbole_mm.layer.edge import Edges
from recbole_mm.layer.graph import symmetric_weights

RECEIVERS, SENDERS = torch.tensor([2, 0, 0, 3, 2, 2]), torch.tensor([1, 1, 0, 2, 0, 2])


def make() -> tuple[Edges, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    own, others = (torch.randn(n, 3, dtype=torch.double, generator=generator) for n in (5, 3))
    return Edges(RECEIVERS, SENDERS, 5, 3), own.requires_grad_(), others.requires_grad_()


def test_softmax_and_sums_are_those_of_each_receiver() -> None:
    edges, own, others = make()
    kept = edges.sender != 2  # then receiver 3 has none, as 1 and 4
    weights = edges.softmax(1000 * edges.scores(own, others), kept)
    expected = torch.zeros(5, 3, dtype=torch.double)
    for node in (0, 2):
        near = [s for r, s in zip(RECEIVERS.tolist(), SENDERS.tolist(), strict=True) if r == node and s != 2]
        share = torch.softmax(1000 * others[near] @ own[node], dim=0)
        expected[node] = share @ others[near]
    found = edges.sums(weights, others)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(found.square().sum(), (own, others))
    torch.testing.assert_close(gradients, torch.autograd.grad(expected.square().sum(), (own, others)))


def test_mean_weights_make_means() -> None:
    edges, _, others = make()
    found = edges.sums(edges.mean_weights().double(), others)
    torch.testing.assert_close(found[2], others.mean(dim=0))
    torch.testing.assert_close(found[0], others[:2].mean(dim=0))
    assert not found[[1, 4]].any()


@pytest.mark.parametrize("dtype", [torch.float, torch.double, torch.bfloat16])
def test_scores_are_products_of_every_edge(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(2)
    edges = Edges(torch.tensor([2, 0, 0, 2, 2]), torch.tensor([2, 1, 1, 0, 2]), 5, 3)  # two are there twice
    own, others = (torch.randn(n, 7, generator=generator).to(dtype).requires_grad_() for n in (5, 3))
    expected = torch.stack([own[r] @ others[s] for r, s in zip(edges.receiver, edges.sender, strict=True)])
    found = edges.scores(own, others)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(found.square().sum(), (own, others))
    close = {"rtol": 0.05, "atol": 0.1} if dtype == torch.bfloat16 else {}  # its steps are of 1 / 128
    expected_gradients = torch.autograd.grad(expected.square().sum(), (own, others))
    torch.testing.assert_close(gradients, expected_gradients, **close)


def test_gradients_of_weights_and_vectors_are_those_of_the_dense_formula() -> None:
    generator = torch.Generator().manual_seed(4)
    edges = torch.tensor([[0, 0, 1, 2, 3, 3, 3], [0, 2, 1, 2, 0, 2, 3]])
    along = Edges(*edges, 4, 4)
    unit, vectors, out = (torch.randn(4, 3, generator=generator, requires_grad=True) for _ in range(3))
    weights = symmetric_weights(edges, along.scores(unit, unit).square(), 4)
    loss = (along.sums(weights, vectors) * out).sum()
    found = torch.autograd.grad(loss, (unit, vectors))
    dense = torch.zeros(4, 4).index_put(tuple(edges), torch.tensor(1.0)) * (unit @ unit.t()).square()
    degree = dense.sum(dim=1)
    product = (dense / (degree.unsqueeze(0) * degree.unsqueeze(1)).sqrt()) @ vectors
    expected = torch.autograd.grad((product * out).sum(), (unit, vectors))
    torch.testing.assert_close(loss, (product * out).sum())
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
