"""MGCN against its formula, node by node and pair by pair."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.model.naive_graph import NaiveGraph, cosine, softplus


def make(folder: Path, modalities: list[str], **settings: Any) -> NaiveGraph:
    return NaiveGraph("MGCN", folder, modalities, **{"graph_k": 3, **settings})


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def of_modality(naive: NaiveGraph, k: int, name: str, layers: int) -> dict[int, np.ndarray]:
    """One modality's vectors by node (users, then items) that has it."""
    ids, known = naive.weight("ids.item.weight"), naive.vectors[name]
    pure = np.zeros_like(ids)
    for i, x in known.items():
        pure[i] = ids[i] * sigmoid(naive.linear(f"purifiers.{k}.1", naive.linear(f"purifiers.{k}.0", x)))
    for _ in range(layers):
        pure = naive.similar(known, 3, binary=False) @ pure
    found = {naive.n_users + i: pure[i] for i in known}
    users = [sum(a == u for a, _ in naive.pairs) for u in range(naive.n_users)]
    items = [sum(b == i for _, b in naive.pairs) for i in range(naive.n_items)]
    for u, i in naive.pairs:
        if i in known:
            found[u] = found.get(u, 0) + pure[i] / math.sqrt(users[u] * items[i])
    return found


def nodes(naive: NaiveGraph, layers: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The ids' part and v of users, then items."""
    behaviour = np.concatenate(naive.lightgcn(naive.adjacency(), 2))
    modal = [of_modality(naive, k, name, layers) for k, name in enumerate(naive.vectors)]
    fused = np.zeros_like(behaviour)
    for n in range(len(behaviour)):
        has = [k for k in range(len(modal)) if n in modal[k]]
        if not has:
            continue
        weight = dict.fromkeys(has, 1.0)
        if len(modal) > 1:
            q = naive.weight("attention.2.weight")[0]
            weight = {k: math.exp(q @ np.tanh(naive.linear("attention.0", modal[k][n]))) for k in has}
        shared = sum(weight[k] * modal[k][n] for k in has) / sum(weight.values())
        own = sum(
            (modal[k][n] - shared) * sigmoid(naive.linear(f"preferences.{k}.0", behaviour[n])) for k in has
        )
        fused[n] = (shared + own) / (len(has) + 1)
    return behaviour, fused


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("modalities", [[], ["text"], ["text", "image", "audio"]], ids=len)
def test_scores_are_the_formula(tmp_path: Path, modalities: list[str], layers: int) -> None:
    naive = make(tmp_path, modalities, n_item_layers=layers)
    vectors = sum(nodes(naive, layers))
    expected = vectors[1:6] @ vectors[naive.n_users + 1 :].T
    found = naive.built.scores(torch.arange(1, 6)).double().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def contrast(left: np.ndarray, right: np.ndarray, rows: list[int], temperature: float) -> float:
    """Of each row with its own, others of the batch that are not the same node as negatives."""
    terms = []
    for n in rows:
        others = [math.exp(cosine(left[n], right[m]) / temperature) for m in rows if m != n]
        own = math.exp(cosine(left[n], right[n]) / temperature)
        terms.append(-math.log(own / (own + sum(others))))
    return sum(terms) / len(terms)


@torch.no_grad()
@pytest.mark.parametrize("n_negatives", [1, 3])
def test_loss_is_the_formula(tmp_path: Path, n_negatives: int) -> None:
    sampling = {"distribution": "uniform", "sample_num": n_negatives}
    settings = {"train_neg_sample_args": sampling, "cl_weight": 0.3, "reg_weight": 0.2, "temperature": 0.4}
    naive = make(tmp_path, ["text", "image"], **settings)
    batch = naive.built.batch(12)
    naive.model.train()
    behaviour, fused = nodes(naive)
    vectors, first = behaviour + fused, naive.n_users
    terms, squares = [], 0.0
    for u, i, negatives in naive.rows(batch):
        user, item = vectors[u], vectors[first + i]
        terms += [softplus(user @ vectors[first + n] - user @ item) for n in negatives]
        squares += float(user @ user + item @ item)
        squares += sum(float(vectors[first + n] @ vectors[first + n]) for n in negatives) / len(negatives)
    users, items = [u for u, _, _ in naive.rows(batch)], [first + i for _, i, _ in naive.rows(batch)]
    assert len(set(items)) < 12
    nce = sum(contrast(fused, behaviour, rows, 0.4) for rows in (users, items))
    expected = [sum(terms) / len(terms), 0.3 * nce, 0.2 * squares / 2 / 12]
    found = naive.model.calculate_loss(batch)
    assert found.names == ("bpr", "contrast", "reg")
    assert [loss.item() for loss in found] == pytest.approx(expected, rel=1e-4)


def test_the_contrast_moves_both_of_its_sides(tmp_path: Path) -> None:
    """Its gradient by the ids is its slope, so it stops on neither side."""
    naive = make(tmp_path, ["text", "image"], cl_weight=1.0, temperature=0.4)
    batch, ids = naive.built.batch(12), naive.model.ids.user.weight
    naive.model.train()

    def contrast_of_batch() -> Tensor:
        terms = naive.model.calculate_loss(batch)
        return terms[terms.names.index("contrast")]

    (gradient,) = torch.autograd.grad(contrast_of_batch(), ids)
    step, ends = 0.01 * gradient / gradient.norm(), []
    with torch.no_grad():
        for move in (step, -2 * step):
            ids += move
            ends.append(contrast_of_batch().item())
    assert (ends[0] - ends[1]) / 0.02 == pytest.approx(gradient.norm().item(), rel=0.02)


def test_without_weights_there_is_bpr_alone(tmp_path: Path) -> None:
    naive = make(tmp_path, ["text"], cl_weight=0.0, reg_weight=0.0)
    assert naive.model.calculate_loss(naive.built.batch(5)).names == ("bpr",)
    without = make(tmp_path / "b", [], reg_weight=0.0)
    assert without.model.calculate_loss(without.built.batch(5)).names == ("bpr",)


def test_a_score_is_the_sum_of_its_parts(tmp_path: Path) -> None:
    naive = make(tmp_path, ["text", "image"])
    users, items = torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6])
    scores = naive.built.scores(users)
    with torch.no_grad():
        parts = naive.model.score_parts(users, items)["item"]
    assert list(parts) == ["id", "modalities"]
    torch.testing.assert_close(sum(parts.values()), scores[torch.arange(3), items - 1])
