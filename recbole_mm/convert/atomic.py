"""The only writer of RecBole's atomic files (``.inter``, ``.item``, ``.user``, …) and of ``items.parquet``.

A frame's columns are named as RecBole's header: ``user_id:token``, ``rating:float``,
``class:token_seq``, ``vector:float_seq``. Large data are given as an iterable of frames.

RecBole reads with ``pandas.read_csv(engine="python", dtype=str or float64)``. So that every value
comes back as it was given:

- ids stay text: integers, strings and categories are written as they are (``0108775015``);
- tabs, line breaks and NUL inside a value become spaces;
- a value that begins with ``"`` is quoted as in CSV (elsewhere a quote is an ordinary character);
- text that pandas takes for a missing value (``NA``, ``null``, ``None``, …) is refused in an id, and
  written as missing (empty) in other ``token`` fields, which is how RecBole would read it;
- a missing float is empty, an infinite one is refused;
- inside a sequence given as a list, white space in an element becomes ``_`` (space separates).

Files are written beside their target and renamed when all are complete; the same frames give the
same bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recbole_mm.errors import WrongUse

TYPES = ("token", "float", "token_seq", "float_seq")
ID_FIELDS = frozenset({"user_id", "item_id", "head_id", "relation_id", "tail_id", "entity_id"})
# what pandas.read_csv takes for NaN by default, and RecBole's own padding token
NULL_LIKE = (
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
RESERVED = "[PAD]"
MAX_CHARS = 131_072  # csv.field_size_limit() of the Python engine
ITEMS_PARQUET = "items.parquet"

Frames = pd.DataFrame | Iterable[pd.DataFrame]


class AtomicWriter:
    """Writes one atomic file in chunks; the file appears at ``path`` when the block ends without error.

    Args:
        path: target, such as ``dataset/toys/toys.inter``; its folder is made.
        ids: fields that must have a value in every row; by default ``user_id``, ``item_id`` and the
            like.
    """

    def __init__(self, path: str | Path, ids: Iterable[str] = ID_FIELDS) -> None:
        self.path = Path(path)
        self.ids = frozenset(ids)
        self.rows = 0
        self.null_like: dict[str, int] = {}
        self._columns: list[str] | None = None
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._partial.open("wb")

    def write(self, frame: pd.DataFrame) -> None:
        """Append the rows of ``frame``; every chunk has the same columns in the same order."""
        columns = [str(name) for name in frame.columns]
        if self._columns is None:
            for name in columns:
                _field_and_type(name, self.path)
            if len({name.split(":")[0] for name in columns}) < len(columns):
                raise WrongUse(f"{self.path.name}: a field is named twice in {columns}")
            self._columns = columns
            self._file.write(("\t".join(columns) + "\n").encode())
        elif columns != self._columns:
            raise WrongUse(f"{self.path.name}: chunk with columns {columns}, expected {self._columns}")
        if len(frame) == 0:
            return
        texts = [self._text(frame[name], name) for name in columns]
        lines = texts[0] if len(texts) == 1 else _join(*texts, between="\t")
        self._file.write(_contiguous_bytes(_join(lines, "\n")))
        self.rows += len(frame)

    def finish(self) -> None:
        """Close and check the partial file, without renaming it."""
        self._file.close()
        if self.rows == 0:
            raise WrongUse(f"{self.path.name}: no rows to write; check the source or the filters before it")

    def publish(self) -> None:
        """Give the finished file its name."""
        os.replace(self._partial, self.path)

    def discard(self) -> None:
        """Remove what was written so far."""
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> AtomicWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
                self.publish()
        finally:
            self.discard()

    def _text(self, series: pd.Series, header: str) -> pa.Array:
        """``series`` as the text of one column, no nulls: large_string array of the same length."""
        field, kind = header.split(":")
        if kind == "float":
            return self._float_text(series, field)
        if kind == "float_seq":
            return _arrow_text(series.map(_join_floats))
        if kind == "token_seq":
            series = series.map(_join_tokens)
        elif pd.api.types.is_float_dtype(series.dtype) and _all_whole(series):
            series = series.astype("Int64")  # ids that met a missing value: 7.0 is meant as 7
        text = _arrow_text(series)
        text = pc.replace_substring_regex(text, "[\t\r\n\x00]", " ")
        self._check_length(text, field)
        is_null_like = pc.is_in(text, value_set=pa.array(NULL_LIKE, pa.large_string()))
        if field in self.ids and kind == "token":
            self._check_ids(text, is_null_like, field)
        elif pc.any(is_null_like).as_py():
            if kind == "token_seq":  # a lone word: the trailing separator hides it from pandas
                text = pc.if_else(is_null_like, _join(text, " "), text)
            else:
                count = pc.sum(is_null_like).as_py()
                self.null_like[field] = self.null_like.get(field, 0) + count
                text = pc.if_else(is_null_like, pa.scalar("", pa.large_string()), text)
        if pc.any(pc.starts_with(text, '"')).as_py():
            doubled = pc.replace_substring(text, '"', '""')
            quoted = _join('"', doubled, '"')
            text = pc.if_else(pc.starts_with(text, '"'), quoted, text)
        return text

    def _float_text(self, series: pd.Series, field: str) -> pa.Array:
        if pd.api.types.is_datetime64_any_dtype(series.dtype):
            raise WrongUse(f"{self.path.name}: field '{field}' is float but holds dates; give seconds")
        try:
            values = pd.to_numeric(series, errors="raise")
        except (TypeError, ValueError) as error:
            raise WrongUse(f"{self.path.name}: field '{field}' is float but holds text: {error}") from error
        array = pa.array(values, from_pandas=True)
        if pa.types.is_floating(array.type):
            infinite = pc.is_inf(array)
            if pc.any(infinite).as_py():
                row = self.rows + _first(infinite)
                raise WrongUse(f"{self.path.name}: row {row} has an infinite '{field}'; remove or bound it")
            if _all_whole(values):
                array = pc.cast(array, pa.int64())
        elif pa.types.is_boolean(array.type):
            array = pc.cast(array, pa.int8())
        elif not pa.types.is_integer(array.type) and not pa.types.is_null(array.type):
            raise WrongUse(f"{self.path.name}: field '{field}' is float but holds {array.type}")
        return pc.fill_null(pc.cast(array, pa.large_string()), "")

    def _check_ids(self, text: pa.Array, is_null_like: pa.Array, field: str) -> None:
        blank = pc.equal(pc.utf8_trim_whitespace(text), "")
        for wrong, what in (
            (blank, "no value"),
            (is_null_like, "a value that RecBole reads as missing"),
            (pc.equal(text, RESERVED), "RecBole's padding token as value"),
        ):
            if pc.any(wrong).as_py():
                row = _first(wrong)
                raise WrongUse(
                    f"{self.path.name}: row {self.rows + row} has {what} in '{field}' "
                    f"({text[row].as_py()!r}); remove the row or rename the id"
                )

    def _check_length(self, text: pa.Array, field: str) -> None:
        too_long = pc.greater(pc.utf8_length(text), MAX_CHARS - 2)
        if pc.any(too_long).as_py():
            raise WrongUse(
                f"{self.path.name}: row {self.rows + _first(too_long)} has more than {MAX_CHARS} characters "
                f"in '{field}', more than RecBole reads; keep long text in {ITEMS_PARQUET}"
            )


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
        Rows per suffix. All files get their names at the end, or none does.

    Raises:
        WrongUse: a wrong header, a missing id, an infinite float, an empty table.
    """
    tables: dict[str, Frames | None] = {"inter": inter, "item": items, "user": users, **(others or {})}
    writers: dict[str, AtomicWriter] = {}
    try:
        for suffix, frames in tables.items():
            if frames is None:
                continue
            writers[suffix] = AtomicWriter(Path(folder) / f"{dataset}.{suffix}")
            for frame in [frames] if isinstance(frames, pd.DataFrame) else frames:
                writers[suffix].write(frame)
            writers[suffix].finish()
        for writer in writers.values():
            writer.publish()
    finally:
        for writer in writers.values():
            writer.discard()
    return {suffix: writer.rows for suffix, writer in writers.items()}


def write_items_parquet(folder: str | Path, frame: pd.DataFrame) -> Path:
    """Write ``<folder>/items.parquet``: ``item_id``, any text columns, ``image_path`` if there are images.

    ``item_id`` becomes text and must be unique and present; ``image_path`` is relative to ``folder`` or
    absolute, missing where an item has no image. Returns the file's path.
    """
    if "item_id" not in frame.columns:
        raise WrongUse(f"{ITEMS_PARQUET}: no column 'item_id' among {[str(c) for c in frame.columns]}")
    columns = {str(name): _arrow_text(frame[name], keep_missing=True) for name in frame.columns}
    tokens = columns["item_id"]
    missing = pc.or_kleene(pc.is_null(tokens), pc.equal(pc.utf8_trim_whitespace(tokens), ""))
    if pc.any(missing).as_py():
        raise WrongUse(f"{ITEMS_PARQUET}: row {_first(missing)} has no 'item_id'")
    repeated = pd.Series(tokens.to_pylist()).duplicated()
    if repeated.any():
        row = int(repeated.to_numpy().argmax())
        raise WrongUse(
            f"{ITEMS_PARQUET}: row {row} repeats item_id {tokens[row].as_py()!r}; keep one row an item"
        )
    path = Path(folder) / ITEMS_PARQUET
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        pq.write_table(pa.table(columns), partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _field_and_type(header: str, path: Path) -> tuple[str, str]:
    field, separator, kind = header.partition(":")
    if not separator or kind not in TYPES or not re.fullmatch(r"[^\s:\"]+", field):
        raise WrongUse(
            f"{path.name}: column {header!r} is no 'name:type' with type one of {', '.join(TYPES)}"
        )
    return field, kind


def _arrow_text(series: pd.Series, keep_missing: bool = False) -> pa.Array:
    """``series`` as large_string, values as str() gives them; missing is null, or empty."""
    try:
        array = pa.array(series, from_pandas=True)
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
            if pa.types.is_boolean(array.type):
                array = pc.cast(array, pa.int8())
            elif not pa.types.is_integer(array.type) and not pa.types.is_null(array.type):
                raise TypeError  # what str() says is the safer text for dates, floats, lists
        text = pc.cast(array, pa.large_string())
    except (TypeError, pa.ArrowException, UnicodeError):
        values = [None if _is_missing(value) else _clean(str(value)) for value in series]
        text = pa.array(values, pa.large_string())
    if isinstance(text, pa.ChunkedArray):
        text = text.combine_chunks()
    return text if keep_missing else pc.fill_null(text, "")


def _join(*parts: pa.Array | str, between: str = "") -> pa.Array:
    """Row by row the parts one after another."""
    typed = [
        pa.scalar(part, pa.large_string()) if isinstance(part, str) else part for part in (*parts, between)
    ]
    return pc.binary_join_element_wise(*typed)


def _clean(value: str) -> str:
    return value.encode("utf-8", "replace").decode("utf-8")  # JSON may hold half a surrogate pair


def _is_missing(value: Any) -> bool:
    return (
        value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value))
    )


def _join_tokens(value: Any) -> str | None:
    if isinstance(value, str) or _is_missing(value):
        return None if _is_missing(value) else value
    words = (re.sub(r"\s+", "_", str(word).strip()) for word in value if not _is_missing(word))
    return " ".join(word for word in words if word)


def _join_floats(value: Any) -> str | None:
    if isinstance(value, str) or _is_missing(value):
        return None if _is_missing(value) else value
    numbers = [float(number) for number in value]
    if not np.isfinite(numbers).all():
        raise WrongUse(f"a float_seq holds NaN or infinity: {numbers[:5]}")
    return " ".join(repr(number) for number in numbers)


def _all_whole(values: pd.Series) -> bool:
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    numbers = numbers[~np.isnan(numbers)]
    return bool(len(numbers)) and bool(((numbers == np.floor(numbers)) & (np.abs(numbers) < 2**53)).all())


def _first(mask: pa.Array) -> int:
    return int(pc.index(mask, True).as_py())


def _contiguous_bytes(lines: pa.Array) -> memoryview:
    """The bytes of a large_string array one value after another, without a copy."""
    if isinstance(lines, pa.ChunkedArray):
        lines = lines.combine_chunks()
    offsets = np.frombuffer(lines.buffers()[1], np.int64)[lines.offset : lines.offset + len(lines) + 1]
    return memoryview(lines.buffers()[2])[int(offsets[0]) : int(offsets[-1])]
