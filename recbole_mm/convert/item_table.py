"""A table of items: one row each, with text, categories and an image file."""

from __future__ import annotations

import argparse
import os
from functools import cache
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc

from recbole_mm.convert import cells
from recbole_mm.convert.atomic import ITEMS_PARQUET, check_unique
from recbole_mm.convert.problems import Problems
from recbole_mm.convert.read_table import Table, field_name, refuse_repeated
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
        WrongUse: a missing column, two columns of one name, a missing or repeated id, no rows.
    """
    item_id, image_path, separator = args.item_id or args.item, args.image_path, args.category_separator
    if separator == "":
        raise WrongUse("--category-separator: empty; give the text between two categories, or leave it out")
    fields = [field_name(column) for column in args.category]
    refuse_repeated("--category", "the .item file", ["item_id", *fields])
    refuse_repeated("--text", ITEMS_PARQUET, ["item_id", "image_path", *args.text])
    columns = [item_id, *args.text, *args.category, *([image_path] if image_path else [])]
    chunks = list(table.chunks(columns))
    frame = pd.concat(chunks, ignore_index=True) if chunks else pd.DataFrame()
    if len(frame) == 0:
        raise WrongUse(f"{table.path}: no rows after the header; nothing to describe")
    ids = cells.plain_text(frame[item_id])
    check_unique(ids, cells.Place(str(table.path), item_id))
    tokens = ids.to_pylist()

    atomic = pd.DataFrame({"item_id:token": tokens})
    for name, column in zip(fields, args.category, strict=True):
        values = frame[column]
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
    # ".." leads elsewhere from a linked folder
    real, base = cache(os.path.realpath), os.path.realpath(target)
    for value in cells.plain_text(paths).to_pylist():
        file = folder / value
        there = bool(value.strip()) and os.path.isfile(file)  # False too where the system allows no such name
        if value.strip() and not there:
            problems.add("missing_image", str(file))
        if there and not Path(value).is_absolute():
            value = os.path.relpath(os.path.join(real(file.parent), file.name), base)
        found.append(value if there else None)
    return found
