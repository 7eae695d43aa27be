"""Graphs of items by their features against naive loops over seven items."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from recbole_mm.layer.feature import FeatureTable
from recbole_mm.layer.fusion import shares_of_present
from recbole_mm.layer.graph import FixedGraph
from recbole_mm.layer.item_graph import mixed_graph, similarity_graph
from recbole_mm.layer.lightgcn import LightGCN

PRESENT = torch.tensor([[0, 0], [1, 1], [1, 1], [1, 0], [1, 1], [0, 1], [1, 0]], dtype=torch.bool)


class Source:
    """Vectors of one modality, rubbish where there is none."""

    nbytes = 0

    def __init__(self, vectors: Tensor):
        self.vectors, self.width = vectors.numpy(), vectors.shape[1]

    def take(self, items: np.ndarray) -> np.ndarray:
        return self.vectors[items]


def table() -> FeatureTable:
    generator = torch.Generator().manual_seed(3)
    vectors = {
        name: torch.randn(7, width, generator=generator) for name, width in (("text", 4), ("image", 3))
    }
    for k, each in enumerate(vectors.values()):
        each[~PRESENT[:, k]] = torch.nan
    return FeatureTable({name: Source(each) for name, each in vectors.items()}, PRESENT)


def naive(features: FeatureTable, name: str, k: int, binary: bool) -> Tensor:
    """S pair by pair, then divided by the roots of its rows' sums."""
    vectors, column = features(name), features.names.index(name)
    held = [i for i in range(7) if PRESENT[i, column]]
    near = torch.zeros(7, 7)
    for i in held:
        cosine = {j: float(torch.cosine_similarity(vectors[i], vectors[j], dim=0)) for j in held}
        for j in sorted(held, key=lambda j: -cosine[j])[:k]:
            near[i, j] = 1.0 if binary else max(cosine[j], 0.0)
    degree = near.sum(dim=1).tolist()
    for i in held:
        for j in held:
            near[i, j] /= math.sqrt(degree[i] * degree[j])
    return near


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("k", [1, 2, 3, 100])
@pytest.mark.parametrize("name", ["text", "image"])
def test_an_item_is_linked_to_its_k_nearest(name: str, k: int, binary: bool) -> None:
    features = table()
    found = similarity_graph(features, name, k, binary)
    torch.testing.assert_close(found.to_dense(), naive(features, name, k, binary))
    assert found.is_coalesced()


@pytest.mark.parametrize("count", [0, 1])
def test_with_one_item_or_none_there_is_a_graph_all_the_same(count: int) -> None:
    present = torch.zeros(4, 1, dtype=torch.bool)
    present[1 : 1 + count] = True
    features = FeatureTable({"text": Source(torch.ones(4, 2))}, present)
    found = similarity_graph(features, "text", 3, binary=False).to_dense()
    assert found.sum() == count and found[1, 1] == count


def test_modalities_are_mixed_by_the_shares_of_those_an_item_has() -> None:
    features = table()
    graphs = [similarity_graph(features, name, 2, binary=True) for name in features.names]
    shares = shares_of_present(PRESENT, torch.tensor([0.9, 0.1]))
    assert shares.tolist() == [
        pytest.approx(row) for row in ([0, 0], [0.9, 0.1], [0.9, 0.1], [1, 0], [0.9, 0.1], [0, 1], [1, 0])
    ]
    found = mixed_graph(graphs, shares)
    expected = [
        [sum(float(shares[i, m]) * float(graphs[m].to_dense()[i, j]) for m in (0, 1)) for j in range(7)]
        for i in range(7)
    ]
    torch.testing.assert_close(found.to_dense(), torch.tensor(expected))
    torch.testing.assert_close(
        mixed_graph(graphs[:1], shares[:, :1]).to_dense(), shares[:, :1] * graphs[0].to_dense()
    )


def test_light_graph_convolution_is_the_mean_of_its_layers() -> None:
    users, items = np.array([0, 1, 1, 1]), np.array([0, 0, 2, 2])
    part = LightGCN(users, items, 3, 4, width=2, n_layers=2)
    adjacency = torch.zeros(7, 7)
    for u, i in {(0, 0), (1, 0), (1, 2)}:
        adjacency[u, 3 + i] = adjacency[3 + i, u] = 1.0
    degree = adjacency.sum(dim=1).clamp(min=1.0)
    adjacency = adjacency / (degree.unsqueeze(0) * degree.unsqueeze(1)).sqrt()
    ids = torch.cat([part.user.weight, part.item.weight])
    expected = (ids + adjacency @ ids + adjacency @ adjacency @ ids) / 3
    torch.testing.assert_close(torch.cat(part()), expected)
    torch.testing.assert_close(torch.cat(part(vectors=2 * ids)), 2 * expected)
    none = part.graph_of(part.pairs[:, :0])
    torch.testing.assert_close(torch.cat(part(none)), ids / 3)
    assert part.pairs.tolist() == [[0, 1, 1], [0, 0, 2]]
    assert list(part.state_dict()) == ["user.weight", "item.weight"]  # which say whose rows they are


@pytest.mark.parametrize("absent", [[0], [0, 2], [2], []])
def test_what_items_hold_is_a_view_where_all_but_padding_hold_it(absent: list[int]) -> None:
    present = torch.ones(5, 1, dtype=torch.bool)
    present[absent] = False
    features = FeatureTable({"text": Source(torch.arange(10.0).view(5, 2))}, present)
    items, vectors = features.held("text")
    assert items.tolist() == [i for i in range(5) if i not in absent]
    assert vectors.equal(features("text", items))
    shared = vectors.untyped_storage().data_ptr() == features("text").untyped_storage().data_ptr()
    assert shared == (absent == [0])


@pytest.mark.parametrize("symmetric", [True, False])
def test_gradients_of_a_fixed_graph_are_those_of_the_dense_product(symmetric: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    dense = torch.rand(5, 5, generator=generator).where(torch.rand(5, 5, generator=generator) > 0.5, 0.0)
    dense = dense + dense.t() if symmetric else dense[:, :4]
    graph = FixedGraph(dense.to_sparse(), symmetric)
    vectors = torch.randn(dense.shape[1], 3, generator=generator, requires_grad=True)
    weights = torch.randn(5, 3, generator=generator)
    found = graph(vectors)
    torch.testing.assert_close(found, dense @ vectors)
    (gradient,) = torch.autograd.grad((found * weights).sum(), vectors)
    torch.testing.assert_close(gradient, dense.t() @ weights)
    assert not list(graph.state_dict())
