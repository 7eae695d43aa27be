"""Any RecBole atomic set: filter it, cut it to its k-core, describe it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_mm.convert.beside import (
    matching_reviews,
    not_carried,
    read_addresses,
    read_texts,
    write_addresses,
    write_reviews,
)
from recbole_mm.convert.filter import add_filter_arguments, filters_from
from recbole_mm.convert.frames import ENDS, ITEM, USER, read_atomic, write_dataset
from recbole_mm.convert.problems import Problems
from recbole_mm.convert.sets import (
    Written,
    add_output_arguments,
    named_paths,
    refuse_own_source,
    write_sets,
)
from recbole_mm.convert.staging import Staging
from recbole_mm.errors import WrongUse

HELP = "filter and describe RecBole atomic sets (with --summary: describe only)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``recbole-mm convert atomic-set``."""
    parser.add_argument("sets", nargs="+", metavar="[NAME=]FOLDER", help="folders of atomic files")
    add_field_arguments(parser)
    parser.add_argument("--summary", action="store_true", help="write nothing but the summary")
    add_output_arguments(parser)
    add_filter_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Filter every set, then put all of them in place; with ``--summary`` put none."""
    publish = not args.summary
    write_filtered(read_sets(args, publish), args, publish)
    return 0


def add_field_arguments(parser: argparse.ArgumentParser) -> None:
    """``--user-field``, ``--item-field``."""
    for kind in ("user", "item"):
        name = f"name of the {kind}'s column; one a set where they differ: A,B (default: {kind}_id)"
        parser.add_argument(f"--{kind}-field", default=f"{kind}_id", help=name)


def read_sets(args: argparse.Namespace, publish: bool = True) -> dict[str, AtomicSet]:
    """The sets of ``args`` by name, which is that of the folder where none is given.

    Raises ``WrongUse`` where one would be published (``publish``) in the place of a source, before reading.
    """
    paths = named_paths(args.sets, name_of=_folder_name)
    if publish:
        refuse_own_source(args.out, paths, paths.values())
    users, items = (_fields(args, kind, len(paths)) for kind in ("user", "item"))
    return {
        name: AtomicSet(path, user, item)
        for (name, path), user, item in zip(paths.items(), users, items, strict=True)
    }


def _fields(args: argparse.Namespace, kind: str, sets: int) -> list[str]:
    """The name of the user's or item's column in each set."""
    given = str(getattr(args, f"{kind}_field"))
    names = given.split(",")
    if len(names) not in (1, sets) or not all(names):
        raise WrongUse(
            f"--{kind}-field: expected one name, or one for each of the {sets} sets, got {given!r}"
        )
    return names * (sets if len(names) == 1 else 1)


class AtomicSet:
    """The files of one folder in memory; the user's and item's columns are named user_id and item_id."""

    def __init__(self, folder: Path, user_field: str, item_field: str) -> None:
        if not folder.is_dir():
            raise WrongUse(f"{folder}: no such folder")
        self.folder = folder
        self.problems = Problems()
        stem = _stem_of(folder)
        self.source = f"{stem}.inter"
        self.fields = {USER: user_field, ITEM: item_field}
        names = {f"{user_field}:token": USER, f"{item_field}:token": ITEM}

        def read(suffix: str) -> pd.DataFrame | None:
            file = folder / f"{stem}.{suffix}"
            return read_atomic(file, self.problems).rename(columns=names) if file.is_file() else None

        inter = read_atomic(folder / self.source, self.problems)
        for name in names:
            if name not in inter.columns:
                found = ", ".join(map(str, inter.columns))
                option = f"--{'user' if names[name] == USER else 'item'}-field"
                raise WrongUse(f"{folder / self.source}: no column {name}, found {found}; see {option}")
        self.inter, self.items, self.users = inter.rename(columns=names), read("item"), read("user")
        others = {suffix: read(suffix) for suffix in ("kg", "link", "ent", "rel", "net")}
        self.others = {suffix: frame for suffix, frame in others.items() if frame is not None}
        net = self.others.get("net")
        if net is not None and not {*ENDS} <= {*net.columns}:
            del self.others["net"]  # whose columns hold users is not known
        self.texts, self.addresses = read_texts(folder), read_addresses(folder)
        self.reviews = matching_reviews(folder, self.inter)
        carried = {f"{stem}.{suffix}" for suffix in ("inter", "item", "user", *self.others)}
        self.left = not_carried(folder, stem, carried | ({self.reviews.name} if self.reviews else set()))


def write_filtered(
    sets: dict[str, AtomicSet],
    args: argparse.Namespace,
    publish: bool = True,
    joint: Mapping[str, Any] | None = None,
) -> None:
    """Filter and write the sets to ``args.out`` and report on them, as `write_sets`."""
    filters = filters_from(args)

    def write(staging: Staging) -> Written:
        data = sets[staging.name]
        for name in data.left if publish else ():
            data.problems.add("not_carried", f"{data.folder.name}/{name}")
        tables = data.inter, data.items, data.users, _relocated(data, staging)
        checked = data.problems, args.strict

        def beside(keep: np.ndarray, items: set[str]) -> dict[str, int]:
            if data.addresses is not None:
                write_addresses(data.addresses, staging.folder, items)
            if data.reviews is None:
                return {}
            return {"review": write_reviews(data.reviews, staging.folder, data.inter, keep)}

        return write_dataset(
            staging, *tables, filters, data.source, *checked, others=data.others, beside=beside
        )

    write_sets(sets, args, write, publish=publish, joint=joint)


def _relocated(data: AtomicSet, staging: Staging) -> pd.DataFrame | None:
    """``items.parquet`` with its relative image paths made absolute: the folder changes."""
    base = data.folder.resolve()
    if data.texts is None or "image_path" not in data.texts.columns or base == staging.target.resolve():
        return data.texts
    paths = pd.Series(
        [None if pd.isna(path) else str(base / path) for path in data.texts["image_path"]], dtype=object
    )
    return data.texts.assign(image_path=paths)


def _folder_name(path: str) -> str:
    return Path(path).resolve().name  # also of "."


def _stem_of(folder: Path) -> str:
    """The one ``.inter`` in the folder; that of the folder's name if there are several."""
    stems = sorted(path.name.removesuffix(".inter") for path in folder.glob("*.inter"))
    name = folder.resolve().name
    if name not in stems and len(stems) != 1:
        found = ", ".join(stems) or "none"
        raise WrongUse(f"{folder}: expected {name}.inter, found {found}; benchmark splits are not filtered")
    return name if name in stems else stems[0]
