"""ContentKNN against its formula, pair by pair, and against RecBole's ItemKNN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_mm.errors import WrongUse
from recbole_mm.modality import ModalityStore
from recbole_mm.model import contentknn
from recbole_mm.testing import Built, write_toy


def make(folder: Path, modalities: tuple[str, ...] = ("text", "image"), **settings: Any) -> Built:
    return Built("ContentKNN", {**write_toy(folder, modalities), "shrink": 0.0, **settings})


def naive_scores(built: Built, folder: Path, modalities: tuple[str, ...]) -> np.ndarray:
    """[U, I], by loops over users, items and what the users took."""
    model, dataset = built.model, built.train_data._dataset
    users, items = (dataset.inter_feat[f].tolist() for f in ("user_id", "item_id"))
    taken = {u: {i for v, i in zip(users, items, strict=True) if v == u} for u in range(model.n_users)}
    takers = {i: {u for u in taken if i in taken[u]} for i in range(model.n_items)}
    contents = []
    for name in modalities:
        store = ModalityStore.open(folder / "modality" / "toy" / name)
        vectors = dict(zip(store.tokens, np.array(store.values, dtype=float), strict=True))
        of_items = {
            i: vectors[t] for i in range(1, model.n_items) if (t := dataset.id2token("item_id", i)) in vectors
        }
        mean = np.mean(list(of_items.values()), axis=0)
        contents.append({i: v - mean for i, v in of_items.items()})
    w, similarity = model.content_weight, np.zeros((model.n_items, model.n_items))
    for i in range(1, model.n_items):
        for j in range(1, model.n_items):
            if i == j or not takers[j]:
                continue
            both = [c for c in contents if i in c and j in c]
            cosines = [c[i] @ c[j] / np.linalg.norm(c[i]) / np.linalg.norm(c[j]) for c in both]
            common, sizes = len(takers[i] & takers[j]), len(takers[i]) * len(takers[j])
            together = common / (sizes**0.5 + model.shrink) if sizes else 0.0
            similarity[i, j] = w * (np.mean(cosines) if both else 0.0) + (1 - w) * together
        order = np.argsort(-similarity[i])
        similarity[i, order[model.k :]] = 0.0
    similarity[similarity < 0] = 0.0
    return np.array([[sum(row[j] for j in taken[u]) for row in similarity] for u in taken])


@pytest.mark.parametrize(
    ("modalities", "weight", "k"),
    [
        (("text",), 1.0, 6),
        (("text",), 1.0, 29),  # unlike ones, too
        (("text", "image", "audio"), 1.0, 6),
        (("text", "image", "audio"), 0.4, 6),
    ],
)
def test_scores_are_the_formula(tmp_path: Path, modalities: tuple[str, ...], weight: float, k: int) -> None:
    built = make(tmp_path, modalities, k=k, content_weight=weight, shrink=2.0)
    expected = naive_scores(built, tmp_path, modalities)
    np.testing.assert_allclose(built.scores(), expected[1:, 1:], atol=1e-5)


def test_an_item_that_nobody_took_is_scored_and_is_no_neighbour(tmp_path: Path) -> None:
    built = make(tmp_path, k=6)
    model = built.model
    kept = model.interactions.tolil()
    kept[:, 3] = 0.0
    model.interactions = kept.tocsr().astype(np.float32)
    assert built.scores()[:, 2].any() and not model.neighbours().tocsr()[3].nnz


@pytest.mark.parametrize("shrink", [0.0, 5.0])
def test_without_content_it_is_itemknn(tmp_path: Path, shrink: float) -> None:
    built = make(tmp_path / "a", k=29, content_weight=0.0, shrink=shrink)  # all items: no tie is broken
    theirs = Built("ItemKNN", {**write_toy(tmp_path / "b"), "k": 29, "shrink": shrink})
    torch.testing.assert_close(built.scores(), theirs.scores(), rtol=1e-5, atol=1e-5)


def test_a_pair_taken_twice_counts_once(tmp_path: Path) -> None:
    given = {**write_toy(tmp_path), "content_weight": 0.3}
    once = Built("ContentKNN", given).scores()
    file = tmp_path / "toy" / "toy.inter"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:6], *lines[1:]]) + "\n")
    assert torch.equal(Built("ContentKNN", given).scores(), once)


def test_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make(tmp_path / "a", k=6, content_weight=0.4).scores()
    monkeypatch.setattr(contentknn, "BLOCK_BYTES", 16 * 31 * 7)  # seven items at once
    torch.testing.assert_close(make(tmp_path / "b", k=6, content_weight=0.4).scores(), whole)


def test_someone_with_the_items_of_a_user_scores_as_the_user(tmp_path: Path) -> None:
    built = make(tmp_path, k=6)
    items = torch.from_numpy(built.model.interactions[7].indices.astype(np.int64))
    scores = built.model.score_history(torch.cat([items, items[:1]]))
    torch.testing.assert_close(scores[1:], built.scores(torch.tensor([7]))[0])


def test_nothing_to_compare_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WrongUse) as caught:
        make(tmp_path / "a", ())
    assert str(caught.value) == (
        "ContentKNN: content_weight is 1 and there is no modality, so nothing is left to compare"
    )
    said = make(tmp_path / "b", (), content_weight=0.5).model.without_effect()
    assert said == ["ContentKNN: there is no modality, so content_weight only scales the similarities"]
