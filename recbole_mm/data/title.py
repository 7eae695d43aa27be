"""The titles of items, as a person knows them, from the files of a data set (RecBole may not have loaded them)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from recbole_mm.atomic import header_fields, read_atomic
from recbole_mm.data.link import own_tokens

#: columns that group items, the first that a data set has
CATEGORIES = (
    "category",
    "categories",
    "class",
    "genre",
    "genres",
    "product_type_name",
    "product_group_name",
    "type",
)


def title_field(fields: Iterable[str]) -> str | None:
    """The field that names an item: ``title`` or ``name``, or the first that ends so (``movie_title``).

    The name of a group (``product_group_name``) is none.
    """
    names = [name for name in fields if name not in CATEGORIES]
    for word in ("title", "name"):
        found = [name for name in names if name.lower() == word] or [
            name for name in names if name.lower().endswith(f"_{word}")
        ]
        if found:
            return found[0]
    return None


def item_titles(config: Any) -> dict[str, str]:
    """Title by item token; from ``.item``, else ``items.parquet``; empty where neither has any."""
    folder, found = Path(str(config["data_path"])), dict[str, str]()
    domains = [str(name) for name in config["domains"] or ()]
    for name in sorted(domains) or [str(config["dataset"])]:
        titles = _read(config, folder.parent / name if domains else folder, name)
        if titles is not None and domains:
            titles.index = pd.Index(own_tokens(config, "item", name, titles.index.to_series()))
        for token, title in () if titles is None else titles.items():
            found.setdefault(str(token), title)
    return found


def _read(config: Any, folder: Path, name: str) -> pd.Series | None:
    """Titles by token of one data set."""
    item_field, file = config["ITEM_ID_FIELD"], folder / f"{name}.item"
    if file.is_file():
        form = config["field_separator"], config["encoding"]
        there = header_fields(file, *form)
        if (field := title_field(there)) and item_field in there:
            columns = [f"{each}:{there[each]}" for each in (item_field, field)]
            table = read_atomic(file, *form, dict.fromkeys(columns, str), keep_default_na=False)
            return _titles(table[columns[0]], table[columns[1]])
    file = folder / "items.parquet"
    if file.is_file():
        there = pq.read_schema(file).names
        if (field := title_field(there)) and "item_id" in there:
            table = pd.read_parquet(file, columns=["item_id", field])
            return _titles(table["item_id"].astype(str), table[field])
    return None


def _titles(tokens: pd.Series, titles: pd.Series) -> pd.Series:
    plain = titles.fillna("").astype(str).str.split().str.join(" ")
    plain.index = pd.Index(tokens)
    return plain[plain != ""]
