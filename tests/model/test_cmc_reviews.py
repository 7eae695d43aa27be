"""CMC with users described by their training reviews: the formula, the contract, and no review of another part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from naive_cmc import NaiveCMC

from recbole_mm.config import Config
from recbole_mm.data import create_dataset, data_preparation
from recbole_mm.errors import WrongUse
from recbole_mm.modality import SEPARATOR, ModalityStore, find_stores, review_key
from recbole_mm.testing import MODALITIES, Built, ModelContract, write_toy

WIDTH = MODALITIES["text"]


def write_reviews(
    folder: Path, *, changed: str | None = None, encoder: str = "toy", width: int = WIDTH
) -> Path:
    """A review for three rows in four of the toy set; those of the part ``changed`` are others."""
    frame = pd.read_csv(folder / "toy" / "toy.inter", sep="\t", dtype=str)
    rng, other = np.random.default_rng(5), np.random.default_rng(6)
    values = rng.standard_normal((len(frame), width)).astype(np.float32)
    rubbish = 100 * other.standard_normal(values.shape).astype(np.float32)
    swapped = (frame["part:token"] == changed).to_numpy()
    values[swapped] = rubbish[swapped]
    kept = np.arange(len(frame)) % 4 != 0
    tokens = np.array(list(map(review_key, frame["user_id:token"], frame["item_id:token"])), dtype=object)
    path = folder / "modality" / "toy.reviews" / "text"
    ModalityStore.write(path, values[kept], tokens[kept], modality="text", encoder=encoder, overwrite=True)
    return path


def make(folder: Path, domains: int = 2, modalities: Sequence[str] = ("text", "image"), **more: Any) -> Built:
    changed = more.pop("changed", None)
    toy = write_toy(folder, modalities, domains=domains)
    write_reviews(folder, changed=changed)
    return Built("CMC", {**toy, "embedding_size": 8, "user_text": "reviews", **more})


class WithReviews(ModelContract):
    model = "CMC"
    settings = {"user_text": "reviews"}  # noqa: RUF012

    def _toy(self, folder: Path, modalities: Sequence[str] = ("text", "image"), **toy: Any) -> dict[str, Any]:
        written = super()._toy(folder, modalities, **toy)
        write_reviews(folder)
        return written


class TestCMCWithReviews(WithReviews):
    pass


class TestCMCWithReviewsOn3Domains(WithReviews):
    domains = 3


del ModelContract, WithReviews  # else pytest collects them too


@torch.no_grad()
@pytest.mark.parametrize("domains", [1, 3])
@pytest.mark.parametrize(
    "settings", [{}, {"modalities": ["text"], "use_id": False}, {"feature_memory_mib": 0}], ids=str
)
def test_scores_are_the_formula(tmp_path: Path, domains: int, settings: dict[str, Any]) -> None:
    built = make(tmp_path, domains, **settings)
    naive = NaiveCMC(built, tmp_path)
    store = ModalityStore.open(tmp_path / "modality" / "toy.reviews" / "text")
    naive.reviews = {
        tuple(t.split(SEPARATOR)): v for t, v in zip(store.tokens, torch.tensor(store.values), strict=True)
    }
    torch.testing.assert_close(built.scores(), naive.scores(), rtol=1e-4, atol=1e-5)
    naive.reviews = None
    assert not torch.allclose(built.scores(), naive.scores(), atol=1e-3)


def test_the_store_is_no_modality_of_the_items(tmp_path: Path) -> None:
    built = make(tmp_path, modalities=("text", "image"), fusion="sum")
    assert built.model.modalities == ["text", "image"]
    assert list(find_stores(tmp_path / "modality" / "toy")) == ["image", "text"]


@pytest.mark.parametrize("part", ["test", "valid"])
@pytest.mark.parametrize("domains", [1, 2])
def test_the_review_of_a_held_out_interaction_never_enters(tmp_path: Path, domains: int, part: str) -> None:
    first = make(tmp_path / "a", domains).fit()
    second = make(tmp_path / "b", domains, changed=part).fit()
    table = first.model.reviews.table_0
    assert torch.equal(table, second.model.reviews.table_0)
    assert len(table) == len(first.train_data._dataset)
    assert torch.equal(first.scores(), second.scores())


def test_the_review_of_a_training_interaction_does(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a"), make(tmp_path / "b", changed="train")
    assert not torch.allclose(first.scores(), second.scores())


def test_ids_only_need_no_reviews(tmp_path: Path) -> None:
    built = Built("CMC", {**write_toy(tmp_path), "user_text": "reviews", "fusion": "none"})
    assert torch.isfinite(built.loss(built.batch()))


@pytest.mark.parametrize("control", ["shuffled", "noise"])
def test_controls_reach_the_reviews_too(tmp_path: Path, control: str) -> None:
    plain, other = (
        make(tmp_path / "a").model.reviews,
        make(tmp_path / "b", feature_control=control).model.reviews,
    )
    assert torch.equal(plain.present, other.present)
    same = (plain.table_0 == other.table_0).all(dim=1)[plain.present[:, 0]]
    assert same.float().mean() < 0.1


def test_the_items_scaling_is_applied_to_reviews(tmp_path: Path) -> None:
    plain = make(tmp_path / "a", modalities=("text",))
    scaled = make(tmp_path / "b", modalities=("text",), feature_scaling="standardize")
    scale = scaled.train_data._dataset.modality["text"].scale
    held = plain.model.reviews.present[:, 0]
    expected = scale(plain.model.reviews.table_0[held].numpy())
    np.testing.assert_allclose(scaled.model.reviews.table_0[held].numpy(), expected, rtol=1e-5, atol=1e-6)


def refuse(folder: Path, message: str, **settings: Any) -> None:
    base = {**write_toy(folder), "user_text": "reviews"} if not (folder / "toy").exists() else {}
    with pytest.raises(WrongUse, match=message) as error:
        Built("CMC", {**base, **settings})
    assert "\n" not in str(error.value)


def test_a_missing_store_is_one_line(tmp_path: Path) -> None:
    refuse(tmp_path, r"there is no store .*toy\.reviews")


def test_a_store_that_covers_nothing_is_one_line(tmp_path: Path) -> None:
    settings = {**write_toy(tmp_path), "user_text": "reviews"}
    path = tmp_path / "modality" / "toy.reviews" / "text"
    ModalityStore.write(path, np.ones((1, WIDTH), np.float32), ["u1 item01"], modality="text", encoder="toy")
    refuse(tmp_path, r"no review of the \d+ training interactions; .*first is 'u1 item01'", **settings)


@pytest.mark.parametrize("wrong", [{"width": WIDTH + 1}, {"encoder": "other"}], ids=str)
def test_another_encoder_than_the_items_is_one_line(tmp_path: Path, wrong: dict[str, Any]) -> None:
    settings = {**write_toy(tmp_path), "user_text": "reviews"}
    write_reviews(tmp_path, **wrong)
    refuse(tmp_path, r"users and items share the text encoder, so extract both with one", **settings)


def test_reviews_without_item_texts_are_one_line(tmp_path: Path) -> None:
    settings = {**write_toy(tmp_path, ["image"]), "user_text": "reviews"}
    write_reviews(tmp_path)
    refuse(tmp_path, r"needs the item modality 'text' too, there is \['image'\]", **settings)


def test_a_pair_in_several_rows_is_one_line(tmp_path: Path) -> None:
    settings = {**write_toy(tmp_path), "user_text": "reviews"}
    write_reviews(tmp_path)
    path = tmp_path / "toy" / "toy.inter"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], *lines[1:]]) + "\n")
    refuse(tmp_path, r"meet in several training rows, .* rm_dup_inter: first", **settings)
    Built("CMC", {**settings, "rm_dup_inter": "first"})
    again = lines[1].replace("train", "test")
    path.write_text("\n".join([*lines, again]) + "\n")
    refuse(tmp_path, r"meet in training and in validation or test, .* rm_dup_inter: first", **settings)


def merged(root: Path, **settings: Any) -> tuple[Any, Any]:
    """Two sets with a store of reviews each, every token of both known to both."""
    rows = {
        "books": [("ann", "x"), ("ann", "y"), ("bob", "x")],
        "films": [("ann", "x"), ("dan", "z"), ("dan", "x")],
    }
    for k, (name, pairs) in enumerate(rows.items()):
        (root / name).mkdir()
        lines = ["user_id:token\titem_id:token", *("\t".join(p) for p in pairs)]
        (root / name / f"{name}.inter").write_text("\n".join(lines) + "\n")
        items = sorted({i for _, i in pairs})
        ones = np.ones((len(items), 1), np.float32)
        ModalityStore.write(root / "modality" / name / "text", ones, items, modality="text", encoder="e")
        values = np.array([[10.0 * k + n] for n in range(len(pairs))], np.float32)
        path = root / "modality" / f"{name}.reviews" / "text"
        tokens = [review_key(*p) for p in pairs]
        ModalityStore.write(path, values, tokens, modality="text", encoder="e")
    base = {
        "data_path": str(root),
        "modality_path": str(root / "modality"),
        "domains": ["films", "books"],
        "load_col": {"inter": ["user_id", "item_id"]},
        "checkpoint_dir": str(root / "saved"),
    }
    config = Config("CMC", "both", config_dict={**base, **settings})
    return config, create_dataset(config)


@pytest.mark.parametrize(
    "apart", [{"item_overlap": False}, {"item_overlap": False, "user_overlap": False}], ids=str
)
def test_each_domain_has_its_own_store(tmp_path: Path, apart: dict[str, Any]) -> None:
    _, dataset = merged(tmp_path, **apart)
    dataset._change_feat_format()
    reviews = dataset.load_reviews()
    assert reviews.take(np.arange(6))[:, 0].tolist() == [0, 1, 2, 10, 11, 12]


def test_a_link_file_translates_the_reviews_too(tmp_path: Path) -> None:
    link = tmp_path / "link.tsv"
    link.write_text("books\tfilms\nbob\tdan\n")
    _, dataset = merged(tmp_path, item_overlap=False, user_link=str(link))
    assert dataset.user_num == 1 + 2
    dataset._change_feat_format()
    assert dataset.load_reviews().take(np.arange(6))[:, 0].tolist() == [0, 1, 2, 10, 11, 12]


def test_the_training_part_alone_is_looked_up(tmp_path: Path) -> None:
    config = Config("CMC", "toy", config_dict={**write_toy(tmp_path), "user_text": "reviews"})
    write_reviews(tmp_path)
    train, _, _ = data_preparation(config, create_dataset(config))
    part = train._dataset
    assert len(part.load_reviews().rows) == len(part)
