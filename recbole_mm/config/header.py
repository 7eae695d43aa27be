"""The first lines of atomic files: enough to choose defaults and to refuse a wrong file early."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from recbole_mm.atomic import header_fields, suffixes
from recbole_mm.errors import WrongUse


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


def is_loaded(name: str, suffix: str, get: Callable[[str], Any]) -> bool:
    """Whether a field of a file is read, by ``load_col`` and ``unload_col``; ``get`` gives the value of a key."""
    load_col, unload_col = get("load_col"), get("unload_col")
    left = unload_col.get(suffix, ()) if isinstance(unload_col, Mapping) else ()
    chosen = load_col.get(suffix) or () if isinstance(load_col, Mapping) else "*"
    return name not in left and (chosen == "*" or name in chosen)


def read_header(folder: Path, name: str, config: Mapping[str, Any]) -> Header:
    """Read the headers that are there and well formed; ``check_dataset`` complains of the others."""
    benchmark = config.get("benchmark_filename")
    fields = {}
    separator, encoding = config.get("field_separator") or "\t", str(config.get("encoding") or "utf-8")
    for suffix in suffixes(config.get("additional_feat_suffix")):
        stem = f"{benchmark[0]}.inter" if suffix == "inter" and benchmark else suffix
        with suppress(OSError, WrongUse):
            fields[suffix] = header_fields(folder / f"{name}.{stem}", separator, encoding)
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
