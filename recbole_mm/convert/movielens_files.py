"""The files of the MovieLens releases as frames with one set of columns.

========================  =============================================  ==========================
release                   ratings, films, users                          separator, encoding
========================  =============================================  ==========================
100k                      ``u.data``, ``u.item``, ``u.user``             tab and ``|``, Latin-1
1M (and 10M)              ``ratings.dat``, ``movies.dat``, ``users.dat`` ``::``, Latin-1 (10M: UTF-8)
latest, 20M, 25M, 32M     ``ratings.csv``, ``movies.csv``, ``links.csv`` CSV, UTF-8
RecBole's atomic set      ``*.inter``, ``*.item``, ``*.user``            tab, UTF-8
========================  =============================================  ==========================
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_mm.convert.frames import read_atomic, require
from recbole_mm.convert.problems import Problems
from recbole_mm.errors import WrongUse
from recbole_mm.modality.read import csv_rows

GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
RATINGS = ("user", "item", "rating", "timestamp")
RATINGS_CSV = {"userId": "user", "movieId": "item", "rating": "rating", "timestamp": "timestamp"}
NARROW = {"user": np.int32, "item": np.int32, "rating": np.float64, "timestamp": np.int64}
_YEAR = re.compile(r"^(.*?)\s*\((\d{4})(?:[-–]\d{0,4})?\)\s*$")


@dataclass(frozen=True)
class MovieLens:
    """``ratings``: user, item, rating, timestamp. ``films``: item, title, year, genres (list), imdb, tmdb.

    ``users`` (100k and 1M): user, age, gender, occupation, zip_code; ids are text everywhere.
    """

    ratings: pd.DataFrame
    films: pd.DataFrame
    users: pd.DataFrame | None
    source: str


def read_movielens(folder: str | Path, problems: Problems) -> MovieLens:
    """Read the release in ``folder``, known by its files.

    Raises:
        WrongUse: no release's files are there.
    """
    folder = Path(folder)
    atomic = sorted(folder.glob("*.inter"))
    if len(atomic) == 1:
        return _read_recbole(atomic[0], problems)
    for name, separator in (("u.data", "\t"), ("ratings.dat", "::"), ("ratings.csv", ",")):
        if (folder / name).is_file():
            ratings = _ratings(folder / name, separator, problems)
            break
    else:
        raise WrongUse(f"{folder}: no u.data, ratings.dat, ratings.csv or .inter; give the unpacked release")
    if name == "u.data":
        described = folder / "u.item"
        films = _films_100k(described, problems)
        users = _table(folder / "u.user", "|", "user age gender occupation zip_code", problems)
    elif name == "ratings.dat":
        described = folder / "movies.dat"
        films = _table(described, "::", "item title genres", problems)
        users = _table(folder / "users.dat", "::", "user gender age occupation zip_code", problems)
    else:
        described = folder / "movies.csv"
        names = {"movieId": "item", "title": "title", "genres": "genres"}
        films, users = _csv(described, names, problems), None
    if films is None or films.empty:
        films = pd.DataFrame({"item": pd.unique(ratings["item"]), "title": "", "genres": ""})
    films = once(films, "item", described, problems)
    if not isinstance(films["genres"].iloc[0], list):
        films["genres"] = [
            [] if text in ("", "(no genres listed)") else text.split("|") for text in films["genres"]
        ]
    parts = [_YEAR.match(title) for title in films["title"]]
    films["year"] = [part[2] if part else "" for part in parts]
    films["title"] = [part[1] if part else title for part, title in zip(parts, films["title"], strict=True)]
    links = _csv(folder / "links.csv", {"movieId": "item", "imdbId": "imdb", "tmdbId": "tmdb"}, problems)
    if links is not None:
        films = films.merge(once(links, "item", folder / "links.csv", problems), on="item", how="left")
        known = films["imdb"].fillna("")
        films["imdb"] = ("tt" + known).where(known != "", "")
        films["tmdb"] = films["tmdb"].fillna("").str.removesuffix(".0")
    return MovieLens(ratings, films, users, name)


def read_csv(path: Path, problems: Problems) -> pd.DataFrame:
    """A CSV with a header as text, by line number; rows with another number of fields are counted and left out."""
    rows: dict[int, list[str]] = {}
    found = csv_rows(io.StringIO(_decoded(path, problems), newline=""), path, ",")
    header = _header(path, found)
    for line, _, cells in found:
        if len(cells) == len(header):
            rows[line] = cells
        elif cells:
            problems.add("unreadable_row", f"{path.name}:{line}")
    return pd.DataFrame(list(rows.values()), list(rows), header, dtype=str)


def _header(path: Path, rows: Iterator[tuple[int, int, list[str]]]) -> list[str]:
    header = next(rows, (0, 0, []))[2]
    again = [name for name in header if header.count(name) > 1]
    if again:
        raise WrongUse(f"{path}: column {again[0]!r} is there twice; rename one")
    return header


def once(frame: pd.DataFrame, column: str, path: Path, problems: Problems) -> pd.DataFrame:
    """The first row of each item; the others are counted, by the line number that their index holds."""
    again = frame[column].duplicated()
    if again.any():
        problems.add("duplicate_item", f"{path.name}:{again.idxmax()}", int(again.sum()))
    return frame[~again].copy()


def _read_recbole(path: Path, problems: Problems) -> MovieLens:
    """The atomic set that RecBole ships or offers for download: title and year are apart already."""
    names = {"user_id": "user", "item_id": "item", "movie_title": "title", "release_year": "year"}
    names |= {"class": "genres", "genre": "genres"}

    def read(suffix: str) -> pd.DataFrame | None:
        if not path.with_suffix(suffix).is_file():
            return None
        frame = read_atomic(path.with_suffix(suffix), problems)
        return frame.rename(columns=lambda name: str(name).partition(":")[0]).rename(columns=names)

    ratings = read(".inter")
    assert ratings is not None
    require(path, ratings, RATINGS)
    films, users = read(".item"), read(".user")
    if films is None:
        films = pd.DataFrame({"item": pd.unique(ratings["item"])})
    if "item" not in films.columns:
        raise WrongUse(f"{path.with_suffix('.item')}: no column 'item_id', found {', '.join(films.columns)}")
    films.index += 2  # lines
    films = once(films, "item", path.with_suffix(".item"), problems)
    films = films.reindex(columns=["item", "title", "year", "genres"]).fillna("")
    films["genres"] = [text.split() for text in films["genres"]]
    return MovieLens(ratings[list(RATINGS)], films, users, path.name)


def _ratings(path: Path, separator: str, problems: Problems) -> pd.DataFrame:
    if separator == ",":
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            require(path, pd.DataFrame(columns=_header(path, csv_rows(stream, path, ","))), RATINGS_CSV)
    try:
        frame = _read_numbers_csv(path) if separator == "," else _read_numbers(path, separator)
        if frame["rating"].isna().any():
            raise ValueError("a rating is missing")
        return frame.astype({"user": str, "item": str})
    except (ValueError, pd.errors.ParserError):  # a faulty row: read again as text, and count
        return _faulty_ratings(path, separator, problems)


def _read_numbers(path: Path, separator: str) -> pd.DataFrame:
    """All columns as numbers; raises where that is impossible. "::" is read as ":" with empty columns."""
    wide = ["user", "", "item", " ", "rating", "  ", "timestamp"]
    names = wide if separator == "::" else list(RATINGS)
    columns: dict[str, Any] = {"header": None, "names": names, "usecols": list(RATINGS), "dtype": NARROW}
    return pd.read_csv(path, sep=separator[0], encoding="latin-1", **columns)[list(RATINGS)]


def _read_numbers_csv(path: Path) -> pd.DataFrame:
    """The columns of these names, wherever they stand; raises where one holds no numbers or a row is longer."""
    kinds = {name: NARROW[column] for name, column in RATINGS_CSV.items()}
    frame = pd.read_csv(path, encoding="utf-8-sig", encoding_errors="replace", dtype=kinds)
    if not isinstance(frame.index, pd.RangeIndex):  # every row is longer: the first column was taken for one
        raise ValueError("a row has more fields than the header")
    return frame[list(RATINGS_CSV)].rename(columns=RATINGS_CSV)


def _faulty_ratings(path: Path, separator: str, problems: Problems) -> pd.DataFrame:
    if separator == ",":
        frame = _csv(path, RATINGS_CSV, problems)
    else:
        frame = _table(path, separator, " ".join(RATINGS), problems)
    assert frame is not None
    if frame.empty:
        first = problems.first.get("unreadable_row", path.name)
        raise WrongUse(f"{path}: no row has the fields of a rating; see {first}")
    frame["rating"] = pd.to_numeric(frame["rating"], errors="coerce")
    seconds = frame["timestamp"].str.partition(".")[0]
    for name, absent in (
        ("user", frame["user"] == ""),
        ("item", frame["item"] == ""),
        ("rating", ~np.isfinite(frame["rating"])),
        ("timestamp", ~seconds.str.lstrip("-").str.isdecimal()),
    ):
        absent = absent[frame.index]
        if absent.any():
            problems.add(f"missing_{name}", f"{path.name}:{absent.idxmax()}", int(absent.sum()))
        frame = frame[~absent]
    return frame.assign(timestamp=seconds[frame.index].astype(np.int64)).reset_index(drop=True)


def _films_100k(path: Path, problems: Problems) -> pd.DataFrame | None:
    films = _table(path, "|", f"item title release video url {' '.join(GENRES_100K)}", problems)
    if films is None:
        return None
    flags = films[list(GENRES_100K)] == "1"
    films["genres"] = [
        [name for name, flag in zip(GENRES_100K, row, strict=True) if flag] for row in flags.to_numpy()
    ]
    return films[["item", "title", "genres"]].copy()


def _table(path: Path, separator: str, names: str, problems: Problems) -> pd.DataFrame | None:
    """A file without header, by line number; rows with another number of fields are counted and left out."""
    if not path.is_file():
        return None
    rows = {}
    for number, line in enumerate(_decoded(path).replace("\r\n", "\n").split("\n"), 1):
        fields = line.split(separator)
        if len(fields) == len(names.split()):
            rows[number] = fields
        elif line.strip():
            problems.add("unreadable_row", f"{path.name}:{number}")
    return pd.DataFrame(list(rows.values()), list(rows), names.split(), dtype=str)


def _csv(path: Path, names: dict[str, str], problems: Problems) -> pd.DataFrame | None:
    """The columns ``names``, renamed, of a CSV; None where there is none."""
    if not path.is_file():
        return None
    frame = read_csv(path, problems)
    require(path, frame, names)
    return frame[list(names)].rename(columns=names)


def _decoded(path: Path, problems: Problems | None = None) -> str:
    """UTF-8 if it is; else Latin-1, which the old releases use by design, or, counted as a problem, Windows-1252."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if problems is None:
            return data.decode("latin-1")
        problems.add("encoding", path.name)
        return data.decode("cp1252", "replace")
