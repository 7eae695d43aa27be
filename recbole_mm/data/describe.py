"""What a person calls an item: its title, its category, its picture, from ``.item`` and ``items.parquet``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_mm.atomic import header_fields, read_atomic
from recbole_mm.data.link import domain_tokens
from recbole_mm.data.title import CATEGORIES, item_titles

IMAGE = "image_path"


@dataclass(frozen=True)
class ItemText:
    """By item id ``[I]``, empty where nothing is known: title, first category, path of the image."""

    title: np.ndarray
    category: np.ndarray
    image: np.ndarray


def describe_items(dataset: Any) -> ItemText:
    """Titles, categories and images of the items of a data set, of merged domains each from its own files."""
    config = dataset.config
    tokens = np.asarray(dataset.field2id_token[dataset.iid_field], dtype=object)
    title = pd.Series(tokens).map(item_titles(config)).fillna("").to_numpy()
    found = ItemText(title, *(np.full(len(tokens), "", dtype=object) for _ in range(2)))
    for folder, own in _sources(config, tokens):
        for table in _tables(folder, config):
            known = table[~table.index.duplicated()].reindex(own).fillna("")
            for column, values in (("category", found.category), ("image", found.image)):
                fresh = known[column].to_numpy() if column in known else np.full(len(own), "")
                values[:] = np.where(values == "", fresh, values)
    return found


def _sources(config: Any, tokens: np.ndarray) -> Iterator[tuple[Path, np.ndarray]]:
    """Each data folder with the tokens as its files know them; [PAD] is in none."""
    path = Path(str(config["data_path"]))
    if not config["domains"]:
        yield path, tokens
    for name in config["domains"] or ():
        own = domain_tokens(config, "item", str(name), tokens[1:].astype(str))
        yield path.parent / str(name), np.concatenate([tokens[:1], own])


def _tables(folder: Path, config: Any) -> Iterator[pd.DataFrame]:
    """``category`` and ``image`` by token, as far as the files of a folder have them."""
    parquet = folder / "items.parquet"
    if parquet.is_file():
        yield _chosen(pd.read_parquet(parquet), "item_id", folder)
    atomic = folder / f"{folder.name}.item"
    if atomic.is_file():
        form = str(config["field_separator"]), str(config["encoding"] or "utf-8")
        field = str(config["ITEM_ID_FIELD"])
        wanted = {name: f"{name}:{kind}" for name, kind in header_fields(atomic, *form).items()}
        names = [field, *(name for name in CATEGORIES if name in wanted)]
        if field in wanted:
            columns = {wanted[name]: str for name in names}
            frame = read_atomic(atomic, *form, columns, mend=True, usecols=list(columns))
            frame.columns = frame.columns.str.partition(":").get_level_values(0)
            for name in names:
                if wanted[name].endswith("token_seq"):
                    frame[name] = frame[name].fillna("").str.split(" ")
            yield _chosen(frame, field, folder)


def _chosen(frame: pd.DataFrame, key: str, folder: Path) -> pd.DataFrame:
    found = pd.DataFrame(index=frame[key].astype(str).to_numpy())
    category = next((name for name in CATEGORIES if name in frame), None)
    if category is not None:
        found["category"] = _telling(frame[category].map(_parts).tolist())
    if IMAGE in frame:
        found["image"] = [
            str(folder / path) if isinstance(path, str) and path else "" for path in frame[IMAGE]
        ]
    return found


def _parts(value: Any) -> list[str]:
    """A category's levels, or several categories: a list as it is, a text at its separators."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return [str(each) for each in value]
    text = "" if value is None or value != value else str(value)
    return [part.strip() for part in re.split(r"[|;,>]", text)]


def _telling(lists: list[list[str]]) -> list[str]:
    """The first level at which items differ: all of a shop of Beauty are Beauty."""
    for level in range(max(map(len, lists), default=0)):
        values = [parts[level] if level < len(parts) else "" for parts in lists]
        if len(set(values) - {""}) > 1:
            return values
    return [parts[0] if parts else "" for parts in lists]
