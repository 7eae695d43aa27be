"""Arguments that the converters share: where to read from, where to write to."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from recbole_mm.errors import WrongUse


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """``--out``, ``--strict``, ``--json``."""
    parser.add_argument("--out", default="dataset", help="folder for the data sets (default: dataset)")
    parser.add_argument("--strict", action="store_true", help="fail on anything counted as a problem")
    parser.add_argument("--json", metavar="FILE", help="write the summary here too; -: in place of the table")


def add_field_arguments(parser: argparse.ArgumentParser) -> None:
    """``--user-field``, ``--item-field``, of sources that are atomic sets."""
    for kind in ("user", "item"):
        name = f"name of the {kind}'s column (default: {kind}_id)"
        parser.add_argument(f"--{kind}-field", default=f"{kind}_id", help=name)


def named_paths(
    values: Sequence[str],
    names: Sequence[str] | None = None,
    option: str = "source",
    name_of: Callable[[str], str] | None = None,
) -> dict[str, Path]:
    """``[NAME=]PATH`` as a dict; without NAME, from the position in ``names``, else ``name_of`` the path (`stem`).

    Raises:
        WrongUse: a name twice, or one that is not among ``names``.
    """
    found: dict[str, Path] = {}
    for position, value in enumerate(values):
        name, separator, path = value.partition("=")
        if not separator:
            path = value
            name = names[position] if names and position < len(names) else (name_of or stem)(value)
        if names is not None and name not in names:
            raise WrongUse(f"{option} {value!r}: no data set of that name; names: {', '.join(names)}")
        if name in found:
            raise WrongUse(f"{option}: two for {name!r}; give each its name as NAME=PATH")
        found[name] = Path(path)
    return found


def stem(path: str) -> str:
    """``reviews_Beauty_5.json.gz`` -> ``Beauty``."""
    name = Path(path).name.partition(".")[0].removeprefix("reviews_")
    return name.removesuffix("_5").removesuffix("_10")


def folder_name(path: str) -> str:
    """The name of a folder, also of ``.``."""
    return Path(path).resolve().name
