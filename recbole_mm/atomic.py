"""Atomic files as they look: a header of ``field:type``, and rows that each have its fields.

pandas fills up short rows and cuts long ones in silence. Here its C engine reads what one pass over the bytes has found
to be even; one that is not is read again, line by line. A quote (``"``) at the start of a cell quotes as in CSV, a
blank line is no row, an empty cell or one of pandas' words for it (``NA``, ``null``, …) is missing: as RecBole reads.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from recbole_mm.errors import WrongUse, count

TYPES = ("token", "float", "token_seq", "float_seq")
_CHUNK = 1 << 25
_UNIT = "\x1f"
_log = getLogger("recbole_mm.data")
_QUOTING = 'a cell that starts with a quote is written "…", each quote within doubled'


def suffixes(additional: str | Sequence[str] | None) -> list[str]:
    """What atomic files end in: RecBole's own suffixes, and those of ``additional_feat_suffix``."""
    more = [additional] if isinstance(additional, str) else additional or []
    return list(dict.fromkeys(["inter", "user", "item", "kg", "link", "net", "ent", "rel", *more]))


def text_encoding(value: Any) -> str:
    """The codec of atomic files where ``encoding`` has this value: UTF-8 with or without a byte-order mark."""
    name = str(value or "utf-8")
    return "utf-8-sig" if name.lower() in ("utf-8", "utf8", "utf_8") else name


def header_line(path: str | os.PathLike[str], separator: str = "\t", encoding: str = "utf-8") -> str:
    """The first line of an atomic file, without its line break.

    Raises ``WrongUse``: it is empty or no header, names a field twice, or is no text in this ``encoding``.
    """
    line = _first_line(Path(path), encoding)
    if not line.strip():
        raise WrongUse(f"{path} is empty; line 1 should name its fields, as user_id:token<TAB>item_id:token")
    cells = line.split(separator)
    fields = [cell.partition(":")[0] for cell in cells]
    # a second colon is none to RecBole either; a quote would be quoting to pandas and a letter to RecBole
    if '"' in line or not all(fields) or any(cell.partition(":")[2] not in TYPES for cell in cells):
        shown = line.strip()[:60] + "…" * (len(line.strip()) > 60)
        raise WrongUse(
            f"{path}, line 1: no header: expected fields name:type between {separator!r} "
            f"(types: token, token_seq, float, float_seq), got {shown!r}"
        )
    twice = [field for field in fields if fields.count(field) > 1]
    if twice:
        raise WrongUse(f"{path}, line 1: field '{twice[0]}' is given twice; rename or remove one")
    return line


def header_fields(
    path: str | os.PathLike[str], separator: str = "\t", encoding: str = "utf-8"
) -> dict[str, str]:
    """The header of an atomic file as {field: type}; raises as `header_line`."""
    cells = header_line(path, separator, encoding).split(separator)
    return dict(cell.split(":") for cell in cells)  # type: ignore[arg-type, misc]


def read_atomic(
    path: str | os.PathLike[str],
    separator: str = "\t",
    encoding: str = "utf-8",
    columns: Mapping[str, Any] | None = None,
    *,
    unreadable: Callable[[int], None] | None = None,
    mend: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """An atomic file as a table whose columns are named ``field:type``, in the order of the file.

    Args:
        columns: those to read, and their dtype; all, floats as numbers and the others as text, where None.
        unreadable: is told the line of each row with another number of fields, which is left out; without it such
            a row is an error.
        mend: warn of such a row, and read it as RecBole does: what it lacks is missing, what is too much is left out.
        options: of ``pandas.read_csv``.

    Raises:
        WrongUse: what `header_line` says; no rows; with file, line, column and value a row with too few or too many
            fields, a float that is no finite number, a quote that is not closed or takes rows in, a NUL, no text.
    """
    names = header_line(path, separator, encoding).split(separator)
    if columns is None:
        columns = {name: np.float64 if name.endswith(":float") else str for name in names}
    table = _Table.of(Path(path), separator, encoding, len(names)).checked(unreadable, mend)
    floats = [name for name, kind in columns.items() if kind is np.float64]
    try:
        frame = table.read(columns, **options)
    except ValueError as error:  # a ParserError is one
        table.refuse_words(floats, options)
        raise WrongUse(f"{path}: {' '.join(str(error).split())}") from error
    table.refuse_words([name for name in floats if np.isinf(frame[name]).any()], options)
    if frame.empty:
        raise WrongUse(f"{path} has a header and no rows")
    return frame


def check_rows(path: str | os.PathLike[str], separator: str = "\t", encoding: str = "utf-8") -> None:
    """Refuse a table whose rows have not the fields of its first line, in the words of `read_atomic`."""
    names = _first_line(Path(path), encoding).split(separator)
    _Table.of(Path(path), separator, encoding, len(names)).checked()


def float_sequences(
    path: str | os.PathLike[str],
    separator: str,
    encoding: str,
    field: str,
    cells: np.ndarray,
    seq_separator: str,
) -> list[np.ndarray]:
    """The numbers of each cell of a ``float_seq`` column, read from ``path`` as RecBole does.

    Raises ``WrongUse`` with file, line, column and value where one is no finite number.
    """
    try:
        values = [np.array([float(word) for word in cell.split(seq_separator) if word]) for cell in cells]
        if all(np.isfinite(value).all() for value in values):
            return values
    except ValueError:
        pass
    row, word = next(
        (row, word)
        for row, cell in enumerate(cells)
        for word in cell.split(seq_separator)
        if word and not np.isfinite(pd.to_numeric(word, errors="coerce"))
    )
    fields = len(header_line(path, separator, encoding).split(separator))
    line = _Table.of(Path(path), separator, encoding, fields).line(row)
    raise WrongUse(_no_number(path, line, f"{field}:float_seq", word))


class _Row(NamedTuple):
    first: int  # line in the file, from 1
    last: int
    cells: list[str]


class _Table(NamedTuple):
    """The text of a file: UTF-8, ``\\n`` ends a line, the separator is one byte."""

    path: Path
    data: bytes
    separator: str
    fields: int
    quoting: int

    @classmethod
    def of(cls, path: Path, separator: str, encoding: str, fields: int) -> _Table:
        data = _utf8(path, encoding)
        if b"\0" in data:
            line = data.count(b"\n", 0, data.index(b"\0")) + 1
            raise WrongUse(f"{path}, line {line}: a NUL byte; is this text in another encoding? set encoding")
        if len(separator.encode()) == 1:
            return cls(path, data, separator, fields, csv.QUOTE_MINIMAL)
        # to pandas a pattern, within which a quote is a letter
        return cls(path, data.replace(separator.encode(), _UNIT.encode()), _UNIT, fields, csv.QUOTE_NONE)

    def is_even(self) -> bool:
        """Whether every line has the fields of the header, with no quote about."""
        if self.quoting != csv.QUOTE_NONE and b'"' in self.data:
            return False
        start = 0
        while start < len(self.data):
            stop = self.data.rfind(b"\n", start, start + _CHUNK) + 1 or self.data.find(b"\n", start) + 1
            block = np.frombuffer(self.data, np.uint8, (stop or len(self.data)) - start, start)
            ends = np.append(np.flatnonzero(block == ord("\n")), len(block))
            found = np.searchsorted(np.flatnonzero(block == ord(self.separator)), ends)
            blank = np.diff(ends, prepend=-1) == 1
            if not (blank | (np.diff(found, prepend=0) == self.fields - 1)).all():
                return False
            start += len(block)
        return True

    def rows(self) -> Iterator[_Row]:
        """The rows behind the header, one by one; blank lines are none."""
        line = ""

        def lines() -> Iterator[str]:
            nonlocal line
            for line in io.StringIO(self.data.decode(), newline="\n"):  # noqa: UP028 (it is looked at below)
                yield line

        before, form = 0, {"delimiter": self.separator, "quoting": self.quoting}
        reader = csv.reader(lines(), **form, strict=True)  # type: ignore[arg-type, call-overload]
        try:
            for cells in reader:
                if before and (len(cells) > 1 or line.strip(" \t\n")):
                    yield _Row(before + 1, reader.line_num, cells)
                before = reader.line_num
        except csv.Error as error:
            wrong = f"a quote that is not closed within {csv.field_size_limit()} characters"
            wrong = "text behind a closed quote" if "expected after" in str(error) else wrong
            raise WrongUse(f"{self.path}, line {before + 1}: {wrong}; {_QUOTING}") from error

    def checked(self, unreadable: Callable[[int], None] | None = None, mend: bool = False) -> _Table:
        """The same table, once every row was looked at; without the uneven rows, where somebody counts them."""
        uneven = []
        for row in () if self.is_even() else self.rows():
            if row.last > row.first and any(
                "\n" in cell and (self.separator in cell or self.fields == 1) for cell in row.cells
            ):
                raise WrongUse(
                    f"{self.path}, line {row.first}: a quote takes the lines to {row.last} into its cell; {_QUOTING}"
                )
            if len(row.cells) != self.fields:
                uneven.append(row)
        if not uneven:
            return self
        first, more = uneven[0], len(uneven) - 1
        place = f"{self.path}, line {first.first}"
        found = f"{count(len(first.cells), 'field')}, the header has {self.fields}"
        found += f" (and so {count(more, 'more row')})" if more else ""
        if mend:
            _log.warning(
                "%s: %s; what it lacks is read as missing, what is too much is left out", place, found
            )
        elif unreadable is None:
            raise WrongUse(
                f"{place}: {found}; every row has all fields, an empty cell between its separators"
            )
        lines = self.data.split(b"\n")
        for row in uneven:
            # blank, so that the others keep their numbers
            lines[row.first - 1 : row.last] = [b""] * (row.last - row.first + 1)
            if unreadable is not None:
                unreadable(row.first)
            elif mend:
                lines[row.first - 1] = self._row([*row.cells, *[""] * self.fields][: self.fields])
        return self._replace(data=b"\n".join(lines))

    def _row(self, cells: list[str]) -> bytes:
        text = io.StringIO()
        csv.writer(text, delimiter=self.separator, quoting=self.quoting, lineterminator="").writerow(cells)  # type: ignore[arg-type]
        return text.getvalue().encode()

    def read(self, columns: Mapping[str, Any], **options: Any) -> pd.DataFrame:
        form: dict[str, Any] = {"sep": self.separator, "quoting": self.quoting, "index_col": False}
        wanted: dict[str, Any] = {"usecols": list(columns), "dtype": dict(columns), **options}
        return pd.read_csv(io.BytesIO(self.data), engine="c", low_memory=False, **form, **wanted)  # type: ignore[no-any-return]

    def line(self, row: int) -> int:
        """The line of a row of the table (from 0)."""
        return next(found.first for k, found in enumerate(self.rows()) if k == row)

    def refuse_words(self, names: list[str], options: Mapping[str, Any]) -> None:
        """The error for the first cell of these columns that is neither missing nor a finite number."""
        for name in names:
            cells = self.read({name: str}, **options)[name].astype(object)
            numbers = pd.to_numeric(cells, errors="coerce").to_numpy(float)
            wrong = cells.notna().to_numpy() & ~np.isfinite(numbers)
            if wrong.any():
                row = int(wrong.argmax())
                raise WrongUse(_no_number(self.path, self.line(row), name, cells.iloc[row]))


def _no_number(path: object, line: int, name: str, value: str) -> str:
    return f"{path}, line {line}: {name} is {value!r}, no finite number; write one or leave the cell empty"


def _first_line(path: Path, encoding: str) -> str:
    try:
        with path.open(encoding=text_encoding(encoding)) as stream:
            return stream.readline().rstrip("\n")
    except LookupError as error:
        raise WrongUse(f"encoding: Python knows no {encoding!r} (for example utf-8, latin-1)") from error
    except UnicodeError:
        return _utf8(path, encoding).decode().partition("\n")[0]  # which says the line


def _utf8(path: Path, encoding: str) -> bytes:
    raw, codec = path.read_bytes(), text_encoding(encoding)
    try:
        text = raw.decode(codec)
    except UnicodeDecodeError as error:
        line, byte = raw.count(b"\n", 0, error.start) + 1, raw[error.start]
        name = codec.removesuffix("-sig").upper()
        raise WrongUse(f"{path}, line {line}: byte 0x{byte:02x} is not {name} text; set encoding") from error
    data = raw if codec == "utf-8-sig" and not raw.startswith(codecs.BOM_UTF8) else text.encode()
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data
