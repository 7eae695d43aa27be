"""MovieLens 100k, 1M, latest, 25M and 32M -> atomic files; RecBole's knowledge triples as text."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

from recbole_mm.errors import WrongUse


def _read_atomic(path: str | Path, wanted: tuple[str, ...]) -> pd.DataFrame:
    """Read a RecBole atomic file as strings; columns lose their `:type`; empty fields stay ''."""
    frame = pd.read_csv(
        path, sep="\t", dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE, encoding="utf-8"
    )
    frame.columns = pd.Index([str(name).partition(":")[0] for name in frame.columns])
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise WrongUse(f"{path}: no column {missing[0]!r}, found {', '.join(frame.columns)}")
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
    words = pd.concat(
        [
            pd.DataFrame(
                {"token": outward["item_id"], "word": outward["relation_id"] + ":" + outward["tail_id"]}
            ),
            pd.DataFrame(
                {"token": inward["item_id"], "word": inward["relation_id"] + "~" + inward["head_id"]}
            ),
        ]
    ).drop_duplicates()
    documents = words.sort_values(["token", "word"]).groupby("token")["word"].agg(" ".join)
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
