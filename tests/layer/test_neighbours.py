"""Nearest neighbours against the cosines of all pairs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from recbole_mm.errors import WrongUse
from recbole_mm.layer import neighbours
from recbole_mm.layer.neighbours import nearest_neighbours
from recbole_mm.testing import Built, write_toy


@pytest.mark.parametrize("n", [5, 64, 200])
@pytest.mark.parametrize("block", [1, 20_000, 1 << 28])
def test_neighbours_are_those_of_all_pairs(monkeypatch: pytest.MonkeyPatch, n: int, block: int) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", block)
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
    near, values = nearest_neighbours(vectors, 5, approximate=True)
    assert (near != torch.arange(300).unsqueeze(1)).all() and near.shape == values.shape == (300, 5)
    shared = [len(set(a.tolist()) & set(b.tolist())) for a, b in zip(ids, near, strict=True)]
    assert sum(shared) > 0.95 * ids.numel()
    assert torch.allclose(values[:, 0], cosines[:, 0], atol=1e-5) or sum(shared) < ids.numel()


def test_without_faiss_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(WrongUse) as said:
        nearest_neighbours(torch.eye(3), 1, approximate=True)
    assert str(said.value) == "neighbour_search: hnsw needs faiss: pip install 'recbole_mm[faiss]'"


@pytest.mark.parametrize("k", [0, 3])
def test_more_neighbours_than_vectors_are_refused(k: int) -> None:
    with pytest.raises(WrongUse) as said:
        nearest_neighbours(torch.eye(3), k)
    assert str(said.value) == f"nearest_neighbours: k is {k}, and there are 3 vectors; take 1 to N - 1"


def test_a_model_asks_for_the_search_that_its_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(neighbours, "_hnsw", lambda unit, k: asked.append(k) or neighbours._exact(unit, k))
    toy = write_toy(tmp_path)
    for model in ("FREEDOM", "LATTICE"):
        Built(model, {**toy, "graph_k": 4}).scores()
        assert not asked
        Built(model, {**toy, "graph_k": 4, "neighbour_search": "hnsw"}).scores()
        assert asked and set(asked) == {3}  # an item is the first of its own
        asked.clear()
