from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from toy_encoder import ToyEncoder, files_of, run, vector

from recbole_mm.errors import Failure, WrongUse
from recbole_mm.extract import pipeline
from recbole_mm.modality import ModalityStore

TEXTS = {f"i{n}": f"text {n} " + "long " * (n % 5) for n in range(30)}


def plain(**identity: str) -> ToyEncoder:
    return ToyEncoder(mates=0.0, **identity)


def test_rows_are_in_the_order_of_the_catalogue_and_exact(tmp_path: Path) -> None:
    report = run(TEXTS, tmp_path / "text", plain(), dtype="float32")
    store = ModalityStore.open(tmp_path / "text")
    assert store.tokens.tolist() == list(TEXTS)
    assert np.array_equal(store.values, np.stack([vector(text) for text in TEXTS.values()]))
    assert (store.name, store.encoder, store.width) == ("text", "toy", 8)
    assert (report.encoded, report.present, report.changed) == (30, 30, True)


def test_batches_hold_texts_of_like_length(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run(TEXTS, tmp_path / "text", ToyEncoder(log))
    batches = [[len(text) for text in json.loads(line)] for line in log.read_text().splitlines()]
    spread = np.mean([max(batch) - min(batch) for batch in batches])
    in_order = [len(text) for text in TEXTS.values()]
    unsorted = np.mean([max(in_order[at : at + 3]) - min(in_order[at : at + 3]) for at in range(0, 30, 3)])
    assert spread < unsorted / 2


def test_what_cannot_be_encoded_is_absent_and_listed(tmp_path: Path) -> None:
    texts = TEXTS | {"empty": "", "broken": "bad text", "nan": "nan", "zero": "zero"}
    report = run(texts, tmp_path / "text")
    store = ModalityStore.open(tmp_path / "text")
    assert store.tokens.tolist() == list(TEXTS)
    assert store.values.any(axis=1).all()
    told = json.loads((tmp_path / "text.report.json").read_text())
    assert told["items"] == 34 and told["present"] == 30 and sum(told["reasons"].values()) == 4
    assert [entry["token"] for entry in told["absent"]] == ["empty", "broken", "nan", "zero"]
    assert {entry["token"]: entry["reason"] for entry in told["absent"]}["broken"] == "a bad text"
    assert dict(report.reasons) == told["reasons"]


def test_values_beyond_the_stores_type_are_absent(tmp_path: Path) -> None:
    class Big(ToyEncoder):
        def encode(self, batch: list[str]) -> np.ndarray:
            rows = super().encode(batch)
            rows[["text 3 " in text for text in batch]] = 1e30
            return rows

    assert dict(run(TEXTS, tmp_path / "half", Big()).reasons) == {"values do not fit float16": 1}
    assert not run(TEXTS, tmp_path / "whole", Big(), dtype="float32").reasons


def test_nothing_changed_does_nothing(tmp_path: Path) -> None:
    run(TEXTS, tmp_path / "text")
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.name != "lock"}
    encoder = ToyEncoder()
    report = run(dict(TEXTS), tmp_path / "text", encoder)
    assert not encoder.seen and not report.changed and report.reused == 30
    assert stamps == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.name != "lock"}


def test_changed_items_alone_are_encoded_again(tmp_path: Path) -> None:
    texts = TEXTS | {"broken": "bad text"}
    run(texts, tmp_path / "text", plain())
    changed = {"new": "a new text"} | texts | {"i4": "changed", "i9": ""}
    del changed["i20"]
    changed["renamed"] = changed.pop("i7")
    encoder = plain()
    report = run(changed, tmp_path / "text", encoder)
    assert sorted(encoder.seen) == ["a new text", "changed"]
    assert (report.encoded, report.reused, report.present) == (2, 27, 29)
    fresh = tmp_path / "fresh"
    run(changed, fresh, plain())
    assert files_of(fresh) == files_of(tmp_path / "text")


def test_rows_that_are_kept_are_kept_bit_for_bit(tmp_path: Path) -> None:
    run(TEXTS, tmp_path / "text", dtype="float32")
    before = np.array(ModalityStore.open(tmp_path / "text").values)
    run(TEXTS | {"i4": "changed"}, tmp_path / "text", dtype="float32")
    after = np.array(ModalityStore.open(tmp_path / "text").values)
    same = np.arange(30) != 4
    assert np.array_equal(before[same], after[same]) and not np.array_equal(before[4], after[4])


@pytest.mark.parametrize("change", ["encoder", "dtype"])
def test_another_encoder_or_type_encodes_all(tmp_path: Path, change: str) -> None:
    run(TEXTS, tmp_path / "text", plain())
    encoder = plain(weights="others") if change == "encoder" else plain()
    run(TEXTS, tmp_path / "text", encoder, dtype="float32" if change == "dtype" else "float16")
    assert len(encoder.seen) == 30


def test_a_store_of_another_origin_is_not_replaced_unasked(tmp_path: Path) -> None:
    store = tmp_path / "text"
    ModalityStore.write(store, np.ones((1, 2), np.float32), ["a"], modality="text", encoder="hand")
    with pytest.raises(WrongUse, match="--overwrite"):
        run(TEXTS, store)
    assert ModalityStore.open(store).encoder == "hand"
    run(TEXTS, store, overwrite=True)
    assert ModalityStore.open(store).rows == 30


def test_no_item_to_encode_is_a_failure_and_leaves_no_store(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="empty text"):
        run({"a": "", "b": ""}, tmp_path / "text")
    assert not (tmp_path / "text").exists()


class StoppedError(Exception):
    pass


class Faulty(ToyEncoder):
    def encode(self, batch: list[str]) -> np.ndarray:
        if len(self.seen) >= 17:
            raise StoppedError
        return super().encode(batch)


def test_finished_shards_are_not_encoded_again(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        run(TEXTS, tmp_path / "text", Faulty())
    encoder = ToyEncoder()
    report = run(TEXTS, tmp_path / "text", encoder)
    assert len(encoder.seen) == 30 - 16 and report.resumed == 16
    run(TEXTS, tmp_path / "whole")
    assert files_of(tmp_path / "text") == files_of(tmp_path / "whole")


@pytest.mark.parametrize("harm", ["journal cut short", "shard cut short", "shard gone"])
def test_harmed_shards_are_encoded_again(tmp_path: Path, harm: str) -> None:
    with pytest.raises(StoppedError):
        run(TEXTS, tmp_path / "text", Faulty())
    folder = tmp_path / "text.extract"
    if harm == "journal cut short":
        journal = folder / "journal.jsonl"
        journal.write_bytes(journal.read_bytes()[:-20])
    else:
        shard = sorted(folder.glob("*.npy"))[0]
        shard.write_bytes(shard.read_bytes()[:-4]) if harm == "shard cut short" else shard.unlink()
    encoder = ToyEncoder()
    run(TEXTS, tmp_path / "text", encoder)
    assert len(encoder.seen) == 30 - 8
    run(TEXTS, tmp_path / "whole")
    assert files_of(tmp_path / "text") == files_of(tmp_path / "whole")


@pytest.mark.parametrize("when", ["before", "while swapping", "after"])
def test_a_stop_while_the_store_is_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    store = tmp_path / "text"
    run(TEXTS, store)
    changed = TEXTS | {"i4": "changed"}
    write = ModalityStore.write

    def stopped(path: Path, *args: object, **options: object) -> None:
        if when == "after":
            write(path, *args, **options)  # type: ignore[arg-type]
        if when == "while swapping":
            path.rename(path.with_name(".text.old"))
        raise StoppedError

    with monkeypatch.context() as patched:
        patched.setattr(pipeline.ModalityStore, "write", stopped)
        with pytest.raises(StoppedError):
            run(changed, store)
    encoder = ToyEncoder()
    run(changed, store, encoder)
    assert not encoder.seen
    run(TEXTS, tmp_path / "whole")
    run(changed, tmp_path / "whole")
    assert files_of(store) == files_of(tmp_path / "whole")


def test_one_run_at_a_time(tmp_path: Path) -> None:
    class Nested(ToyEncoder):
        def encode(self, batch: list[str]) -> np.ndarray:
            run(TEXTS, tmp_path / "text")
            return super().encode(batch)

    with pytest.raises(Failure, match="another extract"):
        run(TEXTS, tmp_path / "text", Nested())


def test_lack_of_memory_says_what_to_do(tmp_path: Path) -> None:
    class Hungry(ToyEncoder):
        def encode(self, batch: list[str]) -> np.ndarray:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1 EiB")

    with pytest.raises(Failure, match="--batch-size 1"):
        run(TEXTS, tmp_path / "text", Hungry())
