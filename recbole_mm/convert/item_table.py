"""A table of items: one row each, with text, categories and an image file."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc

from recbole_mm.convert import cells
from recbole_mm.convert.atomic import check_unique
from recbole_mm.convert.problems import Problems
from recbole_mm.convert.read_table import Table
from recbole_mm.errors import WrongUse


def read_items(
    table: Table, args: argparse.Namespace, target: Path, problems: Problems
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read a table of items.

    ``args``: ``item_id`` (by default ``item``) is its column of ids, which are text, present and unique; ``text``:
    columns for ``items.parquet``; ``category``: columns for the ``.item`` file, type ``token``, or ``token_seq``
    with a ``category_separator``; ``image_path``: column of image files, relative to the table's folder or
    absolute. Image paths are made relative to ``target``, the data set's folder; files that are not there are counted
    in ``problems``.

    Returns the frames for the ``.item`` file (id, categories) and for ``items.parquet`` (id, texts, image path).

    Raises:
        WrongUse: a missing column, a missing or repeated id, no rows.
    """
    item_id, image_path = args.item_id or args.item, args.image_path
    reserved = {"item_id", "image_path"} & set(args.text) - {item_id, image_path}
    if reserved:
        raise WrongUse(f"{table.path}: a text column cannot be called '{reserved.pop()}'; rename it")
    columns = [item_id, *args.text, *args.category, *([image_path] if image_path else [])]
    chunks = list(table.chunks(columns))
    frame = pd.concat(chunks, ignore_index=True) if chunks else pd.DataFrame()
    if len(frame) == 0:
        raise WrongUse(f"{table.path}: no rows after the header; nothing to describe")
    ids = cells.plain_text(frame[item_id])
    check_unique(ids, cells.Place(str(table.path), item_id))
    tokens = ids.to_pylist()

    atomic = pd.DataFrame({"item_id:token": tokens})
    separator = args.category_separator
    for column in args.category:
        name, values = re.sub(r'[\s:"]+', "_", column), frame[column]
        if separator is None:
            atomic[f"{name}:token"] = values
        else:
            lists = [[] if pd.isna(value) else str(value).split(separator) for value in values]
            atomic[f"{name}:token_seq"] = lists
    described = pd.DataFrame({"item_id": tokens})
    for column in args.text:
        text = cells.plain_text(frame[column], keep_missing=True)
        blank = pc.equal(pc.utf8_trim_whitespace(text), "")
        described[column] = pc.if_else(blank, None, text).to_pandas()
    if image_path:
        described["image_path"] = _images(frame[image_path], table.path.parent, target, problems)
    return atomic, described


def _images(paths: pd.Series, folder: Path, target: Path, problems: Problems) -> list[str | None]:
    """The paths of the images that exist; None for the others."""
    found: list[str | None] = []
    for value in cells.plain_text(paths).to_pylist():
        file = folder / value
        there = value if Path(value).is_absolute() else os.path.relpath(file, target)
        found.append(there if value.strip() and file.is_file() else None)
        if value.strip() and found[-1] is None:
            problems.add("missing_image", str(file))
    return found
