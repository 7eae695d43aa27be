"""A store gives back what was written, opens without reading, and names what is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_mm.errors import WrongUse
from recbole_mm.modality import ModalityStore, find_stores, resolve_stores
from recbole_mm.modality import write as write_module

TOKENS = ["0108775015", "7", "é x", '"q"']


def values_of(rows: int, width: int = 3, dtype: str = "float32") -> np.ndarray:
    return np.arange(1, rows * width + 1, dtype=dtype).reshape(rows, width)


def write(
    path: Path, values: np.ndarray | None = None, tokens: list | None = None, **options
) -> ModalityStore:
    values = values_of(len(TOKENS)) if values is None else values
    tokens = TOKENS[: len(values)] if tokens is None else tokens
    return ModalityStore.write(path, values, tokens, modality="text", encoder="toy", **options)


@pytest.mark.parametrize(
    ("given_dtype", "stored"), [("float16", "float16"), ("float32", "float32"), ("float64", "float32")]
)
def test_round_trip(tmp_path, given_dtype, stored):
    values = values_of(4, dtype=given_dtype)
    write(tmp_path / "text", values, source="here", metadata={"pooling": "mean"})
    store = ModalityStore.open(tmp_path / "text")
    assert (store.name, store.encoder, store.rows, store.width, store.dtype) == ("text", "toy", 4, 3, stored)
    np.testing.assert_array_equal(store.values, values.astype(stored))
    assert store.tokens.tolist() == TOKENS
    assert store.manifest["source"] == "here"
    assert store.manifest["metadata"] == {"pooling": "mean"}
    store.verify()


token = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tokens=st.lists(token, min_size=1, max_size=20, unique=True), data=st.data())
def test_any_token_and_any_mask_come_back(tmp_path, tokens, data):
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(tokens), max_size=len(tokens))))
    values = values_of(len(tokens), 2)
    values[~mask] = np.nan  # absent rows may hold anything
    if not mask.any():
        with pytest.raises(WrongUse, match="nothing to store"):
            write(tmp_path / "s", values, tokens, present=mask, overwrite=True)
        return
    store = write(tmp_path / "s", values, tokens, present=mask, overwrite=True)
    store.verify()
    assert store.tokens.tolist() == [t for t, kept in zip(tokens, mask, strict=True) if kept]
    np.testing.assert_array_equal(store.values, values[mask])


def test_many_chunks_give_the_same_bytes(tmp_path, monkeypatch):
    values, tokens = values_of(50, 7), [f"t{row}" for row in range(50)]
    whole = write(tmp_path / "whole", values, tokens)
    monkeypatch.setattr(write_module, "CHUNK_BYTES", 200)
    parts = write(tmp_path / "parts", values, tokens)
    assert whole.manifest == parts.manifest
    mask = np.arange(50) % 3 != 1
    np.testing.assert_array_equal(write(tmp_path / "m", values, tokens, present=mask).values, values[mask])


def test_values_are_mapped_and_opening_reads_no_content(tmp_path):
    write(tmp_path / "text")
    file = tmp_path / "text" / "values.npy"
    size = file.stat().st_size
    assert isinstance(ModalityStore.open(tmp_path / "text").values, np.memmap)
    assert not ModalityStore.open(tmp_path / "text").values.flags.writeable
    file.write_bytes(b"\x07" * size)
    (tmp_path / "text" / "tokens.txt").write_bytes(
        b"\xff" * (tmp_path / "text" / "tokens.txt").stat().st_size
    )
    store = ModalityStore.open(tmp_path / "text")  # right sizes: nothing else is looked at
    with pytest.raises(WrongUse, match=r"values.npy: not readable as npy"):
        _ = store.values
    with pytest.raises(WrongUse, match=r"tokens.txt: not UTF-8"):
        _ = store.tokens
    with pytest.raises(WrongUse, match="hash mismatch"):
        store.verify()


@pytest.mark.parametrize("file", ["values.npy", "tokens.txt"])
def test_one_changed_byte_is_a_hash_mismatch(tmp_path, file):
    store = write(tmp_path / "text")
    content = bytearray((store.path / file).read_bytes())
    content[-2] ^= 1
    (store.path / file).write_bytes(content)
    with pytest.raises(WrongUse, match=f"{file}: hash mismatch"):
        ModalityStore.open(store.path).verify()


@pytest.mark.parametrize("file", ["values.npy", "tokens.txt"])
def test_a_truncated_or_missing_file_is_named_at_opening(tmp_path, file):
    store = write(tmp_path / "text")
    os.truncate(store.path / file, (store.path / file).stat().st_size - 1)
    with pytest.raises(WrongUse, match=f"{file}: truncated"):
        ModalityStore.open(store.path)
    (store.path / file).unlink()
    with pytest.raises(WrongUse, match=f"{file}: missing"):
        ModalityStore.open(store.path)


def test_manifests_that_do_not_fit(tmp_path):
    store = write(tmp_path / "text")
    file = store.path / "manifest.json"
    good = json.loads(file.read_text())
    for change, message in (
        ({"schema_version": 2}, "newer recbole_mm .schema 2, this one reads 1"),
        ({"schema_version": 0}, "not the manifest"),
        ({"rows": "4"}, "not the manifest"),
        ({"dtype": "int8"}, "not the manifest"),
        ({"files": {}}, "not the manifest"),
    ):
        file.write_text(json.dumps({**good, **change}))
        with pytest.raises(WrongUse, match=message):
            ModalityStore.open(store.path)
    file.write_text(json.dumps({**good, "width": 6}))
    with pytest.raises(WrongUse, match="manifest says"):
        _ = ModalityStore.open(store.path).values
    file.write_text("{")
    with pytest.raises(WrongUse, match="not JSON"):
        ModalityStore.open(store.path)
    file.unlink()
    with pytest.raises(WrongUse, match="not a modality store"):
        ModalityStore.open(store.path)
    write(tmp_path / "image")
    with pytest.raises(WrongUse, match="no such store; did you mean 'image'"):
        ModalityStore.open(tmp_path / "imaeg")


with_nan, with_inf, too_large = values_of(4), values_of(4), values_of(4)
with_nan[2, 1], with_inf[3, 0], too_large[1, 2] = np.nan, -np.inf, 70_000


@pytest.mark.parametrize(
    ("values", "tokens", "options", "message"),
    [
        (values_of(3), TOKENS, {}, "3 rows of values but 4 tokens"),
        (values_of(4), ["a", "b", "c", "b"], {}, "row 3 repeats token 'b' of row 1"),
        (with_nan, TOKENS, {}, "NaN or infinity in row 2 .token 'é x'"),
        (with_inf, TOKENS, {}, "NaN or infinity in row 3"),
        (too_large, TOKENS, {"dtype": "float16"}, "row 1 .token '7'. reaches 70000, beyond float16"),
        (values_of(4).astype(np.float64) * 1e300, TOKENS, {}, "beyond float32; scale"),
        (values_of(4).astype(int), TOKENS, {}, "values are int64; give float16, float32 or float64"),
        (np.array([["a"]] * 4), TOKENS, {}, "values are <U1; give float16"),
        (np.array([[None]] * 4), TOKENS, {}, "values are object; give float16"),
        (values_of(4), TOKENS, {"dtype": "int8"}, "dtype 'int8' is not one of float16, float32"),
        (values_of(4)[0], TOKENS, {}, r"shape \[3\]"),
        (values_of(0), [], {}, r"shape \[0, 3\]"),
        (values_of(4)[:, :0], TOKENS, {}, r"shape \[4, 0\]"),
        (values_of(4), [1, 2, 3, 4], {}, "token of row 0 is int 1; give text"),
        (values_of(4), ["a", "", "c", "d"], {}, "token of row 1 is empty"),
        (values_of(4), ["a", "b", "c\nd", "e"], {}, "token of row 2 has a line break"),
        (values_of(4), ["a", "b", "c", "\ud83d"], {}, "token of row 3 .* is not valid text"),
        (values_of(4), TOKENS, {"present": np.ones(4, int)}, r"the presence mask is int64 \[4\]; give bool"),
        (values_of(4), TOKENS, {"present": np.ones(3, bool)}, r"bool \[3\]; give bool \[4\]"),
        (values_of(4), TOKENS, {"present": np.zeros(4, bool)}, "nothing to store"),
        (values_of(4), TOKENS, {"metadata": {"a": object()}}, "metadata must be JSON"),
    ],
)
def test_every_refusal_names_the_place_and_leaves_nothing(tmp_path, values, tokens, options, message):
    with pytest.raises(WrongUse, match=message) as caught:
        write(tmp_path / "text", values, tokens, **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_rows_of_errors_are_those_of_the_input_behind_a_mask(tmp_path):
    mask = np.array([False, True, True, True])
    with pytest.raises(WrongUse, match="infinity in row 2"):
        write(tmp_path / "s", with_nan, present=mask)
    with pytest.raises(WrongUse, match="row 3 repeats token 'b' of row 1"):
        write(tmp_path / "s", tokens=["a", "b", "c", "b"], present=mask)


def test_a_failing_replacement_keeps_the_store_that_was_there(tmp_path):
    write(tmp_path / "text")
    with pytest.raises(WrongUse, match="already; add overwrite"):
        write(tmp_path / "text", values_of(2))
    with pytest.raises(WrongUse, match="NaN"):
        write(tmp_path / "text", with_nan, overwrite=True)
    assert ModalityStore.open(tmp_path / "text").rows == 4
    write(tmp_path / "text", values_of(2), overwrite=True)
    assert ModalityStore.open(tmp_path / "text").rows == 2
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(write_module, "hash_file", stop)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "text")
    assert list(tmp_path.iterdir()) == []


def test_another_folder_is_never_replaced(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "mine").write_text("x")
    with pytest.raises(WrongUse, match="is no modality store"):
        write(tmp_path / "text", overwrite=True)
    assert (tmp_path / "text" / "mine").read_text() == "x"


def test_zero_rows_are_counted_and_the_fingerprint_follows_the_content(tmp_path):
    values = values_of(4)
    first = write(tmp_path / "a", values)
    values[1] = 0
    second = write(tmp_path / "b", values)
    third = write(tmp_path / "c", values, tokens=[*TOKENS[:3], "other"])
    assert (first.manifest["zero_rows"], second.manifest["zero_rows"]) == (0, 1)
    assert len({first.fingerprint, second.fingerprint, third.fingerprint}) == 3
    assert write(tmp_path / "d", values).fingerprint == second.fingerprint


def test_a_store_without_its_manifest_is_not_passed_over(tmp_path):
    lost = write(tmp_path / "toys" / "text").path / "manifest.json"
    lost.unlink()
    with pytest.raises(WrongUse, match=rf"{lost}: not there, though values.npy is; build the store again"):
        resolve_stores(None, tmp_path, "toys")


def test_stores_are_found_by_name_and_resolved_as_asked(tmp_path):
    for name in ("text", "image"):
        write(tmp_path / "toys" / name)
    (tmp_path / "toys" / "other").mkdir()
    elsewhere = write(tmp_path / "mine").path
    here = {name: tmp_path / "toys" / name for name in ("image", "text")}
    assert list(find_stores(tmp_path / "toys").items()) == list(here.items())
    assert find_stores(tmp_path / "nothing") == {}
    assert resolve_stores(None, tmp_path, "toys") == here
    assert resolve_stores([], tmp_path, "toys") == {}
    assert list(resolve_stores(["text", "image"], tmp_path, "toys")) == ["text", "image"]
    assert resolve_stores({"text": str(elsewhere), "image": None}, tmp_path, "toys") == {
        "text": elsewhere,
        "image": here["image"],
    }
    with pytest.raises(WrongUse, match=r"'txt' not found in .*; did you mean 'text'"):
        resolve_stores(["txt"], tmp_path, "toys")
    with pytest.raises(WrongUse, match="there: no store"):
        resolve_stores(["text"], tmp_path, "nosuch")
    with pytest.raises(WrongUse, match=r"'text' points to .* where no store is"):
        resolve_stores({"text": tmp_path / "toys"}, tmp_path, "toys")
    with pytest.raises(WrongUse, match="'text' is named twice"):
        resolve_stores(["text", "text"], tmp_path, "toys")
