"""Any RecBole atomic set: filter it, cut it to its k-core, describe it."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from recbole_mm.convert.atomic import ITEMS_PARQUET
from recbole_mm.convert.filter import Filters, add_filter_arguments, filters_from
from recbole_mm.convert.frames import ITEM, USER, read_atomic, write_dataset
from recbole_mm.convert.problems import Problems
from recbole_mm.convert.sources import add_output_arguments, folder_name, named_paths
from recbole_mm.convert.staging import Staging
from recbole_mm.convert.summary import overlap, report
from recbole_mm.errors import WrongUse

HELP = "filter and describe RecBole atomic sets (with --summary: describe only)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``recbole-mm convert atomic-set``."""
    parser.add_argument("sets", nargs="+", metavar="[NAME=]FOLDER", help="folders of atomic files")
    parser.add_argument(
        "--user-field", default="user_id", help="name of the user's column (default: user_id)"
    )
    parser.add_argument(
        "--item-field", default="item_id", help="name of the item's column (default: item_id)"
    )
    parser.add_argument("--summary", action="store_true", help="write nothing but the summary")
    add_output_arguments(parser)
    add_filter_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Filter every set, then put all of them in place; with ``--summary`` put none."""
    sets = named_paths(args.sets, name_of=folder_name)
    loaded = {name: AtomicSet(path, args.user_field, args.item_field) for name, path in sets.items()}
    write_sets(loaded, args, filters_from(args), publish=not args.summary)
    return 0


class AtomicSet:
    """The files of one folder in memory; the user's and item's columns are named user_id and item_id."""

    def __init__(self, folder: Path, user_field: str = "user_id", item_field: str = "item_id") -> None:
        if not folder.is_dir():
            raise WrongUse(f"{folder}: no such folder")
        self.folder = folder
        self.problems = Problems()
        stem = _stem_of(folder)
        self.source = f"{stem}.inter"
        self.inter = self._read(stem, "inter", user_field, item_field)
        self.items = self._optional(stem, "item", user_field, item_field)
        self.users = self._optional(stem, "user", user_field, item_field)
        others = {suffix: self._optional(stem, suffix, user_field, item_field) for suffix in ("kg", "link")}
        self.others = {suffix: frame for suffix, frame in others.items() if frame is not None}
        parquet = folder / ITEMS_PARQUET
        self.texts = pq.read_table(parquet).to_pandas() if parquet.is_file() else None

    def _read(self, stem: str, suffix: str, user_field: str, item_field: str) -> pd.DataFrame:
        frame = read_atomic(self.folder / f"{stem}.{suffix}", self.problems)
        for field in (user_field, item_field) if suffix == "inter" else ():
            if f"{field}:token" not in frame.columns:
                found = ", ".join(map(str, frame.columns))
                raise WrongUse(f"{self.folder / self.source}: no column {field}:token, found {found}")
        return frame.rename(columns={f"{user_field}:token": USER, f"{item_field}:token": ITEM})

    def _optional(self, stem: str, suffix: str, user_field: str, item_field: str) -> pd.DataFrame | None:
        exists = (self.folder / f"{stem}.{suffix}").is_file()
        return self._read(stem, suffix, user_field, item_field) if exists else None


def write_sets(
    sets: dict[str, AtomicSet], args: argparse.Namespace, filters: Filters, publish: bool = True
) -> None:
    """Filter and write the sets to ``args.out`` (``publish``: keep what was written) and report on them."""
    summaries: list[dict[str, Any]] = []
    users: dict[str, set[str]] = {}
    items: dict[str, set[str]] = {}
    with ExitStack() as stack:
        for name, data in sets.items():
            staging = stack.enter_context(Staging(args.out, name))
            staging.publish = publish
            summary, users[name], items[name] = write_dataset(
                staging,
                data.inter,
                data.items,
                data.users,
                _relocated(data, staging),
                filters=filters,
                problems=data.problems,
                strict=args.strict,
                others=data.others,
                source=data.source,
            )
            summaries.append(summary)
    report(summaries, overlap(users, items), args.json)


def _relocated(data: AtomicSet, staging: Staging) -> pd.DataFrame | None:
    """``items.parquet`` with its relative image paths made absolute: the folder changes."""
    if data.texts is None or "image_path" not in data.texts.columns:
        return data.texts
    base = data.folder.resolve()
    if base == staging.target.resolve():
        return data.texts
    paths = [None if pd.isna(path) else str(base / path) for path in data.texts["image_path"]]
    return data.texts.assign(image_path=paths)


def _stem_of(folder: Path) -> str:
    """The one ``.inter`` in the folder; that of the folder's name if there are several."""
    stems = sorted(path.name.removesuffix(".inter") for path in folder.glob("*.inter"))
    name = folder.resolve().name
    if name in stems:
        return name
    if len(stems) == 1:
        return stems[0]
    found = ", ".join(stems) or "none"
    raise WrongUse(f"{folder}: expected {name}.inter, found {found}; benchmark splits are not filtered")
