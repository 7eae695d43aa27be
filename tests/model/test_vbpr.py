"""VBPR against its formula, pair by pair."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from recbole_mm.modality import ModalityStore
from recbole_mm.testing import Built, write_toy


def make(folder: Path, modalities: list[str], **settings: Any) -> tuple[Built, dict[str, dict[str, Tensor]]]:
    """The model, every weight random (the bias starts at 0), and the vectors by modality and token."""
    built = Built("VBPR", {**write_toy(folder, modalities), "embedding_size": 8, **settings})
    generator = torch.Generator().manual_seed(2)
    for p in built.model.parameters():
        p.data = torch.randn(p.shape, generator=generator) / 2
    vectors = {}
    for name in modalities:
        store = ModalityStore.open(folder / "modality" / "toy" / name)
        vectors[name] = dict(zip(store.tokens, torch.tensor(store.values), strict=True))
    return built, vectors


def naive_score(built: Built, vectors: dict[str, dict[str, Tensor]], user: int, item: int) -> Tensor:
    """β_i + γ_u·γ_i + θ_u·Σ E_m f_i^m + Σ β_m'·f_i^m over the modalities the item has."""
    model, token = built.model, str(built.train_data._dataset.id2token("item_id", item))
    score = model.item_bias.weight[item, 0] + model.user_id.weight[user] @ model.item_id.weight[item]
    for name, known in vectors.items():
        if token in known:
            matrix, bias = model.content[name].weight[:-1], model.content[name].weight[-1]
            score = score + model.user_taste.weight[user] @ (matrix @ known[token]) + bias @ known[token]
    return score


@torch.no_grad()
@pytest.mark.parametrize("modalities", [[], ["text"], ["text", "image", "audio"]], ids=len)
def test_scores_are_the_formula(tmp_path: Path, modalities: list[str]) -> None:
    built, vectors = make(tmp_path, modalities)
    scores = built.scores()
    n_users, n_items = built.model.n_users, built.model.n_items
    expected = [[naive_score(built, vectors, u, i) for i in range(1, n_items)] for u in range(1, n_users)]
    torch.testing.assert_close(
        scores, torch.stack([torch.stack(row) for row in expected]), rtol=1e-4, atol=1e-5
    )


@torch.no_grad()
def test_the_item_bias_is_in_the_score(tmp_path: Path) -> None:
    assert not Built("VBPR", write_toy(tmp_path / "new")).model.item_bias.weight.any()
    built, _ = make(tmp_path, ["text"])
    before = built.scores()
    built.model.item_bias.weight[3] += 2.0
    built.model.forget_cached()
    change = built.scores() - before
    torch.testing.assert_close(change[:, 2], torch.full((len(change),), 2.0))
    assert not torch.cat([change[:, :2], change[:, 3:]], dim=1).any()


@torch.no_grad()
@pytest.mark.parametrize("n_negatives", [1, 3])
def test_loss_is_bpr_over_the_triples(tmp_path: Path, n_negatives: int) -> None:
    sampling = {"distribution": "uniform", "sample_num": n_negatives}
    built, vectors = make(tmp_path, ["text", "image"], reg_weight=0.0, train_neg_sample_args=sampling)
    batch, terms = built.batch(10), []
    for u, i, negatives in zip(
        *(batch[f].tolist() for f in ("user_id", "item_id", "neg_item_id")), strict=True
    ):
        positive = naive_score(built, vectors, u, i).item()
        terms += [
            math.log1p(math.exp(naive_score(built, vectors, u, n).item() - positive)) for n in negatives
        ]
    assert len(terms) == 10 * n_negatives
    assert built.loss(batch).item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)


@torch.no_grad()
def test_regularisation_is_half_the_square_per_positive(tmp_path: Path) -> None:
    built, _ = make(tmp_path, ["text"], reg_weight=0.0)
    batch, model = built.batch(10), built.model
    plain = built.loss(batch).item()
    model.reg_weight = 0.3
    squares = 0.0
    for u, i, negatives in zip(
        *(batch[f].tolist() for f in ("user_id", "item_id", "neg_item_id")), strict=True
    ):
        for vector in (
            model.user_id.weight[u],
            model.user_taste.weight[u],
            model.item_id.weight[i],
        ):
            squares += vector.square().sum().item()
        squares += model.item_id.weight[negatives].square().sum().item() / len(negatives)
    assert built.loss(batch).item() - plain == pytest.approx(0.3 * squares / 2 / 10, rel=1e-4)


def test_without_modalities_it_is_matrix_factorisation(tmp_path: Path) -> None:
    built, _ = make(tmp_path, [])
    assert {name.split(".")[0] for name, _ in built.model.named_parameters()} == {
        "user_id",
        "item_id",
        "item_bias",
    }


def test_matrices_on_features_can_have_their_own_learning_rate(tmp_path: Path) -> None:
    built, _ = make(tmp_path, ["text", "image"], feature_learning_rate=0.5)
    groups = {g["lr"]: {id(p) for p in g["params"]} for g in built.model.parameter_groups(0.01)}
    assert groups[0.5] == {id(p) for p in built.model.content.parameters()}
    assert groups[0.01] == {id(p) for p in built.model.parameters()} - groups[0.5]
