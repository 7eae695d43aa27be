"""A table of items: one row each, with text, categories and an image file."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc

from recbole_mm.convert import cells
from recbole_mm.convert.atomic import check_unique
from recbole_mm.convert.read_table import Table
from recbole_mm.errors import WrongUse


@dataclass(frozen=True)
class ItemTable:
    """What is known of the items.

    Attributes:
        tokens: ids, in the file's order.
        atomic: frame for the ``.item`` file: id and categories.
        described: frame for ``items.parquet``: id, texts, image path.
        with_text: ids that have a text; None if no text column was asked for.
        with_image: ids whose image file exists; None if no image column was asked for.
    """

    tokens: list[str]
    atomic: pd.DataFrame
    described: pd.DataFrame
    with_text: set[str] | None
    with_image: set[str] | None


def read_items(
    table: Table,
    item_id: str,
    *,
    texts: Sequence[str] = (),
    categories: Sequence[str] = (),
    category_separator: str | None = None,
    image_path: str | None = None,
    target: Path,
) -> ItemTable:
    """Read a table of items.

    Args:
        table: the file.
        item_id: its id column; ids are text, present and unique.
        texts: columns for ``items.parquet``.
        categories: columns for the ``.item`` file, type ``token``, or ``token_seq`` with a separator.
        category_separator: splits a category into several.
        image_path: column of image files, relative to the table's folder or absolute.
        target: the data set's folder; image paths are made relative to it.

    Raises:
        WrongUse: a missing column, a missing or repeated id, no rows.
    """
    reserved = {"item_id", "image_path"} & set(texts) - {item_id, image_path}
    if reserved:
        raise WrongUse(f"{table.path}: a text column cannot be called '{reserved.pop()}'; rename it")
    columns = [item_id, *texts, *categories, *([image_path] if image_path else [])]
    chunks = list(table.chunks(columns))
    frame = pd.concat(chunks, ignore_index=True) if chunks else pd.DataFrame()
    if len(frame) == 0:
        raise WrongUse(f"{table.path}: no rows after the header; nothing to describe")
    ids = cells.plain_text(frame[item_id])
    cells.check_ids(ids, str(table.path), item_id, before=0)
    check_unique(ids, str(table.path), item_id)
    tokens = ids.to_pylist()

    atomic = pd.DataFrame({"item_id:token": tokens})
    for column in categories:
        name = re.sub(r'[\s:"]+', "_", column)
        if category_separator is None:
            atomic[f"{name}:token"] = frame[column]
        else:
            atomic[f"{name}:token_seq"] = [
                [] if pd.isna(value) else str(value).split(category_separator) for value in frame[column]
            ]
    described = pd.DataFrame({"item_id": tokens})
    any_text = pd.Series(False, index=frame.index)
    for column in texts:
        text = cells.plain_text(frame[column], keep_missing=True)
        blank = pc.equal(pc.utf8_trim_whitespace(text), "")
        described[column] = pc.if_else(blank, None, text).to_pandas()
        any_text |= described[column].notna()
    with_image = None
    if image_path:
        with_image = _add_images(described, frame[image_path], table.path.parent, target)
    return ItemTable(
        tokens, atomic, described, set(described["item_id"][any_text]) if texts else None, with_image
    )


def _add_images(described: pd.DataFrame, paths: pd.Series, folder: Path, target: Path) -> set[str]:
    """Add ``image_path`` for the images that exist; returns the ids that have one."""
    found: list[str | None] = []
    for value in cells.plain_text(paths).to_pylist():
        file = folder / value
        if not value.strip() or not file.is_file():
            found.append(None)
        elif Path(value).is_absolute():
            found.append(value)
        else:
            found.append(os.path.relpath(file, target))
    described["image_path"] = found
    return set(described["item_id"][described["image_path"].notna()])
