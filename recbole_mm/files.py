"""Writing so that nothing is ever half there: a temporary file beside the target, then a rename."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to write; it takes the place of ``path`` if the block succeeds, else it is removed."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` (UTF-8) to ``path``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def remove_litter(path: str | os.PathLike[str]) -> None:
    """Remove what a killed process left of its writing to ``path``."""
    for temporary in Path(path).parent.glob(f".{glob.escape(Path(path).name)}.*.tmp"):
        temporary.unlink(missing_ok=True)


def append_line(path: str | os.PathLike[str], value: Any) -> None:
    """Add ``value`` as a line of JSON and bring it to the disk; a line that a kill cut off is ended first."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab+") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(json.dumps(value, default=str).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_lines(path: str | os.PathLike[str]) -> list[Any]:
    """The values of the lines; none where there is no file, and those that a kill cut off are passed over."""
    found = []
    for line in Path(path).read_text(encoding="utf-8").splitlines() if Path(path).is_file() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found
