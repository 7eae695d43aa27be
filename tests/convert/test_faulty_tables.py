"""Tables that a converter could misread in silence: an index of pandas, stray quotes, columns that collide."""

import argparse
import json
import os
from pathlib import Path

import pandas as pd
import pytest

from recbole_mm.convert import command, read_table
from recbole_mm.errors import WrongUse

TSV = ("--interactions", "i.tsv", "--user", "user", "--item", "item")
PARQUET = ("--interactions", "i.parquet", "--user", "user", "--item", "item")
ITEMS = ("--items", "items.csv", "--item-id", "id")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("i.tsv").write_text("user\titem\tn\nu1\t1\ta\nu2\t2\tb\n")
    Path("items.csv").write_text("id,a b,a_b,item_id,img\n1,x,y,z,pics/a.jpg\n2,x,y,z,\n")
    return tmp_path


def convert(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args(["table", "--name", "toy", *words]))


def rows() -> list[list[str]]:
    return pd.read_csv("dataset/toy/toy.inter", sep="\t", dtype=str, keep_default_na=False).values.tolist()


@pytest.mark.parametrize("chunk", [1 << 18, 3])
@pytest.mark.parametrize("change", ["reversed", "a slice", "an id as index", "plain"])
def test_an_index_of_pandas_moves_no_column(monkeypatch, chunk, change):
    monkeypatch.setattr(read_table, "CHUNK_ROWS", chunk)
    numbers = range(20)
    frame = pd.DataFrame(
        {
            "user": [f"u{k}" for k in numbers],
            "item": [f"i{k}" for k in numbers],
            "t": [1000 + k for k in numbers],
            "n": [f"n{k}" for k in numbers],
        }
    )
    left = {"reversed": frame[::-1], "a slice": frame.iloc[5:15]}.get(change, frame)
    (left.set_index("user") if change == "an id as index" else left).to_parquet("i.parquet")
    convert(*PARQUET, "--timestamp", "t", "--keep", "n")
    expected = [[f"u{k}", f"i{k}", str(1000 + k), f"n{k}"] for k in left.index]
    assert rows() == expected


def test_an_index_of_pandas_in_a_table_of_items():
    pd.DataFrame({"id": ["1", "2"], "title": ["A", "B"]})[::-1].set_index("id").to_parquet("items.parquet")
    convert(*TSV, "--items", "items.parquet", "--item-id", "id", "--text", "title")
    found = pd.read_parquet("dataset/toy/items.parquet").set_index("item_id")["title"].to_dict()
    assert found == {"1": "A", "2": "B"}


def test_a_stray_quote_takes_in_no_rows():
    Path("i.tsv").write_text('user\titem\tn\nu1\t1\t"a\nu2\t2\tb\nu3\t3\t"c\nu4\t4\td\n')
    said = r'i\.tsv, line 2: text behind a closed quote; a cell that starts with a quote is written "…", each'
    with pytest.raises(WrongUse, match=said):
        convert(*TSV, "--keep", "n")
    with pytest.raises(WrongUse, match="line 2"):  # also where nobody asks for that column
        convert(*TSV)
    Path("i.tsv").write_text('user\titem\tn\nu1\t1\ta\nu2\t2\t"b\nu3\t3\tc\n')
    with pytest.raises(WrongUse, match=r"i\.tsv, line 3: a quote that is not closed"):
        convert(*TSV, "--keep", "n")


def test_items_behind_a_stray_quote_are_not_lost():
    Path("items.csv").write_text('id,title\n1,"A\n2,B\n3,"C" d\n')
    with pytest.raises(WrongUse, match=r"items\.csv, line 2: text behind a closed quote"):
        convert(*TSV, *ITEMS, "--text", "title")


def test_a_cell_that_may_hold_rows_is_counted(capsys):
    """Between two stray quotes in one column lie whole rows; nobody can tell them from a cell."""
    Path("i.tsv").write_text('user\titem\tn\nu1\t1\t"a\nu2\t2\tb"\nu4\t4\td\n')
    convert(*TSV)
    assert "toy: 1 x quoted_rows, first at i.tsv:2" in capsys.readouterr().out
    with pytest.raises(WrongUse, match=r"--strict: 1 x quoted_rows"):
        convert(*TSV, "--strict")


def test_line_breaks_and_separators_in_quotes_stay():
    Path("items.csv").write_text('id,title,more\n1,"A, ""b""\nand, c, d","x\r\ny"\n2,B,\n')
    convert(*TSV, *ITEMS, "--text", "title", "more", "--strict")
    items = pd.read_parquet("dataset/toy/items.parquet")
    assert items["title"].tolist() == ['A, "b"\nand, c, d', "B"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--category", "item_id"), r"--category: the \.item file would have 'item_id' twice"),
        (("--category", "a b", "a_b"), r"--category: the \.item file would have 'a_b' twice"),
        (("--text", "a_b", "a_b"), r"--text: items\.parquet would have 'a_b' twice"),
        (("--text", "item_id", "--image-path", "item_id"), "--text: .* would have 'item_id' twice"),
        (("--category", "a_b", "--category-separator", ""), "--category-separator: empty"),
        (("--separator", ";;"), "--separator: ';;' is not one ASCII character"),
        (("--separator", '"'), "--separator: '\"' is not one ASCII character"),
        (("--encoding", "latin99"), "--encoding: Python knows no 'latin99'"),
        (("--encoding", "hex"), "--encoding: Python knows no 'hex'"),
        (("--json", "."), r"--json: \. is a folder; name a file"),
        (("--out", "i.tsv"), r"--out: .*i\.tsv is a file"),
    ],
)
def test_wrong_options_are_one_line_and_leave_nothing(words, message):
    with pytest.raises(WrongUse, match=message) as caught:
        convert(*TSV, *ITEMS, *words)
    assert "\n" not in str(caught.value)
    assert not Path("dataset/toy").exists()


def test_images_through_a_linked_folder(here):
    """``..`` from the data set leads out of where its folder really is."""
    (here / "disk/deep/data").mkdir(parents=True)
    (here / "dataset").symlink_to(here / "disk/deep/data")
    (here / "pics").mkdir()
    (here / "pics/a.jpg").write_bytes(b"x")
    convert(*TSV, *ITEMS, "--image-path", "img")
    image = pd.read_parquet("dataset/toy/items.parquet")["image_path"][0]
    assert os.path.samefile(here / "dataset/toy" / image, here / "pics/a.jpg")


def test_a_name_that_no_file_can_have_is_a_missing_image():
    Path("items.csv").write_text(f"id,img\n1,{'y' * 300}.jpg\n2,\n")
    convert(*TSV, *ITEMS, "--image-path", "img", "--json", "f.json")
    problems = json.loads(Path("f.json").read_text())["datasets"][0]["problems"]
    assert problems["missing_image"]["count"] == 1
