"""LATTICE against its formula, node by node and pair by pair."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.model.naive_graph import NaiveGraph, softplus


def make(folder: Path, modalities: list[str], **settings: Any) -> NaiveGraph:
    return NaiveGraph("LATTICE", folder, modalities, **{"graph_k": 3, "frozen_share": 0.6, **settings})


def nodes(naive: NaiveGraph, frozen_share: float = 0.6, layers: int = 1) -> tuple[np.ndarray, np.ndarray]:
    users, items = naive.lightgcn(naive.adjacency(), 2)
    names = list(naive.vectors)
    if not names or not layers:
        return users, items
    logits = naive.weight("modality_logits") if len(names) > 1 else np.zeros(1)
    walk = np.zeros((naive.n_items, naive.n_items))
    for k, name in enumerate(names):
        known = naive.vectors[name]
        graph = frozen_share * naive.similar(known, 3, binary=False)
        if frozen_share < 1:
            projected = {i: naive.linear(f"learned.{k}.projection", x) for i, x in known.items()}
            graph = graph + (1 - frozen_share) * naive.similar(projected, 3, binary=False)
        for i in known:
            total = sum(math.exp(logits[n]) for n, other in enumerate(names) if i in naive.vectors[other])
            walk[i] += math.exp(logits[k]) / total * graph[i]
    hidden = naive.weight("ids.item.weight")
    for _ in range(layers):
        hidden = walk @ hidden
    length = np.linalg.norm(hidden, axis=1, keepdims=True)
    return users, items + hidden / np.where(length > 0, length, 1.0)


@pytest.mark.parametrize(
    ("modalities", "frozen_share", "layers"),
    [
        ([], 0.6, 1),
        (["text"], 0.6, 1),
        (["text", "image"], 0.6, 1),
        (["text", "image", "audio"], 0.0, 2),
        (["text", "image"], 1.0, 1),
        (["text", "image"], 0.6, 0),
    ],
)
def test_scores_are_the_formula(
    tmp_path: Path, modalities: list[str], frozen_share: float, layers: int
) -> None:
    naive = make(tmp_path, modalities, frozen_share=frozen_share, n_item_layers=layers)
    users, items = nodes(naive, frozen_share, layers)
    found = naive.built.scores(torch.arange(1, 6)).double().numpy()
    np.testing.assert_allclose(found, users[1:6] @ items[1:].T, rtol=1e-4, atol=1e-4)
    assert len(naive.model.learned) == (len(modalities) if frozen_share < 1 and layers else 0)


@torch.no_grad()
@pytest.mark.parametrize("n_negatives", [1, 3])
def test_loss_is_bpr_and_half_the_squares(tmp_path: Path, n_negatives: int) -> None:
    sampling = {"distribution": "uniform", "sample_num": n_negatives}
    naive = make(tmp_path, ["text", "image"], train_neg_sample_args=sampling, reg_weight=0.3)
    batch = naive.built.batch(5)
    naive.model.train()
    users, items = nodes(naive)
    terms, squares = [], 0.0
    for u, i, negatives in naive.rows(batch):
        terms += [softplus(users[u] @ items[n] - users[u] @ items[i]) for n in negatives]
        squares += sum(float(x @ x) for x in (users[u], items[i]))
        squares += sum(float(items[n] @ items[n]) for n in negatives) / len(negatives)
    expected = sum(terms) / len(terms) + 0.3 * squares / 2 / 5
    assert naive.built.loss(batch).item() == pytest.approx(expected, rel=1e-4)


def test_neighbours_are_chosen_once_an_epoch_and_weighted_in_each_step(tmp_path: Path) -> None:
    naive = make(tmp_path, ["text"])
    model, batches = naive.model, list(naive.built.train_data)
    model.train()
    (graph,) = model.learned
    for epoch in (0, 1):
        chosen = []
        for batch in batches:
            graph.forget()  # as a run that is resumed
            edges, weights = graph(model.features, model.clock)
            chosen.append((edges.sender.tolist(), weights.tolist()))
            model.calculate_loss(batch)
            with torch.no_grad():
                graph.projection.weight += torch.randn_like(graph.projection.weight)
        assert all(edges == chosen[0][0] for edges, _ in chosen)
        assert chosen[0][1] != chosen[1][1] and int(graph.chosen_in) == epoch
    first = chosen[0][0]
    model.eval()
    assert graph(model.features, model.clock)[0].sender.tolist() != first


def test_projections_learn_in_every_step(tmp_path: Path) -> None:
    naive = make(tmp_path, ["text", "image"], reg_weight=0.0)
    naive.model.train()
    for batch in list(naive.built.train_data)[:2]:
        naive.model.zero_grad()
        naive.built.loss(batch).backward()
        assert all(bool(graph.projection.weight.grad.any()) for graph in naive.model.learned)
        assert bool(naive.model.modality_logits.grad.any())


def test_a_score_is_the_sum_of_its_parts(tmp_path: Path) -> None:
    naive = make(tmp_path, ["text", "image"])
    users, items = torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6])
    scores = naive.built.scores(users)
    with torch.no_grad():
        parts = naive.model.score_parts(users, items)["item"]
    assert list(parts) == ["id", "similar items"]
    torch.testing.assert_close(sum(parts.values()), scores[torch.arange(3), items - 1])
