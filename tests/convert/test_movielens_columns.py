"""Columns by their names, texts as they stand, and what does not fit said: MovieLens CSVs and texts about films."""

import argparse
import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from recbole_mm.convert import movielens
from recbole_mm.errors import WrongUse


@pytest.fixture
def ml(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ml").mkdir()
    (tmp_path / "ml/ratings.csv").write_text("userId,movieId,rating,timestamp\n1,10,4.0,100\n2,20,3.5,200\n")
    (tmp_path / "ml/movies.csv").write_text("movieId,title,genres\n10,A (1995),Drama\n20,B (1996),Drama\n")
    return tmp_path / "ml"


def convert(*argv):
    parser = argparse.ArgumentParser()
    movielens.add_arguments(parser)
    return movielens.main(parser.parse_args([str(arg) for arg in argv]))


def inter():
    return pd.read_csv("dataset/ml/ml.inter", sep="\t", dtype=str).values.tolist()


def problems():
    return json.loads(open("dataset/ml/summary.json").read())["problems"]


@pytest.mark.parametrize("fault", ["", "3,10,5,x,\n"])
def test_ratings_are_known_by_the_names_of_their_columns(ml, fault):
    (ml / "ratings.csv").write_text(
        "userId,movieId,timestamp,note,rating\n1,10,100,a,4.0\n2,20,200,,3.5\n" + fault
    )
    convert(ml)
    assert inter() == [["1", "10", "4", "100"], ["2", "20", "3.5", "200"]]
    assert problems() == ({"missing_rating": {"count": 1, "first": "ratings.csv:4"}} if fault else {})


def test_a_rating_with_a_field_too_many_is_counted(ml):
    (ml / "ratings.csv").write_text((ml / "ratings.csv").read_text() + "3,10,4.0,100,7\n")
    convert(ml)
    assert problems() == {"unreadable_row": {"count": 1, "first": "ratings.csv:4"}}
    (ml / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,10,4.0,100,7\n2,20,3.5,200,7\n")
    with pytest.raises(WrongUse, match=r"no row has the fields of a rating; see ratings\.csv:2"):
        convert(ml, "--out", "other")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("userId,movieId,rating,when", r"ratings\.csv: no column 'timestamp', found userId, movieId, rating"),
        ("7,9,3.0,100", r"ratings\.csv: no column 'userId', found 7, 9, 3.0, 100"),
        ("userId,movieId,rating,rating,timestamp", r"ratings\.csv: column 'rating' is there twice"),
    ],
)
def test_ratings_without_their_header(ml, header, said):
    (ml / "ratings.csv").write_text(f"{header}\n1,10,4.0,100\n2,20,3.5,200\n")
    with pytest.raises(WrongUse, match=said):
        convert(ml)


def test_a_film_that_is_described_twice_is_counted(ml):
    (ml / "movies.csv").write_text((ml / "movies.csv").read_text() + "10,Other (2000),Drama\n")
    convert(ml)
    assert problems() == {"duplicate_item": {"count": 1, "first": "movies.csv:4"}}
    with pytest.raises(WrongUse, match="--strict: 1 x duplicate_item"):
        convert(ml, "--strict")


def test_movies_behind_a_stray_quote_are_not_lost(ml):
    (ml / "movies.csv").write_text('movieId,title,genres\n10,"A (1995),Drama\n20,"B (1996),Drama\n')
    with pytest.raises(WrongUse, match=r"movies\.csv, line 2: text behind a closed quote"):
        convert(ml)


def overview(ml, data, *more):
    (ml.parent / "o.csv").write_bytes(data)
    convert(ml, "--overviews", "o.csv", *more)
    return pq.read_table("dataset/ml/items.parquet").to_pandas()["overview"].tolist()


def test_overviews_keep_their_letters(ml):
    assert overview(ml, "movie_id,overview\n10,a café\n20,b\n".encode("latin-1")) == ["a café", "b"]
    assert problems() == {"encoding": {"count": 1, "first": "o.csv"}}
    with pytest.raises(WrongUse, match="--strict: 1 x encoding"):
        overview(ml, "movie_id,overview\n10,a café\n".encode("latin-1"), "--strict")


def test_a_second_overview_is_counted(ml):
    assert overview(ml, b"movie_id,overview\n10,first\n10,second\n20,b\n") == ["first", "b"]
    assert problems() == {"duplicate_item": {"count": 1, "first": "o.csv:3"}}


def test_texts_of_no_film_are_refused(ml):
    with pytest.raises(
        WrongUse,
        match=r"^--overviews: o\.csv says nothing of any film of ratings\.csv; ids are text: '0010' may be '10'",
    ):
        overview(ml, b"movie_id,overview\n0010,a\n0020,b\n")
    (ml.parent / "g.link").write_text("item_id:token\tentity_id:token\n7\tm.a\n")
    (ml.parent / "g.kg").write_text("head_id:token\trelation_id:token\ttail_id:token\nm.a\tby\tm.x\n")
    with pytest.raises(WrongUse, match=r"^--link: g\.link says nothing of any film of ratings\.csv; is it"):
        convert(ml, "--kg", "g.kg", "--link", "g.link")


@pytest.mark.parametrize("columns", ["overview,overview", "title", "movie_id"])
def test_columns_of_overviews_that_collide(ml, columns):
    with pytest.raises(WrongUse, match=r"^--overview-columns: "):
        overview(ml, b"movie_id,title,overview\n10,x,a\n", "--overview-columns", columns)
