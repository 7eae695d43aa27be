"""CSV, TSV (also compressed) and parquet in chunks; text columns stay text."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from recbole_mm.atomic import text_encoding
from recbole_mm.convert.problems import Problems
from recbole_mm.errors import WrongUse, suggest
from recbole_mm.modality.read import csv_rows

CHUNK_BYTES = 1 << 24
CHUNK_ROWS = 1 << 18
SEPARATORS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class Table:
    """A file with named columns.

    Attributes:
        path: ``.csv``, ``.tsv`` (``.gz`` and the like behind it) or ``.parquet``.
        separator: of the fields; None by the file's ending.
        encoding: of a text file.
    """

    path: Path
    separator: str | None = None
    encoding: str = "utf8"

    @cached_property
    def names(self) -> list[str]:
        """Column names; errors as in ``chunks``."""
        if not self.path.is_file():
            near = [each.name for each in self.path.parent.glob("*")]
            raise WrongUse(f"{self.path}: no such file{suggest(self.path.name, near, listed=False)}")
        if self.path.stat().st_size == 0:
            raise WrongUse(f"{self.path}: empty; it must hold a header and rows")
        try:
            names = pq.read_schema(self.path).names if self._is_parquet() else self._csv(None).schema.names
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            raise self._unreadable(error) from error
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            raise WrongUse(f"{self.path}: column '{repeated[0]}' is there twice; rename one")
        return names

    def check(self, columns: Sequence[str]) -> None:
        """Refuse a column that the table lacks."""
        for column in columns:
            if column not in self.names:
                raise WrongUse(f"{self.path}: no column '{column}'{suggest(column, self.names)}")

    def chunks(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Frames of these columns; from a text file every value is text, as it stands there.

        Raises:
            WrongUse: no such file or column, an empty or damaged file, another encoding.
        """
        self.check(columns)
        wanted = list(dict.fromkeys(columns))
        try:
            if self._is_parquet():
                with pq.ParquetFile(self.path) as file:
                    for batch in file.iter_batches(CHUNK_ROWS, columns=wanted):
                        # an index of pandas is an ordinary column: rows are counted from 0 in every chunk
                        yield batch.to_pandas(types_mapper=_exact, ignore_metadata=True)
            else:
                with self._csv(wanted) as reader:
                    for batch in reader:
                        yield batch.to_pandas()
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            raise self._unreadable(error) from error

    def check_quotes(self, problems: Problems) -> None:
        """Refuse a stray quote, over which Arrow reads on into the next rows; count cells that may hold such rows.

        Raises:
            WrongUse: text behind a closed quote, a quote that is not closed.
        """
        if self._is_parquet():
            return
        separator, fields = self._separator(), len(self.names)
        try:
            with pa.input_stream(str(self.path), compression="detect") as stream:
                if not any(b'"' in block for block in iter(lambda: stream.read(CHUNK_BYTES), b"")):
                    return
            with pa.input_stream(str(self.path), compression="detect") as stream:
                text = io.TextIOWrapper(stream, encoding=text_encoding(self.encoding), newline="")
                for first, last, cells in csv_rows(text, self.path, separator):
                    if last > first and any(_holds_rows(cell, separator, fields) for cell in cells):
                        problems.add("quoted_rows", f"{self.path.name}:{first}")
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            raise self._unreadable(error) from error

    def _is_parquet(self) -> bool:
        return self.path.suffix == ".parquet"

    def _separator(self) -> str:
        known = [SEPARATORS[suffix] for suffix in self.path.suffixes if suffix in SEPARATORS]
        separator = known[-1] if self.separator is None and known else self.separator
        if separator is None:
            raise WrongUse(f"{self.path}: not known by its ending; give .csv, .tsv, .parquet, or --separator")
        if len(separator) != 1 or not separator.isascii() or separator in '"\r\n\0':
            raise WrongUse(f"--separator: {separator!r} is not one ASCII character other than a quote")
        return separator

    def _csv(self, columns: list[str] | None) -> pacsv.CSVStreamingReader:
        try:
            "".encode(self.encoding)
        except LookupError as error:
            example = "for example utf8, latin-1"
            raise WrongUse(f"--encoding: Python knows no {self.encoding!r} ({example})") from error
        return pacsv.open_csv(
            self.path,
            read_options=pacsv.ReadOptions(block_size=CHUNK_BYTES, encoding=self.encoding, use_threads=False),
            parse_options=pacsv.ParseOptions(delimiter=self._separator(), newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                include_columns=columns,
                column_types={name: pa.large_string() for name in columns or ()},
                strings_can_be_null=False,
            ),
        )

    def _unreadable(self, error: BaseException) -> WrongUse:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        encoding = "" if self._is_parquet() else ", or another --separator or --encoding"
        return WrongUse(f"{self.path}: not readable ({reason}); damaged or truncated{encoding}?")


def field_name(column: str) -> str:
    """The field of an atomic file for a column: a header holds no blanks, colons or quotes."""
    return re.sub(r'[\s:"]+', "_", column)


def refuse_repeated(option: str, file: str, fields: Sequence[str]) -> None:
    """Refuse two columns of one name in what is written: the second would take the first one's place."""
    for field in fields:
        if fields.count(field) > 1:
            raise WrongUse(f"{option}: {file} would have '{field}' twice; leave one out or rename it")


def _holds_rows(cell: str, separator: str, fields: int) -> bool:
    """Whether two stray quotes in one column may have made this cell of what lies between: whole rows."""
    breaks = cell.count("\n") or cell.count("\r")
    return bool(breaks) and cell.count(separator) == breaks * (fields - 1)


def _exact(kind: pa.DataType) -> pd.api.extensions.ExtensionDtype | None:
    """Integers with nulls stay integers: as float64, ids above 2**53 would change."""
    return pd.ArrowDtype(kind) if pa.types.is_integer(kind) else None
