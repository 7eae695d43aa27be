"""The first lines of atomic files: enough to choose defaults and to refuse a wrong file early."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

_TYPES = frozenset({"token", "token_seq", "float", "float_seq"})
_SUFFIXES = ("inter", "user", "item", "kg", "link", "ent", "rel")


@dataclass(frozen=True)
class Header:
    """Fields of the atomic files of one data set: suffix -> {field: type}; an absent file is no key."""

    folder: Path
    name: str
    fields: dict[str, dict[str, str]]

    def file(self, suffix: str) -> Path:
        """The path of one atomic file."""
        return self.folder / f"{self.name}.{suffix}"

    def of(self, suffix: str) -> dict[str, str]:
        """The fields of one file, empty where it is absent."""
        return self.fields.get(suffix, {})


def text_encoding(value: Any) -> str:
    """The codec of atomic files where ``encoding`` has this value: UTF-8 with or without a byte-order mark."""
    name = str(value or "utf-8")
    return "utf-8-sig" if name.lower() in ("utf-8", "utf8", "utf_8") else name


def parse_header(line: str, separator: str) -> dict[str, str] | None:
    """``user_id:token<TAB>…`` as {field: type}; None when the line is no header."""
    fields = {}
    for cell in line.rstrip("\r\n").split(separator):
        name, _, kind = cell.partition(":")  # a second colon is none to RecBole either
        if not name or kind not in _TYPES:
            return None
        fields[name] = kind
    return fields


def read_header(folder: Path, name: str, config: Mapping[str, Any]) -> Header:
    """Read the headers that are there and well formed; ``check_dataset`` complains of the others."""
    benchmark = config.get("benchmark_filename")
    fields = {}
    more = config.get("additional_feat_suffix") or ()
    for suffix in dict.fromkeys([*_SUFFIXES, *([more] if isinstance(more, str) else more)]):
        stem = f"{benchmark[0]}.inter" if suffix == "inter" and benchmark else suffix
        try:
            with (folder / f"{name}.{stem}").open(encoding=text_encoding(config.get("encoding"))) as stream:
                found = parse_header(stream.readline(), config.get("field_separator") or "\t")
        except (OSError, UnicodeDecodeError):
            continue
        if found:
            fields[suffix] = found
    return Header(folder, name, fields)


def first_values(header: Header, column: str, separator: str, rows: int = 5000) -> list[float]:
    """The first values of a float column of ``.inter``; cells that are no number are left out."""
    at = list(header.of("inter")).index(column)
    values = []
    with header.file("inter").open(encoding="utf-8", errors="replace") as stream:
        for line in islice(stream, 1, rows + 1):
            with suppress(ValueError, IndexError):
                values.append(float(line.rstrip("\r\n").split(separator)[at]))
    return values
