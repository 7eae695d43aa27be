"""Stores that are damaged, or a person's own, at the place where extract writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from toy_encoder import ToyEncoder, files_of, run

from recbole_mm.errors import WrongUse
from recbole_mm.extract import pipeline
from recbole_mm.modality import ModalityStore

TEXTS = {f"i{n}": f"text {n}" for n in range(12)}


class KilledError(Exception):
    pass


def killed(*args: object, **options: object) -> None:
    raise KilledError


def harm(store: Path, how: str) -> None:
    values = store / "values.npy"
    content = bytearray(values.read_bytes())
    content[-1] ^= 1
    values.write_bytes(content if how == "a bit" else content[:-4])


@pytest.mark.parametrize("how", ["a bit", "cut short"])
@pytest.mark.parametrize("changed", [False, True])
def test_a_damaged_store_is_neither_kept_nor_copied(tmp_path: Path, how: str, changed: bool) -> None:
    store, whole = tmp_path / "text", tmp_path / "whole"
    run(TEXTS, store)
    texts = TEXTS | ({"i3": "changed"} if changed else {})
    run(texts, whole)
    harm(store, how)
    with pytest.raises(WrongUse, match=r"values\.npy.*--overwrite replaces it"):
        run(texts, store)
    encoder = ToyEncoder()
    run(texts, store, encoder, overwrite=True)
    assert len(encoder.seen) == 12 and files_of(store) == files_of(whole)
    ModalityStore.open(store).verify()


def test_a_folder_that_is_no_store_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    encoder = ToyEncoder()
    with pytest.raises(WrongUse, match="not a modality store"):
        run(TEXTS, tmp_path / "text", encoder, overwrite=True)
    assert not encoder.seen


def test_what_a_kill_left_does_not_replace_a_persons_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "text"
    with monkeypatch.context() as patched:
        patched.setattr(pipeline.ModalityStore, "write", killed)
        with pytest.raises(KilledError):
            run(TEXTS, store)
    ModalityStore.write(store, np.ones((1, 2), np.float32), ["a"], modality="text", encoder="mine")
    with pytest.raises(WrongUse, match="--overwrite"):
        run(TEXTS, store)
    assert ModalityStore.open(store).encoder == "mine"
    run(TEXTS, store, overwrite=True)
    assert ModalityStore.open(store).rows == 12


def test_a_report_that_a_kill_left_behind_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, file = tmp_path / "text", tmp_path / "text.report.json"
    run(TEXTS, store)
    with monkeypatch.context() as patched:
        patched.setattr(pipeline.Report, "write", killed)
        with pytest.raises(KilledError):
            run(TEXTS | {"e": ""}, store)
    assert json.loads(file.read_text())["items"] == 12
    assert not run(TEXTS | {"e": ""}, store).changed
    assert json.loads(file.read_text())["items"] == 13


def test_overwrite_tries_again_what_failed_and_puts_it_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Better(ToyEncoder):
        def prepare(self, raws: list[str]) -> list[str]:
            return list(raws)

    store, texts = tmp_path / "text", TEXTS | {"b": "bad"}
    run(texts, store)
    assert not run(texts, store, Better()).changed
    with monkeypatch.context() as patched:  # a kill in between changes nothing
        patched.setattr(pipeline.ModalityStore, "write", killed)
        with pytest.raises(KilledError):
            run(texts, store, Better(), overwrite=True)
    report = run(texts, store)
    assert (report.present, ModalityStore.open(store).rows) == (13, 13)


def test_an_encoder_of_the_whole_is_never_given_a_part(tmp_path: Path) -> None:
    class Whole(ToyEncoder):
        whole = True

    texts = TEXTS | {"b": "bad"}
    run(texts, tmp_path / "text", Whole())
    encoder = Whole()
    assert not run(texts, tmp_path / "text", encoder, overwrite=True).changed and not encoder.seen


def test_a_report_that_cannot_be_written_stops_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "text.report.json").mkdir()
    encoder = ToyEncoder()
    with pytest.raises(WrongUse, match="is a folder"):
        run(TEXTS, tmp_path / "text", encoder)
    assert not encoder.seen
