"""One or several data sets from one command: each into a folder of its own, all put in place together."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from recbole_mm.convert.staging import Staging
from recbole_mm.convert.summary import overlap, report
from recbole_mm.errors import WrongUse
from recbole_mm.files import check_folder, check_target

Written = tuple[dict[str, Any], set[str], set[str]]


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """``--out``, ``--strict``, ``--json``."""
    parser.add_argument("--out", default="dataset", help="folder for the data sets (default: dataset)")
    parser.add_argument("--strict", action="store_true", help="fail on anything counted as a problem")
    parser.add_argument("--json", metavar="FILE", help="write the summary here too; -: in place of the table")


def stem(path: str) -> str:
    """``reviews_Beauty_5.json.gz`` -> ``Beauty``."""
    name = Path(path).name.partition(".")[0].removeprefix("reviews_")
    return name.removesuffix("_5").removesuffix("_10")


def named_paths(
    values: Sequence[str],
    names: Sequence[str] | None = None,
    option: str = "source",
    name_of: Callable[[str], str] = stem,
) -> dict[str, Path]:
    """``[NAME=]PATH`` as a dict; without NAME, from the position in ``names``, else ``name_of`` the path.

    Raises:
        WrongUse: a name twice, or one that is not among ``names``.
    """
    found: dict[str, Path] = {}
    for position, value in enumerate(values):
        name, separator, path = value.partition("=")
        if not separator:
            path = value
            name = names[position] if names and position < len(names) else name_of(value)
        if names is not None and name not in names:
            raise WrongUse(f"{option} {value!r}: no data set of that name; names: {', '.join(names)}")
        if name in found:
            raise WrongUse(f"{option}: two for {name!r}; give each its name as NAME=PATH")
        found[name] = Path(path)
    return found


def refuse_own_source(out: str | Path, names: Iterable[str], sources: Collection[Path]) -> None:
    """Refuse a data set in the place of a source of its conversion: what the filters drop would be lost."""
    for name in names:
        target = Path(out) / name
        if any(target.exists() and target.samefile(source) for source in sources if source.exists()):
            remedy = "give another --out, or a new name as NAME=FOLDER"
            raise WrongUse(f"{target}: the data set would replace its own source; {remedy}")


def write_sets(
    names: Iterable[str],
    args: argparse.Namespace,
    write: Callable[[Staging], Written],
    *,
    publish: bool = True,
    joint: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Write each data set to ``args.out`` and report on all; returns their summaries.

    ``write``: fills a folder; returns its summary, users and items. ``publish``: keep what was written. ``joint``:
    what the sets are as one data set, which is called ``<name>-<name>`` and has a yaml and no other file.
    """
    names = list(names)
    together = "-".join(names)
    for name in names:
        check_folder("--out", Path(args.out) / name)
    if args.json and args.json != "-":
        check_target("--json", args.json)
    summaries: list[dict[str, Any]] = []
    users: dict[str, set[str]] = {}
    items: dict[str, set[str]] = {}
    with ExitStack() as stack:
        for name in names:
            summary, users[name], items[name] = write(stack.enter_context(Staging(args.out, name, publish)))
            summaries.append(summary)
        if joint and any((Path(args.out) / together).glob("*.inter")):  # another set has that name
            joint = None
        if joint:
            stack.enter_context(Staging(args.out, together)).write_settings(joint)
    report(summaries, overlap(users, items), args.json)
    if joint and args.json != "-":
        print(f"together: --dataset={together}")
    return summaries
