"""Stores from npy, lists of ids and parquet, through ``recbole-mm store``; nothing is unpickled."""

from __future__ import annotations

import argparse
import ast
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_mm.errors import WrongUse
from recbole_mm.modality import ModalityStore, command

VALUES = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
TOKENS = ["007", "b", "ü"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", VALUES)
    Path("ids.txt").write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    return tmp_path


def store(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args(words))


def build(*words: str) -> ModalityStore:
    assert store("build", "--modality", "text", "--encoder", "toy", "--out", "s", "--overwrite", *words) == 0
    return ModalityStore.open("s")


@pytest.mark.parametrize("text", ["007\nb\nü", "007\r\nb\r\nü\r\n", "\ufeff007\nb\nü\n"])
def test_ids_as_lines(folder, text):
    Path("ids.txt").write_bytes(text.encode())
    built = build("--values", "x.npy", "--ids", "ids.txt")
    assert built.tokens.tolist() == TOKENS
    np.testing.assert_array_equal(built.values, VALUES)


def test_ids_from_tables_stay_text(folder):
    Path("i.csv").write_text('id,title\n007,"a\nb"\nb,\nü,NA\n', encoding="utf-8")
    Path("i.item").write_text("item_id:token\ttitle:token_seq\n007\ta\nb\tc\nü\td\n", encoding="utf-8")
    assert build("--values", "x.npy", "--ids", "i.csv", "--ids-column", "id").tokens.tolist() == TOKENS
    assert build("--values", "x.npy", "--ids", "i.item", "--ids-column", "item_id").tokens.tolist() == TOKENS
    with pytest.raises(WrongUse, match=r"name the column of the ids .--ids-column., one of id, title"):
        build("--values", "x.npy", "--ids", "i.csv")
    with pytest.raises(WrongUse, match="no column 'tilte'; did you mean 'title'"):
        build("--values", "x.npy", "--ids", "i.csv", "--ids-column", "tilte")


def test_absent_rows_are_left_out(folder):
    np.save("m.npy", np.array([True, False, True]))
    built = build("--values", "x.npy", "--ids", "ids.txt", "--present", "m.npy", "--dtype", "float16")
    assert built.tokens.tolist() == ["007", "ü"]
    assert built.values.tolist() == [[1, 2], [5, 6]]
    assert built.dtype == np.float16


def test_parquet_with_lists_or_with_columns(folder):
    frame = pd.DataFrame(
        {"item_id": TOKENS, "v": [[1.0, 2.0], None, [5.0, 6.0]], "a": VALUES[:, 0], "b": VALUES[:, 1]}
    )
    frame.to_parquet("f.parquet")
    lists = build("--parquet", "f.parquet", "--vector-column", "v")
    assert lists.tokens.tolist() == ["007", "ü"]
    assert lists.values.tolist() == [[1, 2], [5, 6]]
    columns = build("--parquet", "f.parquet", "--vector-column", "a", "b")
    np.testing.assert_array_equal(columns.values, VALUES)
    assert columns.tokens.tolist() == TOKENS


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"v": [[1.0, 2.0], [3.0], [5.0, 6.0]]}, "row 1 of 'v' has 1 numbers, others 2"),
        ({"v": [[1.0, 2.0], None, [5.0, None]]}, "row 2 of 'v' has a null"),
        ({"v": [[1, 2], [3, 4], [5, 6]]}, "give lists of floats"),
        ({"v": ["a", "b", "c"]}, "give lists of floats"),
        ({"v": [1.0, None, 2.0]}, "column 'v' has 1 nulls"),
        ({"v": [None, None, None]}, "give lists of floats"),
        ({"w": [1.0, 2.0, 3.0]}, "no column 'v'; there are item_id, w"),
    ],
)
def test_parquet_that_does_not_fit(folder, columns, message):
    pd.DataFrame({"item_id": TOKENS, **columns}).to_parquet("f.parquet")
    with pytest.raises(WrongUse, match=message):
        build("--parquet", "f.parquet", "--vector-column", "v")
    assert not Path("s").exists()


def test_integer_ids_in_parquet_are_refused_before_zeros_are_lost(folder):
    pd.DataFrame({"item_id": [7, 8], "v": [[1.0], [2.0]]}).to_parquet("f.parquet")
    with pytest.raises(WrongUse, match="token of row 0 is int 7; give text"):
        build("--parquet", "f.parquet", "--vector-column", "v")


def test_a_pickle_is_never_loaded(folder):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (folder / "sprung",))

    np.save("trap.npy", np.array([Trap(), Trap(), Trap()], dtype=object), allow_pickle=True)
    for words in (("--values", "trap.npy"), ("--values", "x.npy", "--present", "trap.npy")):
        with pytest.raises(WrongUse, match=r"trap.npy: no plain npy file"):
            build(*words, "--ids", "ids.txt")
    assert not (folder / "sprung").exists()


def test_no_module_of_this_room_can_unpickle():
    room = Path(command.__file__).parent
    for file in room.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, file
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                for name in names:
                    assert name.split(".")[0] not in {"pickle", "joblib", "dill", "torch", "recbole"}, file


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--values", "y.npy", "--ids", "ids.txt"), "y.npy: no such file; did you mean 'x.npy'"),
        (("--values", "ids.txt", "--ids", "ids.txt"), "ids.txt: no plain npy file"),
        (("--values", "cut.npy", "--ids", "ids.txt"), "cut.npy: not readable as npy, perhaps truncated"),
        (("--values", "none.npy", "--ids", "ids.txt"), "none.npy: empty"),
        (("--values", "bytes0.npy", "--ids", "ids.txt"), "bytes0.npy: not readable"),
        (("--values", "x.npy", "--ids", "two.txt"), "x.npy has 3 rows but two.txt 2 tokens"),
        (("--values", "x.npy", "--ids", "latin.txt"), "latin.txt: not UTF-8"),
        (("--values", "x.npy", "--ids", "gap.txt"), "token of row 1 is empty"),
        (("--values", "x.npy", "--ids", "ids.txt", "--ids-column", "a"), "can be named for"),
        (("--values", "x.npy"), "give --values X.npy and --ids FILE"),
        (("--parquet", "f", "--values", "x.npy"), "--parquet goes with --vector-column"),
        (("--parquet", "ids.txt", "--vector-column", "v"), "ids.txt: not readable as parquet"),
        (("--values", "x.npy", "--ids", "ids.txt", "--dataset", "d"), "one of the two"),
    ],
)
def test_files_that_do_not_fit_are_named(folder, words, message):
    Path("cut.npy").write_bytes(Path("x.npy").read_bytes()[:-4])
    Path("bytes0.npy").write_bytes(b"")
    np.save("none.npy", VALUES[:0])
    Path("two.txt").write_text("a\nb\n")
    Path("gap.txt").write_text("a\n\nc\n")
    Path("latin.txt").write_bytes("a\nb\nü".encode("latin-1"))
    with pytest.raises(WrongUse, match=message) as caught:
        build(*words)
    assert "\n" not in str(caught.value)
    assert not Path("s").exists()


def test_build_for_a_dataset_then_info_and_verify(folder, capsys):
    words = ("--modality", "text", "--encoder", "toy", "--values", "x.npy", "--ids", "ids.txt")
    store("build", *words, "--dataset", "toys")
    assert "modality/toys/text: text, 3 items × 2, float32, by toy" in capsys.readouterr().out
    store("info", "modality/toys/text", "--json")
    shown = json.loads(capsys.readouterr().out)
    assert (shown["rows"], shown["width"], shown["source"]) == (3, 2, "x.npy")
    store("verify", "modality/toys/text")
    assert "3 rows as written" in capsys.readouterr().out
    with pytest.raises(WrongUse, match="overwrite"):
        store("build", *words, "--dataset", "toys")


def test_zero_rows_are_pointed_out(folder, capsys):
    np.save("x.npy", np.array([[0, 0], [1, 0], [0, 0]], np.float32))
    build("--values", "x.npy", "--ids", "ids.txt")
    assert "2 rows are all zero" in capsys.readouterr().out


def test_real_vectors_of_posters(tmp_path):
    data = Path(__file__).parents[2] / "../shared/data/ml-100k-posters"
    if not data.is_dir():
        pytest.skip("needs ../shared/data/ml-100k-posters")
    words = ("--ids", str(data / "item_tokens.txt"), "--encoder", "lite0", "--out", str(tmp_path / "s"))
    image, mask = data / "image_efficientnet_lite0_1280.npy", data / "image_present.npy"
    store("build", "--modality", "image", "--values", str(image), "--present", str(mask), *words)
    built = ModalityStore.open(tmp_path / "s")
    assert (built.rows, built.width) == (1663, 1280)
    row = built.tokens.tolist().index("50")
    np.testing.assert_array_equal(built.values[row], np.load(image, mmap_mode="r")[49])
