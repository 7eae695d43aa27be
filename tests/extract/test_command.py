from __future__ import annotations

import argparse
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recbole_mm.errors import WrongUse
from recbole_mm.extract import command, settings
from recbole_mm.extract.encoder import Encoder
from recbole_mm.extract.items import Items
from recbole_mm.extract.pipeline import extract
from recbole_mm.extract.report import Report
from recbole_mm.files import properties_dir
from recbole_mm.modality import ModalityStore, find_stores, review_key, reviews_folder

pytest.importorskip("PIL")


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args(list(words)))


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from toy_models import save_image

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "dataset" / "toys"
    (folder / "pictures").mkdir(parents=True)
    for token in "12":
        save_image(folder / "pictures" / f"{token}.png", int(token))
    (folder / "pictures" / "3.png").write_bytes(b"broken")
    pd.DataFrame(
        {
            "item_id": ["1", "2", "3", "4"],
            "title": ["red shirt", "blue shirt", "a knife", None],
            "description": ["cotton", None, "of steel", None],
            "image_path": ["pictures/1.png", "pictures/2.png", "pictures/3.png", None],
        }
    ).to_parquet(folder / "items.parquet")
    return folder


def test_text_by_tfidf_from_the_usual_place_to_the_usual_place(
    catalogue: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "text",
        "--dataset",
        "toys",
        "--encoder",
        "tfidf",
        "--fields",
        "title,description",
        "--width",
        "4",
    ]
    assert call(*words) == 0
    store = ModalityStore.open("modality/toys/text")
    assert store.tokens.tolist() == ["1", "2", "3"] and store.width == 4
    assert "3 of 4 items (75.0%)" in capsys.readouterr().out
    assert call(*words, "--json") == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["changed"] is False and report["absent"] == [{"token": "4", "reason": "empty text"}]
    call(*words[:-4], "--fields", "title")  # the collection changed: all of it is encoded again
    assert ModalityStore.open("modality/toys/text").width == 128


def test_both_stores_of_clip(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    from toy_models import tiny_clip

    folder = tiny_clip(catalogue / "clip")
    assert (
        call("clip", "--dataset", "toys", "--encoder", str(folder), "--fields", "title", "--device", "cpu")
        == 0
    )
    assert list(find_stores("modality/toys")) == ["clip_image", "clip_text"]
    assert ModalityStore.open("modality/toys/clip_image").tokens.tolist() == ["1", "2"]
    assert "1 no image path" in capsys.readouterr().out


def test_sizes_reach_both_towers_of_clip(catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    from toy_models import tiny_clip

    used: dict[str, tuple[int, int]] = {}

    def noted(items: Items, encoder: Encoder, *args: Any, **options: Any) -> Report:
        used[options["modality"]] = encoder.batch_size, encoder.shard_size
        return extract(items, encoder, *args, **options)

    monkeypatch.setattr(command, "extract", noted)
    words = ["clip", "--dataset", "toys", "--encoder", str(tiny_clip(catalogue / "clip")), "--device", "cpu"]
    call(*words, "--batch-size", "2", "--shard-size", "3")
    assert used == {"clip_text": (2, 3), "clip_image": (2, 3)}


def test_a_place_that_cannot_be_written_stops_before_the_work(catalogue: Path) -> None:
    (catalogue / "file").write_text("")
    with pytest.raises(WrongUse, match=r"--modality-path: .* is a file"):
        call("text", "--dataset", "toys", "--encoder", "tfidf", "--modality-path", str(catalogue / "file"))


def write_reviews(catalogue: Path, items: list[str]) -> None:
    pd.DataFrame(
        {
            "user_id": ["ann", "ann", "bob"],
            "item_id": items,
            "timestamp": [3, 1, 2],
            "summary": ["red", None, "blue"],
            "text": ["a red shirt", None, "the knife"],
        }
    ).to_parquet(catalogue / "reviews.parquet")


def test_reviews_have_a_store_of_their_own(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    from toy_models import tiny_bert

    write_reviews(catalogue, ["1", "2", "1"])
    folder = str(tiny_bert(catalogue / "bert"))
    assert call("text", "--dataset", "toys", "--encoder", folder, "--reviews", "--device", "cpu") == 0
    store = ModalityStore.open(reviews_folder("modality", "toys") / "text")
    assert store.tokens.tolist() == [review_key("ann", "1"), review_key("bob", "1")]
    assert not find_stores("modality/toys")  # so no run takes it for one of the items'
    out = capsys.readouterr().out
    assert "text: summary, text" in out and "2 of 3 items" in out


def test_reviews_that_cannot_be_told_apart_or_would_leak(catalogue: Path) -> None:
    write_reviews(catalogue, ["1", "1", "1"])
    with pytest.raises(WrongUse, match=r"user_id and item_id ann, 1 is in rows 0 and 1"):
        call("text", "--dataset", "toys", "--encoder", "minilm", "--reviews")
    write_reviews(catalogue, ["1", "2", "1"])
    with pytest.raises(WrongUse, match="those of the test set too"):
        call("text", "--dataset", "toys", "--encoder", "tfidf", "--reviews")


def test_without_an_encoder_the_first_that_can_be_had_is_taken_and_said(
    catalogue: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(
        settings, "find_spec", lambda name: None if name.startswith("gt_") else find_spec(name)
    )
    monkeypatch.setattr(command, "build_encoders", offline)
    assert call("text", "--dataset", "toys") == 0
    out, err = capsys.readouterr()
    assert "bert-base-uncased cannot be had here" in err and "minilm cannot be had here" in err
    assert "tfidf" in out and ModalityStore.open("modality/toys/text").encoder == "tfidf"


def offline(chosen: dict[str, object], *rest: object) -> object:
    if chosen["name"] == "bert-base-uncased":
        raise command.NoCheckpoint("no connection")
    return settings.build_encoders(chosen, *rest)  # type: ignore[arg-type]


def test_wrong_use(catalogue: Path) -> None:
    with pytest.raises(WrongUse, match=r"items\.parquet: no such file"):
        call("text", "--dataset", "none", "--encoder", "tfidf")
    with pytest.raises(WrongUse, match="did you mean 'title'"):
        call("text", "--dataset", "toys", "--encoder", "tfidf", "--fields", "titel")
    with pytest.raises(WrongUse, match="--engine local"):
        call("text", "--dataset", "toys", "--encoder", "tfidf", "--engine", "ray")
    with pytest.raises(WrongUse, match="no setting pooling"):
        call("text", "--dataset", "toys", "--encoder", "tfidf", "--pooling", "cls")


@pytest.mark.parametrize(
    "file", sorted((properties_dir() / "extract").glob("*.yaml")), ids=lambda file: file.stem
)
def test_every_shipped_yaml_is_whole(file: Path) -> None:
    import yaml

    kind = yaml.safe_load(file.read_text())["kind"]
    try:
        read = settings.read_settings(kind, file.stem, {})
    except settings.MissingPackage as error:
        pytest.skip(str(error))
    assert read["name"] == file.stem and read["family"]
