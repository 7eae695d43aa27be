"""The text of one column of an atomic file, so that RecBole's reader gives every value back.

RecBole reads with ``pandas.read_csv(engine="python", dtype=str or float64)``:

- ids stay text: integers, strings and categories are written as they are (``0108775015``);
- tabs, line breaks and NUL inside a value become spaces;
- a value that begins with ``"`` is quoted as in CSV (elsewhere a quote is an ordinary character);
- text that pandas takes for a missing value (``NA``, ``null``, ``None``, …) is refused in an id, and
  written as missing (empty) in other ``token`` fields, which is how RecBole would read it;
- a missing float is empty, an infinite one is refused;
- inside a sequence given as a list, white space in an element becomes ``_`` (space separates).

Rows are counted from 1, the first after a header. Arrays are ``large_string`` without chunks.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recbole_mm.errors import WrongUse

# what pandas.read_csv takes for NaN by default, and RecBole's own padding token
NULL_LIKE = (
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
RESERVED = "[PAD]"
_BREAKS = "[\t\r\n\x00]"
MAX_CHARS = 131_072  # csv.field_size_limit() of the Python engine


class Place(NamedTuple):
    """Where a column's rows stand, for errors: the file, the field, the number of rows before these."""

    file: str
    field: str
    before: int = 0

    def wrong(self, row: int, what: object, remedy: str = "") -> WrongUse:
        """The error for what is in a row (counted from 0), to be raised."""
        return WrongUse(f"{self.file}: row {self.before + row + 1} has {what} in '{self.field}'{remedy}")


def plain_text(series: pd.Series, keep_missing: bool = False) -> pa.Array:
    """``series`` as text, numbers and dates as ``str`` gives them; missing is null, or else empty."""
    if pd.api.types.is_float_dtype(series.dtype) and _all_whole(series):
        series = series.astype("Int64")  # ids that met a missing value: 7.0 is meant as 7
    try:
        array = pa.array(series, from_pandas=True)
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_null)
        if not any(kind(array.type) for kind in kinds):
            raise TypeError("left to str()")
        text = pc.cast(array, pa.large_string())
    except (TypeError, pa.ArrowException, UnicodeError):
        values = [None if _is_missing(value) else _encodable(str(value)) for value in series]
        text = pa.array(values, pa.large_string())
    if isinstance(text, pa.ChunkedArray):
        text = text.combine_chunks()
    return text if keep_missing else pc.fill_null(text, "")


def token_text(series: pd.Series, place: Place, *, is_id: bool) -> tuple[pa.Array, int]:
    """A ``token`` column, not yet quoted, and how many of its values RecBole reads as missing."""
    text = plain_text(series)
    if is_id:
        check_ids(text, place)
        return _one_line(text, place), 0
    text = _one_line(text, place)
    null_like = _is_null_like(text)
    text = pc.if_else(null_like, pa.scalar("", pa.large_string()), text)
    return text, int(pc.sum(null_like, min_count=0).as_py())


def token_seq_text(series: pd.Series, place: Place) -> pa.Array:
    """A ``token_seq`` column, not yet quoted: lists are joined, text is taken as already joined."""
    text = _one_line(plain_text(series.map(_join_tokens)), place)
    # a lone "NA" would be read as missing: the trailing separator hides it from pandas
    return pc.if_else(_is_null_like(text), join(text, " "), text)


def float_text(series: pd.Series, place: Place) -> pa.Array:
    """A ``float`` column: the shortest text that reads back as the same number."""
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        raise WrongUse(f"{place.file}: field '{place.field}' is float but holds dates; give seconds")
    try:
        values = pd.to_numeric(series, errors="raise")
    except (TypeError, ValueError):
        parsed = pd.to_numeric(series, errors="coerce")
        row = int((parsed.isna() & series.notna()).to_numpy().argmax())
        raise place.wrong(row, repr(series.iloc[row]), ", which is no number") from None
    array = pa.array(values, from_pandas=True)
    if pa.types.is_boolean(array.type):
        array = pc.cast(array, pa.int8())
    elif pa.types.is_floating(array.type):
        infinite = pc.is_inf(array)
        if pc.any(infinite).as_py():
            row = place.before + first(infinite) + 1
            raise WrongUse(f"{place.file}: row {row} has an infinite '{place.field}'; remove or bound it")
        if _all_whole(values):
            array = pc.cast(array, pa.int64())
    return pc.fill_null(pc.cast(array, pa.large_string()), "")


def float_seq_text(series: pd.Series, place: Place) -> pa.Array:
    """A ``float_seq`` column: lists are joined, text is taken as already joined."""
    rows = []
    for row, value in enumerate(series):
        if not isinstance(value, str) and not _is_missing(value):
            numbers = [float(number) for number in value]
            if not np.isfinite(numbers).all():
                raise place.wrong(row, "NaN or infinity")
            value = " ".join(map(repr, numbers))
        rows.append("" if _is_missing(value) else value)
    return _one_line(pa.array(rows, pa.large_string()), place)


def check_ids(text: pa.Array, place: Place) -> None:
    """Refuse an empty id, one that a line cannot hold or RecBole reads as missing, and RecBole's padding token."""
    for wrong, what in (
        (pc.match_substring_regex(text, _BREAKS), "a tab, a line break or a NUL"),
        (pc.equal(pc.utf8_trim_whitespace(text), ""), "no value"),
        (_is_null_like(text), "a value that RecBole reads as missing"),
        (pc.equal(text, RESERVED), "RecBole's padding token as value"),
    ):
        if pc.any(wrong).as_py():
            row = first(wrong)
            raise place.wrong(row, what, f" ({text[row].as_py()!r}); remove the row or rename the id")


def quoted(text: pa.Array) -> pa.Array:
    """CSV quotes around the values that begin with one, which alone pandas would take for quoting."""
    begins = pc.starts_with(text, '"')
    if not pc.any(begins).as_py():
        return text
    return pc.if_else(begins, join('"', pc.replace_substring(text, '"', '""'), '"'), text)


def join(*parts: pa.Array | str, between: str = "") -> pa.Array:
    """Row by row the parts one after another."""
    text = pa.large_string()
    typed = [pa.scalar(part, text) if isinstance(part, str) else part for part in (*parts, between)]
    return pc.binary_join_element_wise(*typed)


def first(mask: pa.Array) -> int:
    """Index of the first true value."""
    return int(pc.index(mask, True).as_py())


def _one_line(text: pa.Array, place: Place) -> pa.Array:
    text = pc.replace_substring_regex(text, _BREAKS, " ")
    too_long = pc.greater(pc.utf8_length(text), MAX_CHARS - 2)
    if pc.any(too_long).as_py():
        remedy = ", more than RecBole reads; keep long text in items.parquet"
        raise place.wrong(first(too_long), f"more than {MAX_CHARS} characters", remedy)
    return text


def _is_null_like(text: pa.Array) -> pa.Array:
    return pc.is_in(text, value_set=pa.array(NULL_LIKE, pa.large_string()))


def _encodable(value: str) -> str:
    return value.encode("utf-8", "replace").decode("utf-8")  # JSON may hold half a surrogate pair


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _join_tokens(value: Any) -> str | None:
    if isinstance(value, str) or _is_missing(value):
        return value
    words = (re.sub(r"\s+", "_", str(word).strip()) for word in value if not _is_missing(word))
    return " ".join(word for word in words if word)


def _all_whole(values: pd.Series) -> bool:
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    numbers = numbers[~np.isnan(numbers)]
    return bool(len(numbers)) and bool(((numbers == np.floor(numbers)) & (np.abs(numbers) < 2**53)).all())
