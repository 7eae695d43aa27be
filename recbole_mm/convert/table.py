"""Any CSV, TSV or parquet of interactions, and one of items, to atomic files and ``items.parquet``.

Rows keep their order; of a repeated pair of user and item one is kept, as by the other converters. Ids are text as
they stand in a CSV (``0108775015``). Times are seconds since 1970 (UTC): numbers are taken as they are, ISO dates are
converted (without a zone: UTC).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from recbole_mm.atomic import TYPES
from recbole_mm.convert import cells
from recbole_mm.convert.atomic import write_atomic, write_items_parquet
from recbole_mm.convert.filter import (
    add_repeats_argument,
    count_doubtful,
    count_repeated,
    repeated_pairs,
    usable,
)
from recbole_mm.convert.frames import ITEM, RATING, TIME, USER, count_described, lines_of
from recbole_mm.convert.item_table import read_items
from recbole_mm.convert.problems import Problems
from recbole_mm.convert.read_table import Table, field_name, refuse_repeated
from recbole_mm.convert.sets import Written, add_output_arguments, write_sets
from recbole_mm.convert.staging import Staging
from recbole_mm.errors import WrongUse
from recbole_mm.modality.align import alike

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
    add_repeats_argument(parser)
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
        problems = Problems()
        if args.items:
            table = Table(Path(args.items), separator, args.encoding)
            table.check_quotes(problems)
            atomic, described = read_items(table, args, staging.target, problems)
        reader.table.check_quotes(problems)
        # made when the interactions have been read
        lines = None if atomic is None else _item_lines(atomic, reader, args.all_items)
        write_atomic(staging.folder, args.name, reader.frames(), lines)
        keep = reader.look_over(args.repeats, problems)
        if not keep.all():
            write_atomic(staging.folder, args.name, reader.frames(keep))
        if described is not None:
            write_items_parquet(staging.folder, described)
        kept = [field_name(name) for name, _ in reader.kept]
        columns = {"load_col": {"inter": ["user_id", "item_id", *kept]}} if kept else {}
        problems.raise_if(args.strict)
        undescribed = _undescribed(args, reader.items, described)
        if undescribed and args.strict:
            raise WrongUse(f"--strict: {undescribed}")
        notes.append(undescribed)
        return _write_summary(staging, reader, described, problems, keep, columns), set(), set()

    notes: list[str] = []
    write_sets([args.name], args, write)
    if notes[0] and args.json != "-":
        print(notes[0])
    return 0


class InteractionTable:
    """The interactions as chunks for the ``.inter`` file, counted as they pass."""

    def __init__(self, table: Table, args: argparse.Namespace) -> None:
        self.table = table
        self.user, self.item = args.user, args.item
        self.rating, self.timestamp = args.rating, args.timestamp
        self.kept = [_name_and_type(column) for column in args.keep]
        self.users: dict[str, int] = {}
        self.items: dict[str, int] = {}
        self._codes: list[np.ndarray] = []  # users and items [R, 2], a chunk each
        self.ratings: list[np.ndarray] = []
        self.times: list[np.ndarray] = []  # seconds, a chunk each
        self._dates: bool | None = None
        columns = [self.user, self.item, self.rating, self.timestamp, *(name for name, _ in self.kept)]
        self.columns = [column for column in columns if column is not None]
        table.check(self.columns)
        given = {"user_id": True, "item_id": True, "rating": self.rating, "timestamp": self.timestamp}
        fields = [name for name, column in given.items() if column]
        refuse_repeated("--keep", "the .inter file", fields + [field_name(name) for name, _ in self.kept])

    def frames(self, keep: np.ndarray | None = None) -> Iterator[pd.DataFrame]:
        """Chunks with RecBole's headers; errors name the file, the row and the column. ``keep``: rows [R], or all."""
        before = 0
        where = str(self.table.path)
        self._codes, self.ratings, self.times = [], [], []
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
                    frame[f"{field_name(column)}:{kind}"] = chunk[column]
                if keep is not None:
                    frame = frame[keep[before : before + len(chunk)]]
                self._codes.append(np.stack(codes, axis=1))
                for name, values in ((RATING, self.ratings), (TIME, self.times)):
                    if name in frame:
                        values.append(frame[name].to_numpy())
                before += len(chunk)
                bar.update(len(chunk))
                yield frame
        if before == 0:
            raise WrongUse(f"{where}: no rows after the header; nothing to convert")

    def look_over(self, repeats: str, problems: Problems) -> np.ndarray:
        """The rows to keep of those that have passed, bool [R]: ``repeats`` says which of a repeated pair."""
        user, item = np.concatenate(self._codes).T
        ratings, times = (np.concatenate(each) if each else None for each in (self.ratings, self.times))
        place = f"{self.table.path} row "
        count_repeated(problems, place, user, item)
        count_doubtful(problems, place, usable(user, item), ratings, times)
        if repeats == "all":
            return np.ones(len(user), dtype=bool)
        return ~repeated_pairs(user, item, times, repeats)

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


def _write_summary(
    staging: Staging,
    reader: InteractionTable,
    described: pd.DataFrame | None,
    problems: Problems,
    keep: np.ndarray,
    settings: dict[str, Any],
) -> dict[str, Any]:
    undescribed, having = None, {}
    if described is not None:
        used = described[described["item_id"].isin(reader.items)]
        undescribed, having = len(reader.items) - len(used), count_described(used)
    counts = len(reader.users), len(reader.items), int(keep.sum())
    dropped = {"repeated": int((~keep).sum())}
    more = {"items_without_description": undescribed}
    return staging.write_summary(counts, reader.times, having, dropped, problems, settings=settings, **more)


def _undescribed(args: argparse.Namespace, items: dict[str, int], described: pd.DataFrame | None) -> str:
    """What to say of the items that the table of items lacks; "" where it has all."""
    if described is None:
        return ""
    known = described["item_id"].to_numpy(object)
    missing = np.array([*items.keys() - set(known)], dtype=object)
    missing.sort()
    if not len(missing):
        return ""
    said = f"{len(missing):,} of {len(items):,} items of {args.interactions} are not in {args.items}"
    pair = alike(missing, known)
    how = f"{pair[0]!r} there may be {pair[1]!r} here" if pair else f"the first is {missing[0]!r}"
    return f"{said}; ids are text: {how}"
