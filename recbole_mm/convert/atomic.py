"""The only writer of RecBole's atomic files (``.inter``, ``.item``, ``.user``, …) and of ``items.parquet``.

A frame's columns are named as RecBole's header: ``user_id:token``, ``rating:float``,
``class:token_seq``, ``vector:float_seq``. Large data are given as an iterable of frames. How values
are written so that RecBole reads them back: ``cells.py``.

Files are written beside their target and renamed when all are complete; the same frames give the
same bytes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recbole_mm.atomic import TYPES
from recbole_mm.convert import cells
from recbole_mm.errors import WrongUse
from recbole_mm.files import replacing

ID_FIELDS = frozenset({"user_id", "item_id", "head_id", "relation_id", "tail_id", "entity_id"})
ITEMS_PARQUET = "items.parquet"
_HEADER = re.compile(rf"[^\s:\"]+:({'|'.join(TYPES)})")

Frames = pd.DataFrame | Iterable[pd.DataFrame]


class AtomicWriter:
    """Writes one atomic file in chunks; the file appears at ``path`` when the block ends without error.

    ``path``: the target, such as ``dataset/toys/toys.inter``; its folder is made. After writing, ``rows`` is the number
    of rows and ``null_like`` the number of values per field that were words like ``NA`` and are now missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.where = Path(path).name
        self.rows = 0
        self.null_like: dict[str, int] = {}
        self._columns: list[str] | None = None
        self._replacing = replacing(path)

    def __enter__(self) -> AtomicWriter:
        self._file = self._replacing.__enter__().open("wb")
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()
        self._replacing.__exit__(*error)

    def write(self, frame: pd.DataFrame) -> None:
        """Append the rows of ``frame``; every chunk has the same columns in the same order."""
        columns = [str(name) for name in frame.columns]
        if self._columns is None:
            for name in columns:
                if not _HEADER.fullmatch(name):
                    wanted = f"'name:type' with type one of {', '.join(TYPES)}"
                    raise WrongUse(f"{self.where}: column {name!r} is no {wanted}")
            if len({name.partition(":")[0] for name in columns}) < len(columns):
                raise WrongUse(f"{self.where}: a field is named twice in {columns}")
            self._columns = columns
            self._file.write(("\t".join(columns) + "\n").encode())
        elif columns != self._columns:
            raise WrongUse(f"{self.where}: chunk with columns {columns}, expected {self._columns}")
        if len(frame) == 0:
            return
        texts = [self._text(frame[name], name) for name in frame.columns]
        lines = texts[0] if len(texts) == 1 else cells.join(*texts, between="\t")
        self._file.write(_contiguous_bytes(cells.join(lines, "\n")))
        self.rows += len(frame)

    def finish(self) -> None:
        """Say that these are all rows; refuses a file without any."""
        if self.rows == 0:
            raise WrongUse(f"{self.where}: no rows to write; check the source or the filters before it")
        for field, count in self.null_like.items():
            logging.getLogger(__name__).warning(
                "%s: %d values of '%s' are words like NA or None, which RecBole reads as missing; "
                "written as missing",
                *(self.where, count, field),
            )

    def _text(self, series: pd.Series, header: str) -> pa.Array:
        field, kind = header.split(":")
        place = cells.Place(self.where, field, self.rows)
        if kind == "float":
            return cells.float_text(series, place)
        if kind == "float_seq":
            return cells.float_seq_text(series, place)
        if kind == "token_seq":
            return cells.quoted(cells.token_seq_text(series, place))
        text, missing = cells.token_text(series, place, is_id=field in ID_FIELDS)
        if missing:
            self.null_like[field] = self.null_like.get(field, 0) + missing
        return cells.quoted(text)


def write_atomic(
    folder: str | Path,
    dataset: str,
    inter: Frames,
    items: Frames | None = None,
    users: Frames | None = None,
    *,
    others: Mapping[str, Frames] | None = None,
) -> dict[str, int]:
    """Write ``<folder>/<dataset>.inter`` and, where given, ``.item``, ``.user`` and ``others``.

    Args:
        folder: the data set's own folder, such as ``dataset/toys``.
        dataset: its name, the stem of the files.
        inter: a frame, or an iterable of frames with equal columns, each column named ``field:type``.
        items: the same for ``.item``.
        users: the same for ``.user``.
        others: suffix to frames, such as ``{"link": …, "kg": …}``.

    Returns:
        Rows per suffix. All files get their names at the end; after an error none does.

    Raises:
        WrongUse: a wrong header, a missing id, an infinite float, an empty table.
    """
    tables: dict[str, Frames | None] = {"inter": inter, "item": items, "user": users, **(others or {})}
    rows: dict[str, int] = {}
    with ExitStack() as stack:
        for suffix, frames in tables.items():
            if frames is not None:
                writer = stack.enter_context(AtomicWriter(Path(folder) / f"{dataset}.{suffix}"))
                for frame in [frames] if isinstance(frames, pd.DataFrame) else frames:
                    writer.write(frame)
                writer.finish()
                rows[suffix] = writer.rows
    return rows


def write_items_parquet(folder: str | Path, frame: pd.DataFrame) -> Path:
    """Write ``<folder>/items.parquet``: ``item_id``, any text columns, ``image_path`` if there are images.

    All columns are text. ``item_id`` must be unique and present; ``image_path`` is relative to
    ``folder`` or absolute, missing where an item has no image. Returns the file's path.
    """
    if "item_id" not in frame.columns:
        raise WrongUse(f"{ITEMS_PARQUET}: no column 'item_id' among {[str(c) for c in frame.columns]}")
    columns = {str(name): cells.plain_text(frame[name], keep_missing=True) for name in frame.columns}
    tokens = pc.fill_null(columns["item_id"], "")
    check_unique(tokens, cells.Place(ITEMS_PARQUET, "item_id"))
    path = Path(folder) / ITEMS_PARQUET
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary)
    return path


def check_unique(tokens: pa.Array, place: cells.Place) -> None:
    """Refuse an id as `check_ids` does, and one that occurs twice; rows are counted from 1."""
    cells.check_ids(tokens, place)
    repeated = tokens.to_pandas().duplicated().to_numpy()
    if repeated.any():
        row = int(repeated.argmax())
        again = f"repeats {place.field} {tokens[row].as_py()!r}"
        raise WrongUse(f"{place.file}: row {row + 1} {again}; keep one row for each item")


def _contiguous_bytes(lines: pa.Array) -> memoryview:
    """The bytes of a large_string array one value after another, without a copy."""
    offsets = np.frombuffer(lines.buffers()[1], np.int64)[lines.offset : lines.offset + len(lines) + 1]
    return memoryview(lines.buffers()[2])[int(offsets[0]) : int(offsets[-1])]
