"""BM3 against its formula, pair by pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.model.naive_graph import NaiveGraph, cosine


def vectors(naive: NaiveGraph, n_layers: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """h of users and items."""
    users, items = naive.lightgcn(naive.adjacency(), n_layers)
    return users, items + naive.weight("ids.item.weight")


@torch.no_grad()
@pytest.mark.parametrize("modalities", [[], ["text", "image"]], ids=len)
def test_scores_are_the_products_of_what_is_predicted(tmp_path: Path, modalities: list[str]) -> None:
    naive = NaiveGraph("BM3", tmp_path, modalities, n_layers=2)
    users, items = (np.stack([naive.linear("predictor", x) for x in each]) for each in vectors(naive))
    found = naive.built.scores(torch.arange(1, 6)).double().numpy()
    np.testing.assert_allclose(found, users[1:6] @ items[1:].T, rtol=1e-4, atol=1e-4)


def naive_loss(naive: NaiveGraph, batch: Any, modal_weight: float, reg_weight: float) -> list[float]:
    """The terms without dropout."""
    users, items = vectors(naive)
    predict = lambda x: naive.linear("predictor", x)  # noqa: E731
    rec, by_modality = [], {m: [] for m in naive.vectors}
    for u, i in zip(batch["user_id"].tolist(), batch["item_id"].tolist(), strict=True):
        rec.append(1 - cosine(predict(users[u]), items[i]) + 1 - cosine(predict(items[i]), users[u]))
        for m, known in naive.vectors.items() if modal_weight else ():
            if i in known:
                modal = naive.linear(f"projections.{m}", known[i])
                by_modality[m].append(
                    1 - cosine(predict(modal), items[i]) + 1 - cosine(predict(modal), modal)
                )
    terms = [sum(rec) / len(rec)]
    if naive.vectors and modal_weight:
        terms.append(modal_weight * sum(sum(each) / len(each) for each in by_modality.values() if each))
    if reg_weight:
        norms = [np.sqrt(sum(float(x @ x) for x in each)) for each in (users, items)]
        terms.append(reg_weight * sum(norms) / naive.n_items)
    return terms


@torch.no_grad()
@pytest.mark.parametrize(
    ("modalities", "modal_weight", "reg_weight", "names"),
    [
        ([], 2.0, 0.1, ("rec", "reg")),
        (["text"], 2.0, 0.0, ("rec", "modal")),
        (["text", "image", "audio"], 0.7, 0.3, ("rec", "modal", "reg")),
        (["text", "image"], 0.0, 0.0, ("rec",)),
    ],
)
def test_loss_is_the_formula(
    tmp_path: Path, modalities: list[str], modal_weight: float, reg_weight: float, names: tuple[str, ...]
) -> None:
    settings = {"modal_weight": modal_weight, "reg_weight": reg_weight, "dropout_prob": 0.0, "n_layers": 2}
    naive = NaiveGraph("BM3", tmp_path, modalities, **settings)
    batch = naive.built.batch(7)
    assert "neg_item_id" not in batch.interaction
    naive.model.train()
    losses = naive.model.calculate_loss(batch)
    expected = naive_loss(naive, batch, modal_weight, reg_weight)
    assert losses.names == names
    assert [loss.item() for loss in losses] == pytest.approx(expected, rel=1e-4)


def test_what_is_pulled_to_has_no_gradient_and_is_dropped_in_training_alone(tmp_path: Path) -> None:
    naive = NaiveGraph("BM3", tmp_path, ["text"], dropout_prob=0.5)
    rows = torch.ones(200, 8, requires_grad=True)
    naive.model.train()
    target = naive.model._target(rows)
    assert not target.requires_grad and 0.4 < float((target == 0).float().mean()) < 0.6
    naive.model.eval()
    assert naive.model._target(rows).equal(rows)
    batch = naive.built.batch(7)
    naive.model.train()
    assert naive.built.loss(batch) != naive.built.loss(batch)
