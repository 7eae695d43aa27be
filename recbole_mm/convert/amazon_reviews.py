"""The two passes over an Amazon review file, in blocks of a few MiB.

The first puts integer codes, a rating and a time of each review (24 bytes) into temporary files and holds the ids
themselves; the second reads the texts of the reviews that were kept. Reading, parsing and what follows run in
threads of their own: zlib and Arrow let go of the interpreter's lock. A block with a faulty line is read line by
line.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from recbole_mm.convert.jsonlines import ahead, lines_of, parse, parse_block, read_blocks
from recbole_mm.convert.problems import Problems
from recbole_mm.convert.spill import SpilledColumn
from recbole_mm.convert.staging import ParquetStream
from recbole_mm.errors import WrongUse


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
    user: SpilledColumn
    item: SpilledColumn
    rating: SpilledColumn
    timestamp: SpilledColumn
    users: pa.Array
    items: pa.Array


def read_reviews(path: Path, folder: Path, problems: Problems) -> Reviews:
    """First pass: codes, ratings and times, one entry a line, so that the second pass can find its lines.

    ``folder``: for the temporary files.
    """
    fields = edition_of(path)
    codes: tuple[dict[str, int], dict[str, int]] = ({}, {})
    columns = user, item, rating, timestamp = (
        SpilledColumn(folder, np.int32),
        SpilledColumn(folder, np.int32),
        SpilledColumn(folder, np.float64),
        SpilledColumn(folder, np.int64),
    )
    with tqdm(desc=f"{path.name}: ids", unit="B", unit_scale=True, disable=None) as bar:
        for block, table in ahead(_tables(path, fields, problems)):
            part = None if table is None else _quick(table, fields, codes)
            if part is None:
                part = _one_by_one(block, fields, codes, path.name, len(user), problems)
            for column, values in zip(columns, part, strict=True):
                column.append(values)
            bar.update(len(block))
    users, items = (pa.array(list(tokens), pa.large_string()) for tokens in codes)
    return Reviews(fields, user, item, rating, timestamp, users, items)


def _tables(path: Path, fields: Fields, problems: Problems) -> Iterator[tuple[bytes, pa.Table | None]]:
    schema = pa.schema(
        [
            (fields.user, pa.string()),
            (fields.item, pa.string()),
            (fields.rating, pa.float64()),
            (fields.time, pa.int64()),
        ]
    )
    for block in read_blocks(path, problems):
        yield block, parse_block(block, schema)


def _quick(
    table: pa.Table, fields: Fields, codes: tuple[dict[str, int], dict[str, int]]
) -> tuple[np.ndarray, ...] | None:
    """User and item codes, ratings, seconds of a block; None where a value is missing."""
    columns = [table[name].combine_chunks() for name in table.column_names]
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


def write_reviews(target: Path, path: Path, data: Reviews, keep: np.ndarray) -> int:
    """Second pass: the texts of the rows in ``keep``; returns how many have one."""
    with_text = 0
    columns = ("user_id", "item_id", "timestamp", "summary", "text")
    with (
        ParquetStream(target, columns, repeated=("user_id", "item_id")) as stream,
        tqdm(desc=f"{path.name}: texts", unit="B", unit_scale=True, disable=None) as bar,
    ):
        for part, size, summary, text in ahead(_kept_texts(path, data.fields, keep)):
            with_text += len(text) - text.null_count
            rows = keep[part]
            stream.write(
                {
                    "user_id": data.users.take(pa.array(data.user[part][rows])),
                    "item_id": data.items.take(pa.array(data.item[part][rows])),
                    "timestamp": pa.array(data.timestamp[part][rows]),
                    "summary": summary,
                    "text": text,
                }
            )
            bar.update(size)
    return with_text


def _kept_texts(
    path: Path, fields: Fields, keep: np.ndarray
) -> Iterator[tuple[slice, int, pa.Array, pa.Array]]:
    """For each block with rows to keep: all its rows, its size; the titles and texts of those to keep."""
    line_no = 0
    for block in read_blocks(path, Problems()):  # its faults are counted already
        part = slice(line_no, line_no + block.count(b"\n"))
        rows = np.flatnonzero(keep[part])
        if len(rows):
            kept = block
            if len(rows) < part.stop - part.start:
                lines = lines_of(block)
                kept = b"".join([lines[row] + b"\n" for row in rows.tolist()])
            yield part, len(block), *_texts(kept, fields)
        line_no = part.stop
    if line_no != len(keep):
        raise WrongUse(f"{path}: it changed while it was read; convert it again")


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


def edition_of(path: Path) -> Fields:
    """The edition whose user and item fields one of the first lines has.

    Raises:
        WrongUse: none of them has; the file is empty.
    """
    block = next(read_blocks(path, Problems()), b"")
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
    return day.replace(tzinfo=datetime.UTC).timestamp()
