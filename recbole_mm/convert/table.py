"""Any CSV, TSV or parquet of interactions, and one of items, to atomic files and ``items.parquet``.

Rows keep their order. Ids are text as they stand in a CSV (``0108775015``). Times are seconds since
1970 (UTC): numbers are taken as they are, ISO dates are converted (without a zone: UTC).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from recbole_mm.convert import cells
from recbole_mm.convert.atomic import TYPES, write_atomic, write_items_parquet
from recbole_mm.convert.filter import repeated_pairs
from recbole_mm.convert.frames import ITEM, RATING, TIME, USER, count_described, lines_of
from recbole_mm.convert.item_table import read_items
from recbole_mm.convert.problems import Problems
from recbole_mm.convert.read_table import Table
from recbole_mm.convert.sets import Written, add_output_arguments, write_sets
from recbole_mm.convert.staging import Staging
from recbole_mm.errors import WrongUse

HELP = "any CSV, TSV or parquet of interactions (and one of items), columns named here"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``recbole-mm convert table``."""
    parser.add_argument("--name", required=True, help="name of the data set")
    parser.add_argument("--interactions", required=True, metavar="FILE", help=".csv, .tsv (.gz) or .parquet")
    parser.add_argument("--user", required=True, help="column of the user's id", metavar="COL")
    parser.add_argument("--item", required=True, help="column of the item's id", metavar="COL")
    parser.add_argument("--rating", help="column of a number", metavar="COL")
    parser.add_argument("--timestamp", help="column of seconds or of ISO dates", metavar="COL")
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    more = f"more columns, with RecBole's type ({', '.join(TYPES)}; default: token)"
    parser.add_argument("--keep", **several, metavar="COL[:TYPE]", help=more)
    parser.add_argument("--drop-duplicates", action="store_true", help="keep a pair's first row alone")
    parser.add_argument("--items", metavar="FILE", help="a table with one row for each item")
    parser.add_argument("--item-id", help="its id column (default: as --item)", metavar="COL")
    parser.add_argument("--text", **several, metavar="COL", help="columns for items.parquet")
    parser.add_argument("--category", **several, metavar="COL", help="columns for the .item file")
    parser.add_argument("--category-separator", metavar="TEXT", help="splits a category into several")
    parser.add_argument("--all-items", action="store_true", help="in .item also items without an interaction")
    parser.add_argument("--image-path", help="image files, relative to the table of items", metavar="COL")
    parser.add_argument("--separator", help="of the fields in a text file (default: by its ending)")
    parser.add_argument("--encoding", default="utf8", help="of text files (default: utf8)")
    add_output_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Convert, print the figures."""
    describing = args.item_id, args.text, args.category, args.image_path, args.all_items
    if not args.items and any(describing):
        raise WrongUse(
            "--item-id, --text, --category, --image-path and --all-items describe --items FILE; give it too"
        )
    separator = "\t" if args.separator == "\\t" else args.separator
    reader = InteractionTable(Table(Path(args.interactions), separator, args.encoding), args)

    def write(staging: Staging) -> Written:
        atomic = described = None
        if args.items:
            table = Table(Path(args.items), separator, args.encoding)
            atomic, described = read_items(table, args, staging.target)
        # made when the interactions have been read
        lines = None if atomic is None else _item_lines(atomic, reader, args.all_items)
        write_atomic(staging.folder, args.name, reader.frames(), lines)
        if described is not None:
            write_items_parquet(staging.folder, described)
        kept = [_field(name) for name, _ in reader.kept]
        columns = {"load_col": {"inter": ["user_id", "item_id", *kept]}} if kept else {}
        summary = _write_summary(staging, reader, described, columns)
        if args.strict:
            _tell(args, summary)
        return summary, set(), set()

    (summary,) = write_sets([args.name], args, write)
    _tell(args, summary)
    return 0


class InteractionTable:
    """The interactions as chunks for the ``.inter`` file, counted as they pass."""

    def __init__(self, table: Table, args: argparse.Namespace) -> None:
        self.table = table
        self.user, self.item = args.user, args.item
        self.rating, self.timestamp = args.rating, args.timestamp
        self.kept = [_name_and_type(column) for column in args.keep]
        self.drop = args.drop_duplicates
        self.users: dict[str, int] = {}
        self.items: dict[str, int] = {}
        self.rows = 0  # written
        self.repeated = 0
        self.times: list[np.ndarray] = []  # seconds, a chunk each
        self._dates: bool | None = None
        columns = [self.user, self.item, self.rating, self.timestamp, *(name for name, _ in self.kept)]
        self.columns = [column for column in columns if column is not None]
        table.check(self.columns)
        given = {"user_id": True, "item_id": True, "rating": self.rating, "timestamp": self.timestamp}
        fields = [name for name, column in given.items() if column] + [_field(name) for name, _ in self.kept]
        for field in fields:
            if fields.count(field) > 1:
                raise WrongUse(f"--keep: the .inter file would have '{field}' twice; leave one out")

    def frames(self) -> Iterator[pd.DataFrame]:
        """Chunks with RecBole's headers; errors name the file, the row and the column."""
        before = 0
        where = str(self.table.path)
        seen = np.empty(0, np.int64)
        written: list[np.ndarray] = []  # codes of users and items, a chunk each
        with tqdm(desc=self.table.path.name, unit=" rows", unit_scale=True, disable=None) as bar:
            for chunk in self.table.chunks(self.columns):
                frame = pd.DataFrame()
                codes = []
                for name, column, known in ((USER, self.user, self.users), (ITEM, self.item, self.items)):
                    text = cells.plain_text(chunk[column])
                    cells.check_ids(text, cells.Place(where, column, before))
                    frame[name] = pd.Series(pd.arrays.ArrowExtensionArray(text))
                    codes.append(_encode(text, known))
                if self.rating is not None:
                    place = cells.Place(where, self.rating, before)
                    frame[RATING] = _numbers(chunk[self.rating], place)
                if self.timestamp is not None:
                    place = cells.Place(where, self.timestamp, before)
                    frame[TIME] = self._seconds(chunk[self.timestamp], place)
                for column, kind in self.kept:
                    frame[f"{_field(column)}:{kind}"] = chunk[column]
                pairs = np.stack(codes, axis=1)
                if self.drop:
                    keys = pairs[:, 0] << 32 | pairs[:, 1]
                    again = pd.Series(keys).duplicated().to_numpy() | np.isin(keys, seen)
                    self.repeated += int(again.sum())
                    frame, pairs, seen = frame[~again], pairs[~again], np.concatenate([seen, keys[~again]])
                written.append(pairs)
                self.rows += len(pairs)
                if self.timestamp is not None:
                    self.times.append(frame[TIME].to_numpy())
                before += len(chunk)
                bar.update(len(chunk))
                yield frame
        if before == 0:
            raise WrongUse(f"{where}: no rows after the header; nothing to convert")
        if not self.drop:
            user, item = np.concatenate(written).T
            self.repeated = int(repeated_pairs(user, item).sum())

    def _seconds(self, series: pd.Series, place: cells.Place) -> pd.Series:
        if not pd.api.types.is_datetime64_any_dtype(series.dtype):
            if self._dates is None:
                self._dates = bool(pd.to_numeric(series[:1], errors="coerce").isna().any())
            if not self._dates:
                return _numbers(series, place)
        dates = pd.to_datetime(series, format="ISO8601", utc=True, errors="coerce")
        if dates.isna().any():
            row = int(dates.isna().to_numpy().argmax())
            remedy = ", neither seconds nor an ISO date (2024-05-31, 2024-05-31T12:00:00)"
            raise place.wrong(row, repr(series.iloc[row]), remedy)
        return dates.dt.as_unit("us").astype(np.int64) / 1e6


def _numbers(series: pd.Series, place: cells.Place) -> pd.Series:
    try:  # ten times faster than pandas on text, but all or nothing
        numbers = pa.array(series).cast(pa.float64()).to_pandas()
    except pa.ArrowException:
        numbers = pd.to_numeric(series, errors="coerce").astype(np.float64)
    wrong = ~np.isfinite(numbers.to_numpy())
    if wrong.any():
        row = int(wrong.argmax())
        remedy = ", which is no number; fill it or remove the row"
        raise place.wrong(row, repr(series.iloc[row]), remedy)
    return numbers


def _encode(text: pa.Array, known: dict[str, int]) -> np.ndarray:
    """Codes [R] of the tokens, in order of first appearance over all chunks."""
    encoded = text.dictionary_encode()
    tokens = encoded.dictionary.to_pylist()
    codes = np.fromiter((known.setdefault(token, len(known)) for token in tokens), np.int64, len(tokens))
    return codes[encoded.indices.to_numpy()]


def _name_and_type(column: str) -> tuple[str, str]:
    name, separator, kind = column.rpartition(":")
    return (name, kind) if separator and kind in TYPES else (column, "token")


def _item_lines(atomic: pd.DataFrame, reader: InteractionTable, all_items: bool) -> Iterator[pd.DataFrame]:
    """The lines of ``.item``: the items with a row, or all."""
    yield lines_of(atomic, ITEM, [*(atomic[ITEM] if all_items else ()), *reader.items])


def _field(column: str) -> str:
    return re.sub(r'[\s:"]+', "_", column)


def _write_summary(
    staging: Staging, reader: InteractionTable, described: pd.DataFrame | None, settings: dict[str, Any]
) -> dict[str, Any]:
    undescribed, having = None, {}
    if described is not None:
        used = described[described["item_id"].isin(reader.items)]
        undescribed, having = len(reader.items) - len(used), count_described(used)
    counts = len(reader.users), len(reader.items), reader.rows
    dropped = {"repeated pairs": reader.repeated} if reader.drop else {}
    more = {
        "repeated_pairs_kept": 0 if reader.drop else reader.repeated,
        "items_without_description": undescribed,
    }
    return staging.write_summary(counts, reader.times, having, dropped, Problems(), settings=settings, **more)


def _tell(args: argparse.Namespace, summary: dict[str, Any]) -> None:
    """Say what a person should know of the rows and items that were kept; with ``--strict``, refuse."""
    repeated, undescribed = summary["repeated_pairs_kept"], summary["items_without_description"]
    if repeated and args.strict:
        kept = "--drop-duplicates keeps the first of each"
        raise WrongUse(f"--strict: {args.interactions} repeats {repeated:,} pairs of user and item; {kept}")
    if undescribed and args.strict:
        where = f"are not in {args.items}; compare the ids, which are text"
        raise WrongUse(f"--strict: {undescribed:,} items of {args.interactions} {where}")
    if repeated and args.json != "-":
        kept = "were kept (--drop-duplicates keeps the first)"
        print(f"{repeated:,} rows repeat a pair of user and item and {kept}")
    if undescribed and args.json != "-":
        print(f"{undescribed:,} of {summary['items']:,} items are not in the table of items")
