"""MMCPR against its formulas, user by user and item by item; its switches; no review of another part."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_cmc_reviews import WIDTH, write_reviews
from torch import Tensor

from recbole_mm.modality import ModalityStore, review_key
from recbole_mm.testing import Built, write_toy

SMALL = {"embedding_size": 6, "graph_k": 3, "min_common": 2}
FIVE = [1, 4, 7, 12, 20]


def make(folder: Path, reviews: bool = True, changed: str | None = None, **settings: Any) -> Built:
    written = write_toy(folder)
    if reviews:
        write_reviews(folder, changed=changed)
    built = Built("MMCPR", {**written, **SMALL, **settings})
    generator = torch.Generator().manual_seed(4)
    for parameter in built.model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 2
    return built


def naive_graph(built: Built, kind: str, layers: int) -> list[list[float]]:
    """The mean of the layers, from the pairs of the training rows one by one."""
    feat = built.train_data._dataset.inter_feat
    other = {"user": "item", "item": "user"}[kind]
    table = getattr(built.model, f"{kind}_id").weight.detach().double()
    n = len(table)
    met: list[set[int]] = [set() for _ in range(n)]
    for node, one in zip(feat[f"{kind}_id"].tolist(), feat[f"{other}_id"].tolist(), strict=True):
        met[node].add(one)
    weight = torch.zeros(n, n, dtype=torch.double)
    for i in range(n):
        for j in range(n):
            common = len(met[i] & met[j])
            if i != j and common >= SMALL["min_common"]:
                root = math.sqrt(len(met[i]) * len(met[j]))
                weight[i, j] = (math.log(common) + 1) / (math.log(root) + 1)
    kept = torch.zeros_like(weight)
    for i in range(n):
        for j in sorted(range(n), key=lambda j: (-weight[i, j], j))[: SMALL["graph_k"]]:
            if weight[i, j]:
                kept[i, j] = kept[j, i] = weight[i, j]
    degree = kept.sum(1)
    found = [table]
    for _ in range(layers):
        rows = [
            sum(
                (
                    kept[i, j] / math.sqrt(degree[i] * degree[j]) * found[-1][j]
                    for j in range(n)
                    if kept[i, j]
                ),
                torch.zeros(table.shape[1], dtype=torch.double),
            )
            for i in range(n)
        ]
        found.append(torch.stack(rows))
    return sum(found) / len(found)


def linear(layer: Any, x: Tensor) -> Tensor:
    return layer.weight @ x + (0 if layer.bias is None else layer.bias)


def naive_aggregate(how: Any, name: str, positions: list[Tensor | None]) -> Tensor:
    """Attention, mean or concatenation over the positions that are there."""
    there = [p for p in positions if p is not None]
    if name == "mean" or len(positions) == 1:
        return sum(there) / len(there)
    if name == "concat":
        width = len(there[0])
        return linear(how.map, torch.cat([torch.zeros(width) if p is None else p for p in positions]))
    total = torch.zeros_like(there[0])
    for asking in there:
        query = how.query.weight @ asking
        weights = [math.exp(float(query @ (how.key.weight @ p)) / math.sqrt(len(p))) for p in there]
        for weight, p in zip(weights, there, strict=True):
            total += weight / sum(weights) * (how.value.weight @ p)
    return total / len(there)


def naive_user(built: Built, folder: Path, user: int, settings: dict[str, Any], graph: Tensor) -> Tensor:
    model, dataset = built.model, built.train_data._dataset
    if model.reviews is None:
        return graph[user].float()
    store = ModalityStore.open(folder / "modality/toy.reviews/text")
    known = dict(zip(store.tokens, torch.tensor(np.array(store.values)), strict=True))
    token = {kind: dataset.field2id_token[f"{kind}_id"] for kind in ("user", "item")}
    feat, written = dataset.inter_feat, []
    for k in range(len(feat)):
        key = review_key(token["user"][user], token["item"][feat["item_id"][k]])
        if feat["user_id"][k] == user and key in known:
            written.append(linear(model.review_projection, known[key]))
    review = None
    if written and settings.get("intra_agg") == "mean":
        review = sum(written) / len(written)
    elif written:
        first, _, query = model.intra.score
        logits = [math.exp(float(query.weight[0] @ torch.tanh(linear(first, r)))) for r in written]
        review = sum(weight / sum(logits) * r for weight, r in zip(logits, written, strict=True))
    agg = settings.get("inter_agg", "attention")
    return naive_aggregate(model.user_agg, agg, [review, graph[user].float()])


def naive_modal(built: Built, item: int) -> list[Tensor | None]:
    model, found = built.model, []
    for name in model.modalities:
        k = model.features.names.index(name)
        there = bool(model.features.present[item, k])
        found.append(
            linear(model.projections[name], model.features(name, torch.tensor([item]))[0]) if there else None
        )
    return found


SWITCHES: list[dict[str, Any]] = [
    {},
    {"intra_agg": "mean", "inter_agg": "mean"},
    {"inter_agg": "concat"},
    {"use_review": False},
    {"modalities": ["image"]},  # reviews need no text of the items
    {"modalities": []},
    {"use_user_graph": False, "use_item_graph": False},
    {"use_text": False},
    {"use_image": False},
    {"use_text": False, "use_image": False, "use_review": False},
]


@torch.no_grad()
@pytest.mark.parametrize("settings", SWITCHES, ids=str)
def test_vectors_and_scores_are_the_formula(tmp_path: Path, settings: dict[str, Any]) -> None:
    built = make(tmp_path, **settings)
    model = built.model
    layers = {kind: 2 if settings.get(f"use_{kind}_graph", True) else 0 for kind in ("user", "item")}
    graphs = {kind: naive_graph(built, kind, n) for kind, n in layers.items()}
    users = torch.stack([naive_user(built, tmp_path, u, settings, graphs["user"]) for u in FIVE])
    agg = settings.get("inter_agg", "attention")
    items = torch.stack(
        [
            naive_aggregate(model.item_agg, agg, [*naive_modal(built, i), graphs["item"][i].float()])
            for i in FIVE
        ]
    )
    near = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(model.encode_items(torch.tensor(FIVE)), items, **near)
    torch.testing.assert_close(model.user_vectors(torch.tensor(FIVE))[:, 0], users, **near)
    scores = built.scores(torch.tensor(FIVE))[:, [i - 1 for i in FIVE]]
    torch.testing.assert_close(scores, users @ items.T, **near)
    handed = model.pretrained()
    torch.testing.assert_close(handed["users"]["z"][0][FIVE], users, **near)
    torch.testing.assert_close(handed["items"]["z"][0][FIVE], items, **near)


@torch.no_grad()
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_loss_is_the_formula(tmp_path: Path, weight: float) -> None:
    built = make(tmp_path, cl_weight=weight, temperature=0.5)
    model, batch = built.model.train(), built.batch(5)
    terms = model.calculate_loss(batch)
    assert terms.names == (("bce", "contrast") if weight else ("bce",))
    users, items, negatives = (batch[f] for f in ("user_id", "item_id", "neg_item_id"))
    losses = []
    for b in range(5):
        z_u = model.user_vectors(users[b : b + 1])[0, 0]
        for item, sign in [(items[b], -1), *((i, 1) for i in negatives[b])]:
            losses.append(math.log1p(math.exp(sign * float(z_u @ model.encode_items(item.view(1))[0]))))
    assert terms[0].item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    if weight:
        modal = [naive_modal(built, i) for i in sorted(set(items.tolist()))]
        pairs = [pair for pair in modal if pair[0] is not None and pair[1] is not None]
        total = 0.0
        for a, b in ((0, 1), (1, 0)):
            for k, pair in enumerate(pairs):
                cosines = [float(torch.cosine_similarity(pair[a], other[b], dim=0)) / 0.5 for other in pairs]
                total += math.log(sum(map(math.exp, cosines))) - cosines[k]
        assert terms[1].item() == pytest.approx(weight * total / len(pairs) / 2, rel=1e-4)


def test_no_validation_or_test_review_enters(tmp_path: Path) -> None:
    trained = {}
    for changed in (None, "valid", "test", "train"):
        folder = tmp_path / str(changed)
        built = make(folder, changed=changed, epochs=1).fit()
        with torch.no_grad():
            trained[changed] = built.model.eval().pretrained()["users"]["z"][0]
    assert torch.equal(trained[None], trained["valid"]) and torch.equal(trained[None], trained["test"])
    assert not torch.equal(trained[None], trained["train"])
    assert WIDTH == 6


def test_it_is_validated_by_its_loss_on_validation_rows(tmp_path: Path) -> None:
    built = make(tmp_path, reviews=False, epochs=1).fit()
    batches = built.train_data.held_out(built.valid_data)
    pairs = {
        (u, i) for b in batches for u, i in zip(b["user_id"].tolist(), b["item_id"].tolist(), strict=True)
    }
    feat = built.valid_data._dataset.inter_feat
    assert pairs == set(zip(feat["user_id"].tolist(), feat["item_id"].tolist(), strict=True))
    seen = built.train_data._dataset.inter_feat
    train = set(zip(seen["user_id"].tolist(), seen["item_id"].tolist(), strict=True))
    drawn = {
        (u, i)
        for b in batches
        for u, row in zip(b["user_id"].tolist(), b["neg_item_id"].tolist(), strict=True)
        for i in row
    }
    assert not drawn & train
    again = built.train_data.held_out(built.valid_data)
    assert all(torch.equal(a["neg_item_id"], b["neg_item_id"]) for a, b in zip(batches, again, strict=True))
    assert list(built.trainer.history[0]["valid"]) == ["held_out_loss", "bce", "contrast"]


def test_what_the_data_have_nothing_for_is_said(tmp_path: Path) -> None:
    built = make(tmp_path, reviews=False, use_image=False)
    assert built.model.without_effect() == [
        "MMCPR: there are no reviews of these interactions, so use_review has no effect",
        "MMCPR: the contrast of modalities needs two of them, so cl_weight has no effect",
    ]
    assert make(tmp_path / "b").model.without_effect() == []
