"""Plain or gzip JSON lines as a stream, in bounded memory, also when they are damaged."""

from __future__ import annotations

import ast
import json
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
import pyarrow as pa
from pyarrow import json as arrow_json

from recbole_mm.convert.problems import Problems
from recbole_mm.errors import WrongUse

CHUNK = 1 << 20
MAX_LINE = 64 << 20
LINE_FEED, BRACE = ord("\n"), ord("{")
UTF8_MARK = b"\xef\xbb\xbf"
T = TypeVar("T")


def read_blocks(path: str | Path, problems: Problems) -> Iterator[bytes]:
    """Yield the file in blocks of whole lines, about 1 to 4 MiB each; every block ends with a line feed.

    A second thread reads and unpacks ahead (zlib lets go of the interpreter's lock). A gzip file that ends
    early or is damaged is counted as ``truncated``: the lines that came out whole are yielded.

    Raises:
        WrongUse: no such file; a line above 64 MiB; UTF-16 text.
    """
    path = Path(path)
    if not path.is_file():
        raise WrongUse(f"{path}: no such file")
    cut_before = problems.counts.get("truncated", 0)
    rest = b""
    for number, block in enumerate(ahead(_unpacked(path, problems))):
        if number == 0:
            if block[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise WrongUse(f"{path}: UTF-16 text; convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8)")
            block = block.removeprefix(UTF8_MARK)
        end = block.rfind(b"\n") + 1
        if end:
            yield rest + block[:end]
            rest = block[end:]
        else:
            rest += block
            if len(rest) > MAX_LINE:
                raise WrongUse(f"{path}: a line above {MAX_LINE >> 20} MiB; these are no JSON lines")
    if rest and problems.counts.get("truncated", 0) == cut_before:
        yield rest + b"\n"  # a last line without line feed; after a cut it would be half a line


def lines_of(block: bytes) -> list[bytes]:
    """The lines of a block without their line feeds."""
    lines = block.split(b"\n")
    lines.pop()
    return lines


def parse_block(block: bytes, schema: pa.Schema) -> pa.Table | None:
    """The columns of ``schema`` of all lines at once (null where absent), or None.

    None means that some line is no plain UTF-8 JSON object of these types: read the lines with `parse`.
    """
    data = np.frombuffer(block, np.uint8)
    starts = np.flatnonzero(data == LINE_FEED) + 1
    if not block.startswith(b"{") or (data[starts[:-1]] != BRACE).any():
        return None
    try:
        if not block.isascii():
            block.decode("utf-8")
        table = arrow_json.read_json(
            pa.BufferReader(block),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    return table.combine_chunks() if table.num_rows == len(starts) else None


def parse(line: bytes, where: str, problems: Problems) -> dict[str, Any] | None:
    """One line as a dict, or None (blank, or counted as broken).

    Tries strict JSON, then, for old releases and damaged lines, Windows-1252 text, JSON with NaN or half
    surrogates, and a Python literal (Amazon 2014 metadata); never eval.
    """
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = _repair(line, where, problems)
    if row is None or isinstance(row, dict):
        return row
    problems.add("broken_line", where)
    return None


def _repair(line: bytes, where: str, problems: Problems) -> Any:
    line = line.strip()
    if not line:
        return None
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        problems.add("encoding", where)
        text = line.decode("cp1252", errors="replace")
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return _without_surrogates(read(text), where, problems)
    problems.add("broken_line", where)
    return None


def _without_surrogates(row: Any, where: str, problems: Problems) -> Any:
    """``row`` with half surrogate pairs, which no file can hold, replaced by '?'; counted as ``encoding``."""
    text = json.dumps(row, ensure_ascii=False, default=str)
    if not any("\ud800" <= char <= "\udfff" for char in text):
        return row
    problems.add("encoding", where)
    return json.loads(text.encode("utf-8", "replace").decode("utf-8"))


def _unpacked(path: Path, problems: Problems) -> Iterator[bytes]:
    """The file's bytes in blocks of about 1 to 4 MiB; gzip is known by its first two bytes."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not packed:
            while block := file.read(CHUNK):
                yield block
            return
        inflate = zlib.decompressobj(wbits=31)
        data = b""
        started = False
        while True:
            data = data or file.read(CHUNK)
            if not data:
                break
            if not started and not data.strip(b"\x00"):  # zero padding after the last member
                data = b""
                continue
            started = True
            try:
                block = inflate.decompress(data, 4 * CHUNK)
            except zlib.error as error:
                problems.add("truncated", f"{path.name} ({error})")
                return
            if block:
                yield block
            data = inflate.unconsumed_tail
            if inflate.eof:  # gzip files may be concatenated
                data = inflate.unused_data
                inflate = zlib.decompressobj(wbits=31)
                started = False
        if started:
            problems.add("truncated", f"{path.name} (unexpected end)")


def ahead(values: Iterator[T]) -> Iterator[T]:
    """The same values, made in a second thread, at most four waiting."""
    end: Any = object()
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, values, end) for _ in range(4))
        try:
            while (value := waiting.popleft().result()) is not end:
                waiting.append(thread.submit(next, values, end))
                yield value
        finally:
            thread.shutdown(cancel_futures=True)
