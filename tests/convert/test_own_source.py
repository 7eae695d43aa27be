"""Filtering a set that a converter wrote: it takes no source's place, and what lies beside it is not lost."""

import argparse
import gzip
import json
import os
import subprocess
import sys

import pandas as pd
import pyarrow.parquet as pq
import pytest

from recbole_mm.convert import command
from recbole_mm.convert.atomic import write_atomic, write_items_parquet
from recbole_mm.convert.staging import Staging
from recbole_mm.errors import WrongUse

REPLACES = "the data set would replace its own source; give another --out, or a new name as NAME=FOLDER"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def convert(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args([str(word) for word in words]))


def write_set(folder, pairs):
    users, items = zip(*pairs, strict=True)
    frame = pd.DataFrame({"user_id:token": users, "item_id:token": items})
    write_atomic(folder, folder.name, frame.assign(**{"timestamp:float": range(len(frame))}))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_beauty(here):
    """Two users and two items with two reviews each, and a third of both with one."""
    pairs = [("u", "1"), ("v", "1"), ("w", "3"), ("u", "2"), ("v", "2")]
    rows = [
        {"reviewerID": u, "asin": i, "overall": 5, "unixReviewTime": k, "reviewText": f"{u} on {i}"}
        for k, (u, i) in enumerate(pairs)
    ]
    metas = [{"asin": i, "title": i, "imUrl": f"http://x/{i}.jpg"} for i in "123"]
    for name, lines in (("Beauty", rows), ("meta", metas)):
        (here / f"{name}.json.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    convert("amazon", "Beauty.json.gz", "--meta", "Beauty=meta.json.gz")


def test_a_set_is_not_filtered_in_its_own_place(here):
    write_beauty(here)
    before = contents(here / "dataset/Beauty")
    with pytest.raises(WrongUse, match=REPLACES):
        convert("atomic-set", "dataset/Beauty", "--k-core", "2", "--strict")
    (here / "link").symlink_to(here / "dataset")
    with pytest.raises(WrongUse, match=REPLACES):
        convert("atomic-set", "link/Beauty", "--k-core", "2")
    assert contents(here / "dataset/Beauty") == before
    convert("atomic-set", "dataset/Beauty", "--summary")  # writes nothing
    assert contents(here / "dataset/Beauty") == before


def test_a_pair_is_not_renamed_twice(here):
    for name in "AB":
        write_set(here / "dataset" / name, [("1", "x"), ("2", "y")])
    with pytest.raises(WrongUse, match=REPLACES):
        convert("recbole-cdr", "dataset/A", "dataset/B", "--separate-users")
    with pytest.raises(WrongUse, match=f"dataset/B: {REPLACES}"):
        convert("recbole-cdr", "B=dataset/A", "C=dataset/B", "--separate-users")
    convert("recbole-cdr", "C=dataset/A", "D=dataset/B", "--separate-users")
    assert pd.read_csv("dataset/C/C.inter", sep="\t")["user_id:token"].tolist() == ["C:1", "C:2"]


def test_movielens_does_not_replace_the_atomic_set_that_it_reads(here):
    write_set(here / "dataset/ml", [("1", "x"), ("2", "y")])
    file = here / "dataset/ml/ml.inter"
    frame = pd.read_csv(file, sep="\t").assign(**{"rating:float": 3})
    frame.to_csv(file, sep="\t", index=False)
    with pytest.raises(WrongUse, match=REPLACES):
        convert("movielens", "dataset/ml")
    convert("movielens", "dataset/ml", "--name", "films")


def test_reviews_and_addresses_follow_the_filters(here):
    write_beauty(here)
    convert("atomic-set", "small=dataset/Beauty", "--k-core", "2", "--strict")
    out = here / "dataset/small"
    reviews = pq.read_table(out / "reviews.parquet").to_pandas()
    inter = pd.read_csv(out / "small.inter", sep="\t", dtype=str)
    assert reviews["user_id"].tolist() == inter["user_id:token"].tolist() == ["u", "v", "u", "v"]
    assert reviews["text"].tolist() == ["u on 1", "v on 1", "u on 2", "v on 2"]
    assert reviews["timestamp"].tolist() == [0, 1, 3, 4]
    assert (out / "image_urls.tsv").read_text() == "1\thttp://x/1.jpg\n2\thttp://x/2.jpg\n"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["review_share"] == 1
    assert {"reviews.parquet", "image_urls.tsv"} <= set(summary["files"])


def test_without_filters_the_reviews_come_back(here):
    write_beauty(here)
    convert("atomic-set", "dataset/Beauty", "--out", "out")
    for name in ("reviews.parquet", "image_urls.tsv"):
        assert (here / "out/Beauty" / name).read_bytes() == (here / "dataset/Beauty" / name).read_bytes()


def test_reviews_get_the_new_ids(here):
    write_beauty(here)
    write_set(here / "dataset/B", [("1", "x"), ("2", "y")])
    convert("recbole-cdr", "A=dataset/Beauty", "C=dataset/B", "--separate-users", "--separate-items")
    reviews = pq.read_table(here / "dataset/A/reviews.parquet").to_pandas()
    assert reviews[["user_id", "item_id"]].values.tolist()[2] == ["A:w", "A:3"]
    assert (here / "dataset/A/image_urls.tsv").read_text().startswith("A:1\t")


def test_files_that_are_not_carried_are_named(here, capsys):
    write_beauty(here)
    folder = here / "dataset/Beauty"
    (folder / "Beauty.net").write_text("from:token\tto:token\nu\tv\n")  # users, or what?
    (folder / "Beauty.yaml").write_text("load_col: {inter: [user_id, item_id, timestamp]}\n")
    reviews = pq.read_table(folder / "reviews.parquet")
    pq.write_table(reviews.slice(1), folder / "reviews.parquet")  # no longer row by row
    convert("atomic-set", "small=dataset/Beauty")
    assert "small: 3 x not_carried, first at Beauty/Beauty.net" in capsys.readouterr().out
    assert not (here / "dataset/small/reviews.parquet").exists()
    with pytest.raises(WrongUse, match=r"--strict: 3 x not_carried \(file of the source that is neither"):
        convert("atomic-set", "small=dataset/Beauty", "--strict")
    capsys.readouterr()
    convert("atomic-set", "dataset/Beauty", "--summary")  # writes nothing
    assert "not_carried" not in capsys.readouterr().out


def test_items_parquet_with_an_index_or_bytes(here):
    write_set(here / "in/s", [("u", "1"), ("v", "2")])
    write_items_parquet(here / "in/s", pd.DataFrame({"item_id": ["1", "2"], "title": ["A", "B"]}))
    frame = pd.read_parquet("in/s/items.parquet")
    frame.set_index("item_id").to_parquet("in/s/items.parquet")
    convert("atomic-set", "in/s")
    assert pq.read_table("dataset/s/items.parquet").to_pydict() == {
        "title": ["A", "B"],
        "item_id": ["1", "2"],
    }
    frame.assign(image_path=[b"\xff", None]).to_parquet("in/s/items.parquet")
    with pytest.raises(WrongUse, match=r"items\.parquet: bytes in 'image_path'; it names the files"):
        convert("atomic-set", "in/s")
    (here / "in/s/items.parquet").write_bytes(b"PAR1")
    with pytest.raises(WrongUse, match=r"items\.parquet: not readable as parquet"):
        convert("atomic-set", "in/s")


def test_what_a_killed_process_left_is_removed_by_the_next(here):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = {f".s.{gone.pid}.partial": False, f".s.{os.getppid()}.partial": True}
    names |= {f".s.b.{gone.pid}.partial": True, ".s.x.partial": True}
    for name in names:
        (here / "out" / name).mkdir(parents=True)
    with Staging("out", "s") as staging:
        (staging.folder / "a").touch()
    assert {name: (here / "out" / name).exists() for name in names} == names
    assert (here / "out/s/a").is_file()
