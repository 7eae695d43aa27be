"""MovieLens 100k, 1M, latest, 25M and 32M -> atomic files; RecBole's knowledge triples as text."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from recbole_mm.atomic import header_line, read_atomic
from recbole_mm.convert.amazon_items import find_images
from recbole_mm.convert.atomic import ITEMS_PARQUET
from recbole_mm.convert.filter import add_filter_arguments, filters_from
from recbole_mm.convert.frames import ITEM, RATING, TIME, USER, require, write_dataset
from recbole_mm.convert.movielens_files import MovieLens, once, read_csv, read_movielens
from recbole_mm.convert.problems import Problems
from recbole_mm.convert.read_table import refuse_repeated
from recbole_mm.convert.sets import Written, add_output_arguments, refuse_own_source, write_sets
from recbole_mm.convert.staging import Staging
from recbole_mm.errors import WrongUse
from recbole_mm.modality.align import alike

HELP = "MovieLens 100k, 1M, 10M, 20M, 25M, 32M and latest to atomic files and items.parquet"


def _read_atomic(path: str | Path, wanted: tuple[str, ...]) -> pd.DataFrame:
    """Read a RecBole atomic file as strings; columns lose their `:type`; empty fields stay ''."""
    columns = dict.fromkeys(header_line(path).split("\t"), str)
    frame = read_atomic(path, columns=columns, keep_default_na=False)
    frame.columns = pd.Index([str(name).partition(":")[0] for name in frame.columns])
    require(path, frame, wanted)
    return frame


def knowledge_documents(kg_file: str | Path, link_file: str | Path) -> pd.DataFrame:
    """Each linked item's neighbours in a knowledge graph as one text: `relation:tail relation:tail ...`.

    `kg_file`: RecBole's `.kg` (head_id, relation_id, tail_id); `link_file`: `.link` (item_id, entity_id).
    Freebase stores most relations in both directions, so an edge into the item is added (as
    `relation~head`) only where no edge out of the item reaches that neighbour.

    Returns `token`, `text`; one row an item that has a neighbour, in the order of the link file; the words
    are sorted, so the text does not depend on the order of the triples.
    """
    link = _read_atomic(link_file, ("item_id", "entity_id")).drop_duplicates(["item_id", "entity_id"])
    triples = _read_atomic(kg_file, ("head_id", "relation_id", "tail_id")).drop_duplicates()
    outward = link.merge(triples, left_on="entity_id", right_on="head_id")
    inward = link.merge(triples, left_on="entity_id", right_on="tail_id")
    reached = pd.MultiIndex.from_frame(outward[["item_id", "tail_id"]])
    inward = inward[~pd.MultiIndex.from_frame(inward[["item_id", "head_id"]]).isin(reached)]
    outward["word"] = outward["relation_id"] + ":" + outward["tail_id"]
    inward = inward.assign(word=inward["relation_id"] + "~" + inward["head_id"])
    words = pd.concat([outward, inward])[["item_id", "word"]].drop_duplicates()
    documents = words.sort_values(["item_id", "word"]).groupby("item_id")["word"].agg(" ".join)
    order = [token for token in dict.fromkeys(link["item_id"]) if token in documents.index]
    return pd.DataFrame({"token": order, "text": documents.loc[order].to_numpy(dtype=object)}, dtype=str)


def item_text(item_file: str | Path) -> pd.DataFrame:
    """`token`, `text` ("Title (year). genres") from an atomic file like RecBole's `ml-100k.item`.

    Reads item_id and, as far as they are there, movie_title, release_year and class (or genres). The text is
    '' where all of them are empty.
    """
    items = _read_atomic(item_file, ("item_id", "movie_title"))
    genre = next((name for name in ("class", "genres", "genre") if name in items.columns), None)
    text = items["movie_title"].str.strip()
    if "release_year" in items.columns:
        year = items["release_year"].str.strip()
        text = text.where(year == "", (text + " (" + year + ")").str.strip())
    if genre is not None:
        genres = items[genre].str.strip()
        text = text.where(genres == "", (text + ". " + genres).str.removeprefix(". "))
    return pd.DataFrame({"token": items["item_id"], "text": text}, dtype=str)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``recbole-mm convert movielens``."""
    parser.add_argument("folder", help="the unpacked release (u.data, ratings.dat, ratings.csv or .inter)")
    parser.add_argument("--name", help="of the data set (default: the folder's name)")
    parser.add_argument("--overviews", metavar="CSV", help="texts by movie_id, movieId or item_id")
    parser.add_argument("--overview-columns", default="overview", metavar="A,B", help="default: overview")
    parser.add_argument("--posters", metavar="FOLDER", help="images <movie id>.jpg or .png")
    parser.add_argument("--kg", metavar="FILE", help="RecBole's .kg file, for a column `knowledge`")
    parser.add_argument("--link", metavar="FILE", help="RecBole's .link file, with --kg")
    add_output_arguments(parser)
    add_filter_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Convert one release."""
    folder = Path(args.folder)
    if bool(args.kg) != bool(args.link):
        raise WrongUse("--kg and --link go together")
    problems = Problems()
    filters = filters_from(args)
    data = read_movielens(folder, problems)
    name = args.name or folder.resolve().name
    if data.source.endswith(".inter"):
        refuse_own_source(args.out, [name], [folder])
    fields = {"item": ITEM, "title": "movie_title:token_seq", "year": "release_year:token"}
    fields |= {"genres": "class:token_seq", "imdb": "imdb_id:token", "tmdb": "tmdb_id:token"}
    items = data.films[[name for name in fields if name in data.films.columns]].rename(columns=fields)
    inter = data.ratings.rename(columns={"user": USER, "item": ITEM, "rating": RATING, "timestamp": TIME})
    users = data.users
    if users is not None:
        users = users.add_suffix(":token").rename(columns={"user:token": USER})

    def write(staging: Staging) -> Written:
        tables = inter, items, users, _texts(data, staging, args, problems)
        return write_dataset(staging, *tables, filters, data.source, problems, args.strict)

    write_sets([name], args, write)
    return 0


def _texts(data: MovieLens, staging: Staging, args: argparse.Namespace, problems: Problems) -> pd.DataFrame:
    """The columns of ``items.parquet``."""
    films = data.films
    texts = films[["item", "title", "year"]].rename(columns={"item": "item_id"})
    texts = texts.assign(genres=[", ".join(genres) for genres in films["genres"]])
    if args.overviews:
        columns = args.overview_columns.split(",")
        others = [
            *texts.columns,
            *(["knowledge"] if args.kg else ()),
            *(["image_path"] if args.posters else ()),
        ]
        refuse_repeated("--overview-columns", ITEMS_PARQUET, others + columns)
        overviews = _overviews(Path(args.overviews), columns, problems)
        _refuse_strangers("--overviews", args.overviews, overviews, data)
        texts = texts.merge(overviews, on="item_id", how="left")
    if args.kg:
        names = {"token": "item_id", "text": "knowledge"}
        knowledge = knowledge_documents(args.kg, args.link).rename(columns=names)
        _refuse_strangers("--link", args.link, knowledge, data)
        texts = texts.merge(knowledge, on="item_id", how="left")
    if args.posters:
        texts["image_path"] = texts["item_id"].map(find_images(args.posters, staging.folder))
    return texts


def _refuse_strangers(option: str, path: str, texts: pd.DataFrame, data: MovieLens) -> None:
    """Refuse ``texts`` of which none is of a film: their columns would be empty."""
    tokens, films = texts["item_id"].to_numpy(object), data.films["item"].to_numpy(object)
    if not set(films).isdisjoint(tokens):
        return
    pair = alike(tokens, films) if len(tokens) else None
    how = f"ids are text: {pair[0]!r} may be {pair[1]!r} there" if pair else "is it of another release?"
    raise WrongUse(f"{option}: {path} says nothing of any film of {data.source}; {how}")


def _overviews(path: Path, columns: list[str], problems: Problems) -> pd.DataFrame:
    """``item_id`` and ``columns`` of a CSV by film."""
    if not path.is_file():
        raise WrongUse(f"{path}: no such file")
    frame = read_csv(path, problems)
    key = next((name for name in ("item_id", "movie_id", "movieId") if name in frame.columns), None)
    options = {key or "movie_id": "--overviews", **dict.fromkeys(columns, "--overview-columns")}
    for name, option in options.items():
        if name not in frame.columns:
            raise WrongUse(f"{option}: {path} has no column {name!r}, found {', '.join(frame.columns)}")
    if key in columns:
        raise WrongUse(f"--overview-columns: {key!r} of {path} holds the ids, no text; leave it out")
    frame = frame.rename(columns={key: "item_id"})
    return once(frame, "item_id", path, problems)[["item_id", *columns]]
