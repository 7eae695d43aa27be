"""Graphs against naive loops over a handful of nodes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recbole_mm.layer import graph
from recbole_mm.layer.graph import co_interaction_graph, common_shares

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


@pytest.mark.parametrize("block", [1, 1 << 20])
def test_shares_are_the_softmax_of_how_many_are_in_common(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(graph, "BLOCK_BYTES", block)
    met = [{other for node, other in PAIRS if node == i} for i in range(6)]
    expected = np.zeros((6, 6))
    for i in range(6):
        common = {j: len(met[i] & met[j]) for j in range(6) if j != i and met[i] & met[j]}
        near = sorted(common, key=lambda j: (-common[j], j))[:2]
        for j in near:
            expected[i, j] = math.exp(common[j]) / sum(math.exp(common[n]) for n in near)
    np.testing.assert_allclose(common_shares(NODES, OTHERS, 6, 2).toarray(), expected, rtol=1e-6)


def test_no_interaction_is_no_edge() -> None:
    none = np.empty(0, dtype=np.int64)
    assert co_interaction_graph(none, none, 3).nnz == 0
