"""Graphs against naive loops over a handful of nodes."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

from recbole_mm.errors import WrongUse
from recbole_mm.layer import graph
from recbole_mm.layer.graph import co_interaction_graph, nearest_neighbours

#: (node, other): the third pair twice
PAIRS = [
    (1, 1),
    (1, 2),
    (1, 3),
    (1, 3),
    (2, 1),
    (2, 2),
    (2, 3),
    (3, 3),
    (3, 4),
    (4, 4),
    (4, 1),
    (4, 2),
    (5, 9),
]
NODES, OTHERS = (np.array(column) for column in zip(*PAIRS, strict=True))


def naive_graph(n_nodes: int, k: int | None, min_common: int) -> np.ndarray:
    """The weights pair by pair, the k heaviest of each node, both directions, normalised."""
    met = [{other for node, other in PAIRS if node == i} for i in range(n_nodes)]
    weight = np.zeros((n_nodes, n_nodes))
    for i in range(n_nodes):
        for j in range(n_nodes):
            common = len(met[i] & met[j])
            if i != j and common >= min_common:
                degree = math.log(math.sqrt(len(met[i]) * len(met[j])))
                weight[i, j] = (math.log(common) + 1) / (degree + 1)
    kept = np.zeros_like(weight)
    for i in range(n_nodes):
        heaviest = sorted(np.flatnonzero(weight[i]), key=lambda j: (-weight[i, j], j))[:k]
        for j in heaviest:
            kept[i, j] = kept[j, i] = weight[i, j]
    degree = kept.sum(axis=1)
    return np.array(
        [
            [kept[i, j] / math.sqrt(degree[i] * degree[j]) if kept[i, j] else 0.0 for j in range(n_nodes)]
            for i in range(n_nodes)
        ]
    )


@pytest.mark.parametrize("k", [1, 2, None])
@pytest.mark.parametrize("min_common", [1, 2, 3])
@pytest.mark.parametrize("block", [1, 1 << 20])
def test_co_interactions_are_the_formula(
    monkeypatch: pytest.MonkeyPatch, k: int | None, min_common: int, block: int
) -> None:
    monkeypatch.setattr(graph, "BLOCK_BYTES", block)
    found = co_interaction_graph(NODES, OTHERS, 6, k, min_common)
    np.testing.assert_allclose(found.toarray(), naive_graph(6, k, min_common), rtol=1e-6)
    assert found.shape == (6, 6) and found.dtype == np.float32


def test_no_interaction_is_no_edge() -> None:
    none = np.empty(0, dtype=np.int64)
    assert co_interaction_graph(none, none, 3).nnz == 0


@pytest.mark.parametrize("n", [5, 64, 200])
@pytest.mark.parametrize("block", [1, 20_000, 1 << 28])
def test_neighbours_are_those_of_all_pairs(monkeypatch: pytest.MonkeyPatch, n: int, block: int) -> None:
    monkeypatch.setattr(graph, "BLOCK_BYTES", block)
    monkeypatch.setattr(graph, "_GROUP", 8)
    vectors = torch.randn(n, 7, generator=torch.Generator().manual_seed(1))
    vectors[3] = 0.0
    ids, cosines = nearest_neighbours(vectors, 4)
    for i in range(n):
        all_of = [
            (float(torch.cosine_similarity(vectors[i], vectors[j], dim=0)), j) for j in range(n) if j != i
        ]
        expected = sorted(all_of, reverse=True)[:4]
        assert cosines[i].tolist() == pytest.approx([value for value, _ in expected], abs=1e-6)
        if i != 3:  # its cosines are all 0
            assert ids[i].tolist() == [j for _, j in expected]


def test_faiss_finds_nearly_all_of_them() -> None:
    pytest.importorskip("faiss")
    vectors = torch.randn(300, 8, generator=torch.Generator().manual_seed(1))
    ids, cosines = nearest_neighbours(vectors, 5)
    near, values = nearest_neighbours(vectors, 5, faiss=True)
    assert (near != torch.arange(300).unsqueeze(1)).all() and near.shape == values.shape == (300, 5)
    shared = [len(set(a.tolist()) & set(b.tolist())) for a, b in zip(ids, near, strict=True)]
    assert sum(shared) > 0.95 * ids.numel()
    assert torch.allclose(values[:, 0], cosines[:, 0], atol=1e-5) or sum(shared) < ids.numel()


def test_without_faiss_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(WrongUse) as said:
        nearest_neighbours(torch.eye(3), 1, faiss=True)
    assert str(said.value) == "nearest_neighbours: faiss is not installed; pip install recbole-mm[faiss]"


@pytest.mark.parametrize("k", [0, 3])
def test_more_neighbours_than_vectors_are_refused(k: int) -> None:
    with pytest.raises(WrongUse) as said:
        nearest_neighbours(torch.eye(3), k)
    assert str(said.value) == f"nearest_neighbours: k is {k}, and there are 3 vectors; take 1 to N - 1"
