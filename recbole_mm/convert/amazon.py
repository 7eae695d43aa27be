"""Amazon reviews of 2014, 2018 and 2023 (plain or gzip JSON lines) -> atomic files, items and reviews.

Two passes over the reviews: the first keeps only integer codes, ratings and times (20 bytes a review, and the
ids themselves), on which the filters work; the second reads the texts of the reviews that were kept. The text
is never held but for the chunk at hand. Times are seconds in every edition (2023 has milliseconds).
"""

from __future__ import annotations

import argparse
import datetime
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from recbole_mm.convert.amazon_items import write_items
from recbole_mm.convert.atomic import write_atomic
from recbole_mm.convert.filter import Filters, add_filter_arguments, filters_from, repeated_pairs
from recbole_mm.convert.jsonlines import lines_of, parse, parse_block, read_blocks
from recbole_mm.convert.problems import Problems
from recbole_mm.convert.sources import add_output_arguments, named_paths
from recbole_mm.convert.staging import REVIEWS_PARQUET, ParquetStream, Staging, inter_frames
from recbole_mm.convert.summary import overlap, report, summarise
from recbole_mm.errors import WrongUse

HELP = "Amazon reviews and metadata (2014, 2018, 2023) to atomic files, items.parquet, reviews.parquet"


@dataclass(frozen=True)
class Fields:
    """Names of an edition's fields; ``per_second``: how many of its time units make a second."""

    user: str
    item: str
    rating: str
    time: str
    per_second: int
    title: str
    text: str


EDITIONS = (
    Fields("user_id", "parent_asin", "rating", "timestamp", 1000, "title", "text"),  # 2023
    Fields("reviewerID", "asin", "overall", "unixReviewTime", 1, "summary", "reviewText"),  # 2014, 2018
)


@dataclass(frozen=True)
class Reviews:
    """What the first pass keeps: codes (-1: unusable), ratings and seconds of every line [R], and the ids."""

    fields: Fields
    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    timestamp: np.ndarray
    users: pa.Array
    items: pa.Array


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``recbole-mm convert amazon``."""
    parser.add_argument("reviews", nargs="+", metavar="[NAME=]REVIEWS", help="a review file for each domain")
    parser.add_argument(
        "--meta",
        nargs="+",
        default=[],
        metavar="[NAME=]META",
        help="metadata files, by name or in the same order",
    )
    parser.add_argument(
        "--images", nargs="+", default=[], metavar="[NAME=]FOLDER", help="folders of <item id>.jpg or .png"
    )
    parser.add_argument(
        "--no-reviews", action="store_true", help="write no reviews.parquet (saves the second pass)"
    )
    add_output_arguments(parser)
    add_filter_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Convert every domain, then put all of them in place."""
    reviews = named_paths(args.reviews)
    metas = named_paths(args.meta, list(reviews), "--meta")
    images = named_paths(args.images, list(reviews), "--images")
    filters = filters_from(args)
    summaries: list[dict[str, Any]] = []
    users: dict[str, set[str]] = {}
    items: dict[str, set[str]] = {}
    with ExitStack() as stack:
        for name, path in reviews.items():
            staging = stack.enter_context(Staging(args.out, name))
            summary, users[name], items[name] = convert(
                staging,
                path,
                metas.get(name),
                images.get(name),
                filters=filters,
                texts=not args.no_reviews,
                strict=args.strict,
            )
            summaries.append(summary)
    report(summaries, overlap(users, items), args.json)
    return 0


def convert(
    staging: Staging,
    path: Path,
    meta: Path | None = None,
    images: Path | None = None,
    *,
    filters: Filters,
    texts: bool = True,
    strict: bool = False,
) -> tuple[dict[str, Any], set[str], set[str]]:
    """Write one domain into ``staging``; returns its summary, its users and its items."""
    problems = Problems()
    data = read_reviews(path, problems)
    usable = np.flatnonzero(data.user >= 0)
    again = repeated_pairs(data.user[usable], data.item[usable])
    if again.any():
        problems.add("duplicate_pair", f"{path.name}:{usable[int(again.argmax())] + 1}", int(again.sum()))
    problems.raise_if(strict)
    keep, dropped = filters.keep(data.user, data.item, data.rating, data.timestamp)
    rows = np.flatnonzero(keep)
    columns = {
        "user": data.user,
        "item": data.item,
        "rating:float": data.rating,
        "timestamp:float": data.timestamp,
    }
    write_atomic(staging.folder, staging.name, inter_frames(data.users, data.items, rows, columns))
    with_text, with_image = write_items(
        staging, data.items, np.unique(data.item[rows]), meta, images, problems
    )
    problems.raise_if(strict)
    with_review = _write_reviews(staging.folder / REVIEWS_PARQUET, path, data, keep) if texts else None
    summary = summarise(
        staging.name,
        data.user[rows],
        data.item[rows],
        data.timestamp[rows],
        with_text=with_text,
        with_image=with_image,
        with_review=with_review,
        dropped=dropped,
        problems=problems,
    )
    staging.write_summary(summary)
    users = set(data.users.take(pa.array(np.unique(data.user[rows]))).to_pylist())
    return summary, users, set(data.items.take(pa.array(np.unique(data.item[rows]))).to_pylist())


def read_reviews(path: Path, problems: Problems) -> Reviews:
    """First pass: codes, ratings and times, one entry a line, so that the second pass can find its lines.

    Raises:
        WrongUse: none of the editions' fields in the first lines.
    """
    fields: Fields | None = None
    codes: tuple[dict[str, int], dict[str, int]] = ({}, {})
    parts: list[tuple[np.ndarray, ...]] = []
    line_no = 0
    with tqdm(desc=f"{path.name}: ids", unit="B", unit_scale=True, disable=None) as bar:
        for block in read_blocks(path, problems):
            fields = fields or _edition(path, block)
            part = _quick(block, fields, codes)
            if part is None:
                part = _one_by_one(block, fields, codes, path.name, line_no, problems)
            parts.append(part)
            line_no += len(part[0])
            bar.update(len(block))
    if fields is None:
        raise WrongUse(f"{path}: no lines")
    user, item, rating, timestamp = (np.concatenate(column) for column in zip(*parts, strict=True))
    users, items = (pa.array(list(tokens), pa.large_string()) for tokens in codes)
    return Reviews(fields, user, item, rating, timestamp, users, items)


def _quick(
    block: bytes, fields: Fields, codes: tuple[dict[str, int], dict[str, int]]
) -> tuple[np.ndarray, ...] | None:
    """User and item codes, ratings, seconds of a block without fault; None where it has one."""
    schema = pa.schema(
        [
            (fields.user, pa.string()),
            (fields.item, pa.string()),
            (fields.rating, pa.float64()),
            (fields.time, pa.int64()),
        ]
    )
    table = parse_block(block, schema)
    if table is None:
        return None
    columns = [table[name].combine_chunks() for name in schema.names]
    if any(column.null_count for column in columns) or not np.isfinite(columns[2].to_numpy()).all():
        return None
    if any(pc.any(pc.equal(pc.utf8_trim_whitespace(column), "")).as_py() for column in columns[:2]):
        return None
    found: list[np.ndarray] = []
    for column, known in zip(columns[:2], codes, strict=True):
        coded = column.dictionary_encode()
        numbers = [known.setdefault(token, len(known)) for token in coded.dictionary.to_pylist()]
        found.append(np.array(numbers, np.int32)[coded.indices.to_numpy()])
    return *found, columns[2].to_numpy(), columns[3].to_numpy() // fields.per_second


def _one_by_one(
    block: bytes,
    fields: Fields,
    codes: tuple[dict[str, int], dict[str, int]],
    name: str,
    line_no: int,
    problems: Problems,
) -> tuple[np.ndarray, ...]:
    """As `_quick`, for a block with a fault, which is counted; its line has the codes -1."""
    lines = lines_of(block)
    user, item = np.full(len(lines), -1, np.int32), np.full(len(lines), -1, np.int32)
    rating, timestamp = np.zeros(len(lines)), np.zeros(len(lines), np.int64)
    for row, line in enumerate(lines):
        found = _careful(line, fields, f"{name}:{line_no + row + 1}", problems)
        if found:
            user[row] = codes[0].setdefault(found[0], len(codes[0]))
            item[row] = codes[1].setdefault(found[1], len(codes[1]))
            rating[row], timestamp[row] = found[2:]
    return user, item, rating, timestamp


def _careful(
    line: bytes, fields: Fields, where: str, problems: Problems
) -> tuple[str, str, float, int] | None:
    """User, item, rating, seconds of a line, or None with what is wrong counted."""
    row = parse(line, where, problems)
    if row is None:
        return None
    user, item = (str(row.get(key) or "") for key in (fields.user, fields.item))
    rating, seconds = _number(row.get(fields.rating)), _number(row.get(fields.time))
    seconds = _review_day(row.get("reviewTime")) if seconds is None else seconds // fields.per_second
    for name, absent in (
        ("user", not user.strip()),
        ("item", not item.strip()),
        ("rating", rating is None),
        ("timestamp", seconds is None),
    ):
        if absent:
            problems.add(f"missing_{name}", where)
            return None
    assert rating is not None and seconds is not None
    return user, item, rating, int(seconds)


def _write_reviews(target: Path, path: Path, data: Reviews, keep: np.ndarray) -> int:
    """Second pass: the texts of the rows in ``keep``; returns how many have one."""
    line_no = with_text = 0
    columns = ("user_id", "item_id", "timestamp", "summary", "text")
    with (
        ParquetStream(target, columns, repeated=("user_id", "item_id")) as stream,
        tqdm(desc=f"{path.name}: texts", unit="B", unit_scale=True, disable=None) as bar,
    ):
        for block in read_blocks(path, Problems()):  # its faults are counted already
            here = keep[line_no : line_no + block.count(b"\n")]
            rows = np.flatnonzero(here)
            if 0 < len(rows) < len(here):
                lines = lines_of(block)
                kept = b"".join([lines[row] + b"\n" for row in rows.tolist()])
            else:
                kept = block
            if len(rows):
                summary, text = _texts(kept, data.fields)
                with_text += len(text) - text.null_count
                stream.write(
                    {
                        "user_id": data.users.take(pa.array(data.user[rows + line_no])),
                        "item_id": data.items.take(pa.array(data.item[rows + line_no])),
                        "timestamp": pa.array(data.timestamp[rows + line_no]),
                        "summary": summary,
                        "text": text,
                    }
                )
            line_no += block.count(b"\n")
            if line_no > len(keep):
                break
            bar.update(len(block))
    if line_no != len(keep):
        raise WrongUse(f"{path}: it changed while it was read; convert it again")
    return with_text


def _texts(block: bytes, fields: Fields) -> tuple[pa.Array, pa.Array]:
    """Title and text of every line, null where empty or no text."""
    names = (fields.title, fields.text)
    table = parse_block(block, pa.schema([(name, pa.string()) for name in names]))
    if table is None:
        parsed = [parse(line, "", Problems()) or {} for line in lines_of(block)]
        columns = [
            pa.array(
                [value if isinstance(value := row.get(name), str) else None for row in parsed], pa.string()
            )
            for name in names
        ]
    else:
        columns = [table[name].combine_chunks() for name in names]
    title, text = (pc.if_else(pc.equal(column, ""), None, column) for column in columns)
    return title, text


def _edition(path: Path, block: bytes) -> Fields:
    """The edition whose user and item fields one of the first lines has."""
    seen: list[str] = []
    for line in lines_of(block)[:1000]:
        row = parse(line, "", Problems()) or {}
        for fields in EDITIONS:
            if fields.user in row and fields.item in row:
                return fields
        seen = seen or [str(key) for key in row]
    wanted = " or ".join(f"{fields.user}, {fields.item}" for fields in EDITIONS)
    raise WrongUse(f"{path}: no Amazon reviews: fields {', '.join(seen[:8]) or 'none'}; expected {wanted}")


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _review_day(text: Any) -> float | None:
    """Seconds of "09 1, 2016" (2014 and 2018, where the Unix time is missing)."""
    try:
        day = datetime.datetime.strptime(text, "%m %d, %Y")
    except (TypeError, ValueError):
        return None
    return day.replace(tzinfo=datetime.timezone.utc).timestamp()
