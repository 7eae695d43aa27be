"""The three layouts of MovieLens, and RecBole's knowledge triples as documents."""

import argparse
import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from recbole_mm.convert import movielens
from recbole_mm.convert.movielens import item_text, knowledge_documents
from recbole_mm.errors import WrongUse

POSTERS = Path(__file__).parents[3] / "shared" / "data" / "ml-100k-posters"
RATINGS = [("1", "10", "5", "978300760"), ("1", "20", "3", "978302109"), ("2", "10", "4", "978301968")]


def convert(*argv):
    parser = argparse.ArgumentParser()
    movielens.add_arguments(parser)
    return movielens.main(parser.parse_args([str(arg) for arg in argv]))


def atomic(path):
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def write_100k(folder):
    folder.mkdir()
    (folder / "u.data").write_text("".join("\t".join(row) + "\n" for row in RATINGS))
    flags = {"10": "0|0|0|1|1|1" + "|0" * 13, "20": "1" + "|0" * 18}
    (folder / "u.item").write_bytes(
        (
            f"10|Toy Story (1995)|01-Jan-1995||http://x|{flags['10']}\n"
            f"20|Misérables, Les (1995)|01-Jan-1995||http://x|{flags['20']}\n"
        ).encode("latin-1")
    )
    (folder / "u.user").write_text("1|24|M|technician|85711\n2|53|F|other|94043\n")
    return folder


def write_1m(folder):
    folder.mkdir()
    (folder / "ratings.dat").write_text("".join("::".join(row) + "\n" for row in RATINGS))
    (folder / "movies.dat").write_bytes(
        "10::Toy Story (1995)::Animation|Children's|Comedy\n20::Misérables, Les (1995)::unknown\n".encode(
            "latin-1"
        )
    )
    (folder / "users.dat").write_text("1::M::24::10::85711\n2::F::53::16::94043\n")
    return folder


def write_csv(folder):
    folder.mkdir()
    (folder / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n" + "".join(",".join(row) + "\n" for row in RATINGS)
    )
    (folder / "movies.csv").write_text(
        'movieId,title,genres\n10,Toy Story (1995),Animation|Children\'s|Comedy\n20,"Misérables, Les (1995)",unknown\n',
        encoding="utf-8",
    )
    (folder / "links.csv").write_text("movieId,imdbId,tmdbId\n10,0114709,862\n20,0113828,\n")
    return folder


def write_recbole(folder):
    folder.mkdir()
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    (folder / "x.inter").write_text(header + "".join("\t".join(row) + "\n" for row in RATINGS))
    (folder / "x.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "10\tToy Story\t1995\tAnimation Children's Comedy\n20\tMisérables, Les\t1995\tunknown\n",
        encoding="utf-8",
    )
    return folder


def test_recbole_set_comes_back_byte_by_byte(tmp_path):
    folder = write_recbole(tmp_path / "ml")
    convert(folder, "--out", tmp_path / "out")
    for suffix in ("inter", "item"):
        assert (tmp_path / f"out/ml/ml.{suffix}").read_bytes() == (folder / f"x.{suffix}").read_bytes()


LAYOUTS = {"100k": write_100k, "1m": write_1m, "csv": write_csv}


@pytest.mark.parametrize("layout", [*LAYOUTS, "recbole"])
def test_every_layout_gives_the_same(tmp_path, layout):
    convert({**LAYOUTS, "recbole": write_recbole}[layout](tmp_path / "ml"), "--out", tmp_path / "out")
    folder = tmp_path / "out" / "ml"
    assert atomic(folder / "ml.inter").values.tolist() == [list(row) for row in RATINGS]
    items = atomic(folder / "ml.item").set_index("item_id:token")
    assert items.loc["10"].tolist()[:3] == ["Toy Story", "1995", "Animation Children's Comedy"]
    assert items.loc["20", "movie_title:token_seq"] == "Misérables, Les"
    texts = pq.read_table(folder / "items.parquet").to_pylist()
    assert texts[0] == {
        "item_id": "10", "title": "Toy Story", "year": "1995", "genres": "Animation, Children's, Comedy"
    }  # fmt: skip
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["users"], summary["items"], summary["interactions"]) == (2, 2, 3)
    assert (summary["text_share"], summary["from"], summary["problems"]) == (1.0, "2000-12-31", {})


def test_users_and_links(tmp_path):
    convert(write_1m(tmp_path / "ml-1m"), "--out", tmp_path / "out")
    users = atomic(tmp_path / "out/ml-1m/ml-1m.user")
    assert users.iloc[0].to_dict() == {
        "user_id:token": "1", "gender:token": "M", "age:token": "24", "occupation:token": "10",
        "zip_code:token": "85711",
    }  # fmt: skip
    convert(write_csv(tmp_path / "latest"), "--out", tmp_path / "out")
    items = atomic(tmp_path / "out/latest/latest.item")
    assert items["imdb_id:token"].tolist() == ["tt0114709", "tt0113828"]
    assert items["tmdb_id:token"].tolist() == ["862", ""]


def test_overviews_posters_and_filters(tmp_path):
    (tmp_path / "o.csv").write_text("movie_id,title,overview,votes\n10,x,A toy lives.,7\n20,y,,8\n")
    (tmp_path / "posters").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "posters" / "20.png")
    ml = write_100k(tmp_path / "ml")
    convert(
        ml, "--name", "small", "--overviews", tmp_path / "o.csv", "--posters", tmp_path / "posters",
        "--out", tmp_path / "out",
    )  # fmt: skip
    items = pq.read_table(tmp_path / "out/small/items.parquet").to_pandas().set_index("item_id")
    assert list(items) == ["title", "year", "genres", "overview", "image_path"]
    assert items.loc["10", "overview"] == "A toy lives."
    assert (tmp_path / "out/small" / items.loc["20", "image_path"]).is_file()
    assert json.loads((tmp_path / "out/small/summary.json").read_text())["image_share"] == 0.5
    convert(ml, "--out", tmp_path / "out", "--item-k", "2")
    assert atomic(tmp_path / "out/ml/ml.item")["item_id:token"].tolist() == ["10"]
    with pytest.raises(WrongUse, match="no column 'plot', found movie_id, title"):
        convert(
            ml, "--overviews", tmp_path / "o.csv", "--overview-columns", "plot", "--out", tmp_path / "out"
        )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_faulty_ratings_are_counted(tmp_path, layout):
    folder = LAYOUTS[layout](tmp_path / "ml")
    path, separator = {
        "100k": (folder / "u.data", "\t"), "1m": (folder / "ratings.dat", "::"), "csv": (folder / "ratings.csv", ",")
    }[layout]  # fmt: skip
    faulty = [("3", "10", "x", "1"), ("3", "10", "4"), ("", "10", "4", "1"), ("1", "20", "1", "5")]
    path.write_text(path.read_text() + "".join(separator.join(row) + "\n" for row in faulty))
    convert(folder, "--out", tmp_path / "out")
    problems = json.loads((tmp_path / "out/ml/summary.json").read_text())["problems"]
    assert {kind: found["count"] for kind, found in problems.items()} == {
        "duplicate_pair": 1, "missing_rating": 1, "missing_user": 1, "unreadable_row": 1
    }  # fmt: skip
    assert atomic(tmp_path / "out/ml/ml.inter").values.tolist()[-1] == ["1", "20", "1", "5"]
    with pytest.raises(WrongUse, match="1 x missing_rating"):
        convert(folder, "--out", tmp_path / "strict", "--strict")


def test_not_movielens(tmp_path):
    with pytest.raises(WrongUse, match=r"no u.data, ratings.dat, ratings.csv or .inter"):
        convert(tmp_path, "--out", tmp_path)


def write_graph(folder):
    (folder / "g.link").write_text("item_id:token\tentity_id:token\n7\tm.a\n8\tm.b\n9\tm.lonely\n")
    (folder / "g.kg").write_text(
        "head_id:token\trelation_id:token\ttail_id:token\n"
        "m.a\tby\tm.x\nm.x\tmade\tm.a\nm.y\tlikes\tm.a\nm.a\tby\tm.x\nm.b\tnext\tm.a\nm.q\tr\tm.q2\n"
    )
    return folder / "g.kg", folder / "g.link"


def test_knowledge_documents(tmp_path):
    found = knowledge_documents(*write_graph(tmp_path))
    # m.x is reached outward, so its edge back adds nothing; m.y and m.b are reached only inward
    assert found.to_dict("records") == [
        {"token": "7", "text": "by:m.x likes~m.y next~m.b"},
        {"token": "8", "text": "next:m.a"},
    ]


def test_knowledge_as_a_column(tmp_path):
    kg, link = write_graph(tmp_path)
    link.write_text(link.read_text().replace("7\t", "10\t"))
    ml = write_100k(tmp_path / "ml")
    convert(ml, "--kg", kg, "--link", link, "--out", tmp_path / "out")
    items = pq.read_table(tmp_path / "out/ml/items.parquet").to_pandas().set_index("item_id")
    assert items.loc["10", "knowledge"] == "by:m.x likes~m.y next~m.b"
    assert pd.isna(items.loc["20", "knowledge"])
    with pytest.raises(WrongUse, match="go together"):
        convert(ml, "--kg", kg, "--out", tmp_path / "out")


def test_item_text(tmp_path):
    path = tmp_path / "x.item"
    path.write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tToy Story\t1995\tAnimation Comedy\n2\tNA\t\t\n3\t\t\tDrama\n4\t\t\t\n"
    )
    assert item_text(path)["text"].tolist() == ["Toy Story (1995). Animation Comedy", "NA", "Drama", ""]
    path.write_text("item_id:token\tname:token\n1\tx\n")
    with pytest.raises(WrongUse, match="no column 'movie_title'"):
        item_text(path)


@pytest.mark.skipif(not POSTERS.is_dir(), reason="the posters of ../shared are absent")
def test_real_overviews_and_posters(tmp_path):
    folder = write_100k(tmp_path / "ml")
    (folder / "u.data").write_text("".join(f"1\t{film}\t4\t{film}\n" for film in range(1, 1683)))
    (folder / "u.item").write_text("".join(f"{film}|F|||{'|0' * 19}\n" for film in range(1, 1683)))
    convert(
        folder, "--overviews", POSTERS / "items.csv", "--posters", POSTERS / "posters", "--out", tmp_path / "out"
    )  # fmt: skip
    items = pq.read_table(tmp_path / "out/ml/items.parquet").to_pandas()
    assert items["image_path"].notna().sum() == 1663
    assert (items["overview"].fillna("") != "").mean() > 0.98
