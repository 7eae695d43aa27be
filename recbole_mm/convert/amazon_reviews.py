"""One pass over an Amazon review file, in blocks of a few MiB.

Integer codes, ratings, times and texts go to temporary files, the ids stay in memory. Reading, parsing and what
follows run in threads of their own: zlib and Arrow let go of the interpreter's lock. A block with a faulty line is
read line by line.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from recbole_mm.convert.frames import ITEM, RATING, TIME, USER
from recbole_mm.convert.jsonlines import ahead, lines_of, parse, parse_block, read_blocks
from recbole_mm.convert.problems import Problems
from recbole_mm.convert.spill import SpilledColumn, SpilledTexts, blocks
from recbole_mm.convert.staging import ParquetStream
from recbole_mm.errors import WrongUse


class Fields(NamedTuple):
    """Names of an edition's fields; ``per_second``: how many of its time units make a second."""

    user: str
    item: str
    rating: str
    time: str
    title: str
    text: str
    per_second: int


EDITIONS = (
    Fields("user_id", "parent_asin", "rating", "timestamp", "title", "text", 1000),  # 2023
    Fields("reviewerID", "asin", "overall", "unixReviewTime", "summary", "reviewText", 1),  # 2014, 2018
)
TYPES = pa.string(), pa.string(), pa.float64(), pa.int64(), pa.string(), pa.string()  # of the fields
TEXTS = ("summary", "text")  # as reviews.parquet names them
Codes = tuple[dict[str, int], dict[str, int]]  # of the users, of the items


@dataclass(frozen=True)
class Reviews:
    """What is kept of every line [R]: codes (-1: unusable), ratings, seconds and, on demand, texts; and the ids."""

    user: SpilledColumn
    item: SpilledColumn
    rating: SpilledColumn
    timestamp: SpilledColumn
    texts: SpilledTexts | None
    users: pa.Array
    items: pa.Array

    def inter(self, keep: np.ndarray) -> Iterator[pd.DataFrame]:
        """Chunks for the ``.inter`` file: the rows in ``keep`` (bool [R]), in order."""
        for part in blocks(len(keep)):
            rows = keep[part]
            frame = pd.DataFrame({RATING: self.rating[part][rows], TIME: self.timestamp[part][rows]})
            for name, tokens, codes in ((USER, self.users, self.user), (ITEM, self.items, self.item)):
                frame[name] = pd.arrays.ArrowExtensionArray(tokens.take(codes[part][rows]))
            yield frame[[USER, ITEM, RATING, TIME]]


def read_reviews(path: Path, folder: Path, texts: bool, problems: Problems) -> Reviews:
    """Codes, ratings, times and, if ``texts``, titles and texts, one entry a line; temporary files in ``folder``."""
    fields = edition_of(path)
    schema = pa.schema(list(zip(fields[: 6 if texts else 4], TYPES, strict=False)))
    tables = ((block, parse_block(block, schema)) for block in read_blocks(path, problems))
    codes: Codes = ({}, {})
    kinds = (np.int32, np.int32, np.float64, np.int64)
    columns = user, item, rating, timestamp = tuple(SpilledColumn(folder, kind) for kind in kinds)
    spilled = SpilledTexts(folder, TEXTS) if texts else None
    with tqdm(desc=path.name, unit="B", unit_scale=True, disable=None) as bar:
        for block, table in ahead(tables):
            part = None if table is None else _quick(table, fields, codes)
            if part is None:
                part = _one_by_one(block, fields, codes, path.name, len(user), problems)
            for column, values in zip(columns, part[: len(columns)], strict=True):
                column.append(values)
            if spilled is not None:
                spilled.append(part[len(columns) :])
            bar.update(len(block))
    users, items = (pa.array(list(tokens), pa.large_string()) for tokens in codes)
    return Reviews(user, item, rating, timestamp, spilled, users, items)


def _quick(table: pa.Table, fields: Fields, codes: Codes) -> tuple[Any, ...] | None:
    """User and item codes, ratings, seconds and texts of a block; None where a value (but a text) is missing."""
    columns = [table[name].combine_chunks() for name in table.column_names]
    ids, (rating, time), texts = columns[:2], columns[2:4], columns[4:]
    if any(column.null_count for column in columns[:4]) or not np.isfinite(rating.to_numpy()).all():
        return None
    if any(pc.any(pc.equal(pc.utf8_trim_whitespace(column), "")).as_py() for column in ids):
        return None
    found: list[np.ndarray] = []
    for column, known in zip(ids, codes, strict=True):
        coded = column.dictionary_encode()
        numbers = [known.setdefault(token, len(known)) for token in coded.dictionary.to_pylist()]
        found.append(np.array(numbers, np.int32)[coded.indices.to_numpy()])
    return *found, rating.to_numpy(), time.to_numpy() // fields.per_second, *map(_filled, texts)


def _one_by_one(
    block: bytes, fields: Fields, codes: Codes, name: str, line_no: int, problems: Problems
) -> tuple[Any, ...]:
    """As `_quick`, for a block with a fault, which is counted; its line has the codes -1."""
    rows = [
        _careful(line, fields, f"{name}:{line_no + row}", problems) or (None, None, 0.0, 0, None, None)
        for row, line in enumerate(lines_of(block), 1)
    ]
    *ids, rating, timestamp, title, text = zip(*rows, strict=True)
    user, item = (
        np.array([-1 if token is None else known.setdefault(token, len(known)) for token in column], np.int32)
        for column, known in zip(ids, codes, strict=True)
    )
    texts = (_filled(pa.array(column, pa.string())) for column in (title, text))
    return user, item, np.array(rating, np.float64), np.array(timestamp, np.int64), *texts


def _filled(texts: pa.Array) -> pa.Array:
    """Texts with null for the empty ones."""
    return pc.if_else(pc.equal(texts, ""), None, texts)


def _careful(line: bytes, fields: Fields, where: str, problems: Problems) -> tuple[Any, ...] | None:
    """User, item, rating, seconds, title and text of a line, or None with what is wrong counted."""
    row = parse(line, where, problems)
    if row is None:
        return None
    user, item = (str(row.get(key) or "") for key in (fields.user, fields.item))
    rating, seconds = _number(row.get(fields.rating)), _number(row.get(fields.time))
    seconds = _review_day(row.get("reviewTime")) if seconds is None else seconds // fields.per_second
    absent = (not user.strip(), not item.strip(), rating is None, seconds is None)
    for name, lacks in zip(("user", "item", "rating", "timestamp"), absent, strict=True):
        if lacks:
            problems.add(f"missing_{name}", where)
            return None
    assert rating is not None and seconds is not None
    texts = (row.get(key) for key in (fields.title, fields.text))
    return user, item, rating, int(seconds), *(text if isinstance(text, str) else None for text in texts)


def write_reviews(target: Path, data: Reviews, keep: np.ndarray) -> int:
    """Write the rows in ``keep`` with their texts; returns how many have one."""
    assert data.texts is not None
    with_text = line_no = 0
    names = ("user_id", "item_id", "timestamp", *TEXTS)
    with (
        ParquetStream(target, names, repeated=("user_id", "item_id")) as stream,
        tqdm(total=len(keep), desc=target.name, unit=" rows", unit_scale=True, disable=None) as bar,
    ):
        for batch in ahead(data.texts.batches()):
            part = slice(line_no, line_no + batch.num_rows)
            line_no = part.stop
            bar.update(batch.num_rows)
            rows = keep[part]
            if not rows.any():
                continue
            batch = batch.filter(pa.array(rows))
            with_text += batch.num_rows - batch["text"].null_count
            stream.write(
                {
                    "user_id": data.users.take(data.user[part][rows]),
                    "item_id": data.items.take(data.item[part][rows]),
                    "timestamp": data.timestamp[part][rows],
                    **{name: batch[name] for name in TEXTS},
                }
            )
    return with_text


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
