"""MVCNN against a plain loop over an item's views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from recbole_mm.errors import WrongUse
from recbole_mm.testing import Built, write_toy


def make(folder: Path, **settings: Any) -> Built:
    given = write_toy(folder, missing=0.4)
    genres = ["a b", "b", "", "c a c"]
    lines = [f"item{i:02d}\t{genres[i % 4]}" for i in range(30)]
    (folder / "toy" / "toy.item").write_text("item_id:token\tclass:token_seq\n" + "\n".join(lines) + "\n")
    given["load_col"] = {**given["load_col"], "item": ["item_id", "class"]}
    return Built("MVCNN", {**given, "embedding_size": 5, "map_channels": 3, "map_length": 6, **settings})


def convolve(model: Any, view: torch.Tensor) -> torch.Tensor:
    """One view ``[C, L]`` by hand: windows of three, and the larger of each two."""
    x = view
    for layer in (model.network[0], model.network[3]):
        padded = F.pad(x, (1, 1))
        windows = torch.stack([padded[:, k : k + x.shape[1]] for k in range(3)], dim=2)
        x = torch.einsum("oik,ilk->ol", layer.weight, windows) + layer.bias[:, None]
        x = x.clamp(min=0)
        x = torch.stack([x[:, a : a + 2].max(dim=1).values for a in range(0, x.shape[1], 2)], dim=1)
    return x.flatten()


@torch.no_grad()
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_id": True},
        {"modalities": ["text"], "genre_field": "class"},
        {"genre_field": "class"},
        {"modalities": []},
    ],
    ids=str,
)
def test_an_item_is_the_maximum_over_its_views(tmp_path: Path, settings: dict[str, Any]) -> None:
    built = make(tmp_path, **settings)
    model, dataset = built.model.eval(), built.train_data._dataset
    genre = pd.read_csv(tmp_path / "toy" / "toy.item", sep="\t", dtype=str, keep_default_na=False)
    tags = dict(zip(genre["item_id:token"], genre["class:token_seq"].str.split(), strict=True))
    counts = set()
    for item in range(1, dataset.item_num):
        one = torch.tensor([item])
        present = model.features.mask(one)[0]
        views = [
            model.projections[m](model.features(m, one))[0]
            for k, m in enumerate(model.modalities)
            if present[k]
        ]
        if settings.get("genre_field"):
            ids = [int(dataset.token2id("class", t)) for t in tags[str(dataset.id2token("item_id", item))]]
            views += [model.genre_maps.weight[ids].mean(0)] if ids else []
        if model.item_id is not None:
            views.append(model.item_id.weight[item])
        counts.add(len(views))
        pooled = torch.zeros(model.last.in_features)
        if views:
            pooled = torch.stack([convolve(model, v.view(3, 6)) for v in views]).max(dim=0).values
        expected = model.last(pooled)
        torch.testing.assert_close(model.encode_items(one)[0], expected, rtol=1e-4, atol=1e-6)
        scores = built.scores()[:, item - 1]
        torch.testing.assert_close(scores, model.user_id.weight[1:] @ expected, rtol=1e-4, atol=1e-6)
    if not settings:
        assert counts == {0, 1, 2}


@torch.no_grad()
def test_the_loss_is_the_cross_entropy(tmp_path: Path) -> None:
    built = make(tmp_path)
    batch = built.batch(9)
    items = torch.cat([batch["item_id"].unsqueeze(1), batch["neg_item_id"]], dim=1)
    users = built.model.user_id(batch["user_id"]).unsqueeze(1)
    scores = (users * built.model.encode_items(items.flatten()).view(*items.shape, -1)).sum(-1)
    label = torch.zeros_like(scores)
    label[:, 0] = 1
    torch.testing.assert_close(built.loss(batch), F.binary_cross_entropy_with_logits(scores, label))


def test_a_genre_field_that_is_not_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(WrongUse) as caught:
        make(tmp_path, genre_field="genres")
    assert str(caught.value) == (
        "genre_field: 'genres' is no loaded field of .item; name it in load_col: {item: [...]}"
    )
