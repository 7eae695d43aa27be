"""SLMRec against a dense graph, view by view, and its contrasts pair by pair."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from recbole_mm.modality import ModalityStore
from recbole_mm.testing import Built, write_toy

TWO = ("text", "image")


def make(folder: Path, modalities: tuple[str, ...] = TWO, **settings: Any) -> Built:
    built = Built("SLMRec", {**write_toy(folder, modalities), "embedding_size": 4, "n_layers": 2, **settings})
    generator = torch.Generator().manual_seed(3)
    for p in built.model.parameters():
        p.data = torch.randn(p.shape, generator=generator)
    return built


def starts(built: Built, folder: Path, modalities: tuple[str, ...]) -> list[Tensor]:
    """Layer 0 of the items in each view, ids first."""
    model, dataset = built.model, built.train_data._dataset
    found = [model.ids.item.weight]
    for name in modalities:
        store = ModalityStore.open(folder / "modality" / "toy" / name)
        known = dict(zip(store.tokens, torch.tensor(store.values), strict=True))
        rows = torch.zeros(model.n_items, 4)
        for item in range(1, model.n_items):
            if (token := dataset.id2token("item_id", item)) in known:
                linear, vector = model.projections[name], known[token] / known[token].norm()
                rows[item] = linear.weight @ vector + linear.bias
        found.append(rows)
    return found


def views(built: Built, items: Sequence[Tensor]) -> list[Tensor]:
    """The mean of the layers of each view, ``[U + I, d]``."""
    model, dataset = built.model, built.train_data._dataset
    n = model.n_users + model.n_items
    adjacency = torch.zeros(n, n)
    for u, i in zip(*(dataset.inter_feat[f].tolist() for f in ("user_id", "item_id")), strict=True):
        adjacency[u, model.n_users + i] = adjacency[model.n_users + i, u] = 1.0
    scale = adjacency.sum(dim=1).clamp(min=1).rsqrt()
    graph, found = scale.unsqueeze(1) * adjacency * scale, []
    for start in items:
        layer = torch.cat([model.ids.user.weight, start])
        found.append((layer + graph @ layer + graph @ (graph @ layer)) / 3)
    return found


def fused(built: Built, found: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    model, wide = built.model, torch.cat(list(found), dim=1)
    users, items = wide[: model.n_users], wide[model.n_users :]
    return model.user_fusion(users), model.item_fusion(items)


def cosine(left: Tensor, right: Tensor) -> Tensor:
    return torch.cosine_similarity(left, right, dim=0)


Similarity = Callable[[Tensor, Tensor], Tensor]
SIMILARITIES: dict[str, Similarity] = {"cosine": cosine, "product": torch.dot}


def contrast(
    left: Tensor, right: Tensor, ids: list[int], temperature: float, similarity: Similarity = cosine
) -> float:
    terms = []
    for a, own in enumerate(ids):
        powers = [
            (b == a, math.exp(float(similarity(left[a], right[b])) / temperature))
            for b, other in enumerate(ids)
            if b == a or other != own
        ]
        terms.append(-math.log(sum(p for same, p in powers if same) / sum(p for _, p in powers)))
    return sum(terms) / len(terms)


@torch.no_grad()
@pytest.mark.parametrize("modalities", [(), ("text",), ("text", "image", "audio")], ids=len)
def test_scores_are_products_of_fused_views(tmp_path: Path, modalities: tuple[str, ...]) -> None:
    built = make(tmp_path, modalities)
    users, items = fused(built, views(built, starts(built, tmp_path, modalities)))
    torch.testing.assert_close(built.scores(), (users @ items.t())[1:, 1:], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_first_loss_is_a_contrast_in_the_batch(tmp_path: Path) -> None:
    built = make(tmp_path, cl_weight=0.0)
    batch, model = built.batch(12), built.model
    users, items = fused(built, views(built, starts(built, tmp_path, TWO)))
    rows = batch["item_id"].tolist()
    assert len(set(rows)) < 12 and model.calculate_loss(batch).names == ("nce",)
    expected = contrast(users[batch["user_id"]], items[rows], rows, 0.2)
    assert built.loss(batch).item() == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("by", SIMILARITIES)
def test_fine_and_coarse_views_meet_modality_by_modality(tmp_path: Path, by: str) -> None:
    built = make(tmp_path, cl_weight=0.7, ssl_temp=5.0, ssl_similarity=by)
    model, batch = built.model, built.batch(12)
    ids, *modal = (view[model.n_users :] for view in views(built, starts(built, tmp_path, TWO)))
    rows, coarse, total = sorted(set(batch["item_id"].tolist())), ids, 0.0
    for k, view in enumerate(modal):
        coarse = model.coarse[k](coarse)
        own = [i for i in rows if model.features.present[i, k]]
        assert 1 < len(own) < len(rows)
        total += contrast(coarse[own], model.fine[k](view)[own], own, 5.0, SIMILARITIES[by])
    assert model.calculate_loss(batch)[1].item() == pytest.approx(0.7 * total, rel=1e-4)


@torch.no_grad()
def test_masked_views_start_without_ids_or_a_modality(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = make(tmp_path, ssl_task="fm", cl_weight=1.0, ssl_temp=5.0)
    batch, total, plain = built.batch(12), 0.0, starts(built, tmp_path, TWO)
    monkeypatch.setattr(torch, "randperm", lambda n: torch.tensor([2, 0, 1]))
    sides = [
        fused(built, views(built, [x * (k != left_out) for k, x in enumerate(plain)])) for left_out in (2, 0)
    ]
    for kind, field in enumerate(("user_id", "item_id")):
        rows = sorted(set(batch[field].tolist()))
        total += contrast(sides[0][kind][rows], sides[1][kind][rows], rows, 5.0, torch.dot)
    assert built.model.calculate_loss(batch)[1].item() == pytest.approx(total, rel=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("modalities", [(), TWO], ids=len)
def test_dropped_views_differ_by_dropout_alone(tmp_path: Path, modalities: tuple[str, ...]) -> None:
    built = make(
        tmp_path, modalities, ssl_task="fd", cl_weight=1.0, dropout_prob=0.0, ssl_similarity="cosine"
    )
    batch, total, model = built.batch(12), 0.0, built.model
    sides = fused(built, views(built, starts(built, tmp_path, modalities)))
    for vectors, field in zip(sides, ("user_id", "item_id"), strict=True):
        rows = sorted(set(batch[field].tolist()))
        total += contrast(vectors[rows], vectors[rows], rows, 0.2)
    assert model.train().calculate_loss(batch)[1].item() == pytest.approx(total, rel=1e-4)
    model.dropout_prob = 0.5
    assert model.calculate_loss(batch)[1].item() > total
    assert model.eval().calculate_loss(batch)[1].item() == pytest.approx(total, rel=1e-4)


def test_a_task_of_modalities_without_any_is_said(tmp_path: Path) -> None:
    built = make(tmp_path, ())
    assert built.model.calculate_loss(built.batch(12)).names == ("nce",)
    assert built.model.without_effect() == [
        "SLMRec: ssl_task: fac needs a modality, so cl_weight has no effect"
    ]
