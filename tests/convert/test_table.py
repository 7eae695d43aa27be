"""``recbole-mm convert table``: columns named on the command line, ids as text, errors with file and row."""

from __future__ import annotations

import argparse
import gzip
import json
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest

from recbole_mm.convert import CONVERTERS, command, read_table
from recbole_mm.errors import WrongUse

ROWS = """user,item,stars,when,note
u1,0108775015,5,2024-05-31,A B
u1,0108775015,4,2024-05-31T12:00:00,"q, x"
007,7,3,2024-06-01T12:00:00+02:00,
"""
ITEMS = """id,title,about,kind,img
0108775015,"A ""b""
c",,x|y z,pics/a.jpg
8, ,only about,,
9,t,,w,gone.jpg
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("i.csv").write_text(ROWS)
    Path("items.csv").write_text(ITEMS)
    Path("pics").mkdir()
    Path("pics/a.jpg").write_bytes(b"")
    return tmp_path


def convert(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args(["table", "--name", "toy", *words]))


def columns_of(file: str) -> dict[str, list]:
    return pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False).to_dict("list")


BASE = ("--interactions", "i.csv", "--user", "user", "--item", "item")


def test_interactions_and_items(folder, capsys):
    convert(
        *(*BASE, "--rating", "stars", "--timestamp", "when", "--keep", "note:token_seq", "stars:token"),
        *("--items", "items.csv", "--item-id", "id", "--text", "title", "about"),
        *("--category", "kind", "--category-separator", "|", "--image-path", "img", "--repeats", "all"),
    )
    assert columns_of("dataset/toy/toy.inter") == {
        "user_id:token": ["u1", "u1", "007"],
        "item_id:token": ["0108775015", "0108775015", "7"],
        "rating:float": ["5", "4", "3"],
        "timestamp:float": ["1717113600", "1717156800", "1717236000"],
        "note:token_seq": ["A B", "q, x", ""],
        "stars:token": ["5", "4", "3"],
    }
    assert columns_of("dataset/toy/toy.item") == {
        "item_id:token": ["0108775015", "7"],  # 8 and 9 have no row, 7 no description
        "kind:token_seq": ["x y_z", ""],
    }
    items = pd.read_parquet("dataset/toy/items.parquet")
    assert items["item_id"].tolist() == ["0108775015", "8", "9"]
    assert items["title"].fillna("-").tolist() == ['A "b"\nc', "-", "t"]
    assert items["about"].fillna("-").tolist() == ["-", "only about", "-"]
    image = items["image_path"]
    assert image.isna().tolist() == [False, True, True]
    assert (folder / "dataset/toy" / image[0]).resolve() == folder / "pics/a.jpg"
    shown = capsys.readouterr().out
    assert "toy: 1 x duplicate_pair, first at i.csv row 2" in shown
    assert "1 of 2 items of i.csv are not in items.csv; ids are text: the first is '7'" in shown


def test_the_whole_catalogue_on_demand(folder):
    convert(*ITEM_WORDS, "--category", "kind", "--all-items")
    assert columns_of("dataset/toy/toy.item") == {
        "item_id:token": ["0108775015", "8", "9", "7"],
        "kind:token": ["x|y z", "", "w", ""],
    }


def test_the_figures_as_json(folder, capsys):
    convert(*BASE, "--json", "-", "--items", "items.csv", "--item-id", "id", "--text", "title")
    summary = json.loads(capsys.readouterr().out)["datasets"][0]
    assert (summary["users"], summary["items"], summary["interactions"]) == (2, 2, 2)
    assert summary["density"] == 0.5
    assert (summary["dropped"]["repeated"], summary["items_without_description"]) == (1, 1)
    assert summary["text_share"] == 0.5


@pytest.mark.parametrize("chunk", [1 << 18, 1])
def test_of_repeated_pairs_one_is_kept_over_chunks(folder, monkeypatch, capsys, chunk):
    monkeypatch.setattr(read_table, "CHUNK_ROWS", chunk)
    pd.read_csv("i.csv", dtype=str).to_parquet("i.parquet")
    words = ("--interactions", "i.parquet", "--user", "user", "--item", "item", "--keep", "stars:float")
    convert(*words, "--json", "-")
    assert columns_of("dataset/toy/toy.inter")["stars:float"] == ["5", "3"]
    summary = json.loads(capsys.readouterr().out)["datasets"][0]
    assert (summary["interactions"], summary["dropped"]) == (2, {"repeated": 1})
    assert summary["problems"] == {"duplicate_pair": {"count": 1, "first": "i.parquet row 2"}}
    convert(*words)
    assert (
        "toy: dropped by repeated 1\ntoy: 1 x duplicate_pair, first at i.parquet row 2"
        in capsys.readouterr().out
    )
    convert(*words, "--repeats", "last")
    assert columns_of("dataset/toy/toy.inter")["stars:float"] == ["4", "3"]
    convert(*words, "--repeats", "all")
    assert columns_of("dataset/toy/toy.inter")["stars:float"] == ["5", "4", "3"]
    Path("i.csv").write_text(ROWS.replace("2024-05-31,", "2024-06-07,"))
    convert(*BASE, "--timestamp", "when", "--keep", "stars:float")  # the first by time
    assert columns_of("dataset/toy/toy.inter")["stars:float"] == ["4", "3"]
    assert json.loads(Path("dataset/toy/summary.json").read_text())["to"] == "2024-06-01"


def test_missing_pictures_are_counted_and_named(folder, capsys):
    words = (*BASE, "--items", "items.csv", "--item-id", "id", "--image-path", "img")
    convert(*words)
    assert "toy: 1 x missing_image, first at gone.jpg" in capsys.readouterr().out
    with pytest.raises(
        WrongUse, match=r"^--strict: .*1 x missing_image \(image file that is not there; .*gone.jpg"
    ):
        convert(*words, "--repeats", "all", "--strict")


def test_ids_that_differ_by_leading_zeros(folder, capsys):
    Path("items.csv").write_text("id,title\n108775015,A\n7,B\n")
    convert(*BASE, "--items", "items.csv", "--item-id", "id", "--text", "title")
    said = (
        "1 of 2 items of i.csv are not in items.csv; ids are text: '0108775015' there may be '108775015' here"
    )
    assert said in capsys.readouterr().out


def test_doubtful_times_and_ratings_are_counted(folder, capsys):
    Path("i.csv").write_text("user,item,stars,when\na,b,0,0001-01-01\na,c,1,1970-01-01\nb,b,0,2020-01-01\n")
    convert(*BASE, "--rating", "stars", "--timestamp", "when")
    shown = capsys.readouterr().out
    assert "toy: 1 x negative_time, first at i.csv row 1" in shown
    assert "toy: 2 x zero_rating, first at i.csv row 1" in shown
    assert columns_of("dataset/toy/toy.inter")["rating:float"] == ["0", "1", "0"]


def test_many_csv_chunks_equal_one(folder, monkeypatch):
    rows = "".join(f'u{n % 7},{n:04d},{n}.5,"a\nb"\n' for n in range(500))
    Path("many.csv").write_text("u,i,t,x\n" + rows)
    words = ("--interactions", "many.csv", "--user", "u", "--item", "i", "--timestamp", "t", "--keep", "x")
    convert(*words)
    whole = Path("dataset/toy/toy.inter").read_bytes()
    monkeypatch.setattr(read_table, "CHUNK_BYTES", 300)
    convert(*words)
    assert Path("dataset/toy/toy.inter").read_bytes() == whole
    assert whole.count(b"\n") == 501


def test_other_formats_give_the_same(folder):
    convert(*BASE)
    expected = Path("dataset/toy/toy.inter").read_bytes()
    table = pd.read_csv("i.csv", dtype=str)
    table.to_parquet("i.parquet")
    table.to_csv("i.tsv", sep="\t", index=False)
    table.to_csv("i.txt", sep=";", index=False, encoding="latin-1")
    Path("i.csv.gz").write_bytes(gzip.compress(ROWS.encode()))
    Path("bom.csv").write_bytes(("\ufeff" + ROWS).encode())
    for words in (
        ["i.parquet"],
        ["i.tsv"],
        ["i.csv.gz"],
        ["bom.csv"],
        ["i.txt", "--separator", ";", "--encoding", "latin-1"],
    ):
        convert("--interactions", *words, "--user", "user", "--item", "item")
        assert Path("dataset/toy/toy.inter").read_bytes() == expected, words


def test_parquet_types(folder):
    pd.DataFrame(
        {
            "u": pd.array([2**60 + 1, 2], "Int64"),
            "i": [10.0, 20.0],
            "t": pd.to_datetime(["2024-05-31 00:00:00.25", "2024-06-01 00:00:00.00"]),
            "p": [1.5, 2.0],
        }
    ).to_parquet("i.parquet")
    convert(
        "--interactions", "i.parquet", "--user", "u", "--item", "i", "--timestamp", "t", "--keep", "p:float"
    )
    read = columns_of("dataset/toy/toy.inter")
    assert read["user_id:token"] == [str(2**60 + 1), "2"]
    assert read["item_id:token"] == ["10", "20"]
    assert [float(text) for text in read["timestamp:float"]] == [1717113600.25, 1717200000.0]
    assert read["p:float"] == ["1.5", "2"]


def test_numbers_as_time_are_taken_as_they_are(folder):
    Path("n.csv").write_text("u,i,t\na,b,5\nc,d,1.5\n")
    convert("--interactions", "n.csv", "--user", "u", "--item", "i", "--timestamp", "t")
    assert [float(t) for t in columns_of("dataset/toy/toy.inter")["timestamp:float"]] == [5.0, 1.5]


ITEM_WORDS = (*BASE, "--items", "items.csv", "--item-id", "id")


@pytest.mark.parametrize(
    ("files", "words", "message"),
    [
        (
            {},
            ("--interactions", "j.csv", "--user", "user", "--item", "item"),
            "j.csv: no such file; did you mean",
        ),
        (
            {},
            ("--interactions", "i.csv", "--user", "usr", "--item", "item"),
            "no column 'usr'; did you mean 'user'",
        ),
        ({}, (*BASE, "--keep", "nte:token"), "no column 'nte'; did you mean 'note'"),
        ({"i.csv": ""}, BASE, "i.csv: empty"),
        ({"i.csv": "user,item\n"}, BASE, "i.csv: no rows after the header"),
        ({"i.csv": "user,item,user\na,b,c\n"}, BASE, "column 'user' is there twice"),
        ({"i.csv": "user,item\na,b\n,c\n"}, BASE, "i.csv: row 2 has no value in 'user'"),
        (
            {"i.csv": "user,item\na,b\nc,NA\n"},
            BASE,
            "i.csv: row 2 has a value that RecBole reads as missing in 'item'",
        ),
        ({"i.csv": "user,item\na,b\na,b,c\n"}, BASE, "i.csv: not readable .*Expected 2 columns, got 3"),
        ({"i.csv": b"user,item\na,\xfc\n"}, BASE, "i.csv: not readable .*--encoding"),
        (
            {"i.csv.gz": gzip.compress(ROWS.encode())[:-30]},
            ("--interactions", "i.csv.gz", *BASE[2:]),
            "i.csv.gz: not readable",
        ),
        ({"i.parquet": "x"}, ("--interactions", "i.parquet", *BASE[2:]), "i.parquet: not readable"),
        ({"i.txt": ROWS}, ("--interactions", "i.txt", *BASE[2:]), "i.txt: not known by its ending"),
        (
            {"i.csv": "user,item,stars\na,b,5\na,c,\n"},
            (*BASE, "--rating", "stars"),
            "row 2 has '' in 'stars'",
        ),
        (
            {"i.csv": "user,item,when\na,b,2020-01-01\na,c,soon\n"},
            (*BASE, "--timestamp", "when"),
            "row 2 has 'soon' in 'when'",
        ),
        (
            {"i.csv": "user,item,when\na,b,5\na,c,\n"},
            (*BASE, "--timestamp", "when"),
            "row 2 has '' in 'when'",
        ),
        ({}, (*BASE, "--keep", "note:float"), "row 1 has 'A B' in 'note'"),
        ({}, (*BASE, "--keep", "item", "note", "note"), "would have 'note' twice"),
        ({}, (*BASE, "--text", "title"), "describe --items FILE"),
        ({}, (*BASE, "--all-items"), "describe --items FILE"),
        (
            {},
            (*BASE, "--items", "items.csv"),
            "items.csv: no column 'item'",
        ),
        ({}, (*ITEM_WORDS, "--text", "titel"), "no column 'titel'; did you mean 'title'"),
        ({"items.csv": "id,t\na,1\nb,2\na,3\n"}, ITEM_WORDS, "items.csv: row 3 repeats id 'a'"),
        ({"items.csv": "id,t\na,1\n,2\n"}, ITEM_WORDS, "items.csv: row 2 has no value in 'id'"),
        ({"items.csv": "id,t\n"}, ITEM_WORDS, "items.csv: no rows after the header"),
        ({}, (*BASE, "--strict"), r"--strict: 1 x duplicate_pair \(.*; first at i.csv row 2\)"),
        (
            {},
            (*ITEM_WORDS, "--strict"),
            "--strict: 1 x duplicate_pair",
        ),
        ({}, (*BASE, "--name", "a/b"), "no name for a data set"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(folder, files, words, message):
    for name, content in files.items():
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(WrongUse, match=message) as caught:
        convert(*words)
    assert "\n" not in str(caught.value)
    assert not any(path.is_file() for path in Path("dataset").rglob("*"))
    assert not Path("dataset").exists() or list(Path("dataset").iterdir()) == []


def test_every_converter_is_a_sub_command():
    """Who writes a converter names it in ``CONVERTERS``."""
    room = Path(command.__file__).parent
    defined = {
        file.stem
        for file in room.glob("*.py")
        if "\ndef add_arguments(" in file.read_text(encoding="utf-8") and file.stem != "command"
    }
    assert set(CONVERTERS) == defined
    for name in CONVERTERS:
        module = import_module(f"recbole_mm.convert.{name}")
        assert "\n" not in module.HELP
        module.add_arguments(argparse.ArgumentParser())
        assert callable(module.main)


def test_one_week_of_hm(tmp_path):
    data = Path(__file__).parents[2] / "../shared/data/hm-week"
    if not data.is_dir():
        pytest.skip("needs ../shared/data/hm-week")
    convert(
        *("--interactions", str(data / "interactions.csv"), "--user", "user", "--item", "item"),
        *(
            "--timestamp",
            "date",
            "--keep",
            "price:float",
            "section",
            "--out",
            str(tmp_path),
            "--repeats",
            "all",
        ),
        *(
            "--items",
            str(data / "items.csv"),
            "--item-id",
            "article_id",
            "--text",
            "prod_name",
            "detail_desc",
        ),
    )
    read = pd.read_csv(tmp_path / "toy/toy.inter", sep="\t", dtype=str)
    source = pd.read_csv(data / "interactions.csv", dtype=str)
    assert read["item_id:token"].tolist() == source["item"].tolist()
    assert read["user_id:token"].tolist() == source["user"].tolist()
    assert read["item_id:token"].str.startswith("0").all()
