"""``recbole-mm recommend``: what a trained model recommends to users, or to someone by what they took."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_mm.errors import WrongUse
from recbole_mm.quick_start.arguments import words
from recbole_mm.quick_start.session import Session

#: what the name of a parquet file ends with
PARQUET = (".parquet", ".pq", "")


def add_run(parser: argparse.ArgumentParser) -> None:
    """The arguments that name a trained model."""
    parser.add_argument("--run", metavar="FOLDER", help="the folder of a run")
    parser.add_argument("--checkpoint", metavar="FILE", help="a checkpoint of a run")


def open_run(args: argparse.Namespace) -> Session:
    """The session of ``--run`` or ``--checkpoint``."""
    if bool(args.run) == bool(args.checkpoint):
        raise WrongUse("name a trained model: --run FOLDER or --checkpoint FILE")
    return Session.open(args.run or args.checkpoint)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``recbole-mm recommend``."""
    add_run(parser)
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--user", "-u", nargs="+", metavar="TOKEN", help="users")
    who.add_argument("--all", action="store_true", help="all users, into the file of --out")
    who.add_argument(
        "--history", metavar="ITEM,ITEM…", help="someone not in the data, by what they took, in order"
    )
    parser.add_argument("--k", type=int, default=10, help="items of a list (10)")
    parser.add_argument("--domain", metavar="NAME", help="items of this domain alone")
    seen = parser.add_mutually_exclusive_group()
    seen.add_argument(
        "--exclude-seen", dest="seen", action="store_const", const="train+valid", default="train+valid",
        help="leave out the user's items of training and validation (default; those of the test are candidates)",
    )  # fmt: skip
    seen.add_argument(
        "--include-seen", dest="seen", action="store_const", const="none", help="leave out nothing"
    )
    parser.add_argument(
        "--items",
        metavar="FILE",
        help="new items beside those of the data: a token a line, or a store's folder",
    )
    parser.add_argument("--stores", metavar="FOLDER", help="stores with the vectors of the new items")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object a list")
    form.add_argument("--out", metavar="FILE", help="write a parquet file")


def main(args: argparse.Namespace) -> int:
    """Print the lists, or write them."""
    if not (args.user or args.all or args.history):
        raise WrongUse("say for whom: --user TOKEN, --history ITEM,ITEM or --all --out FILE")
    if args.all and not args.out:
        raise WrongUse("--all writes a file: name it, --out recs.parquet")
    if args.out and not args.all:
        raise WrongUse("--out goes with --all; --json prints the lists of some users")
    if args.out and Path(args.out).suffix not in PARQUET:
        raise WrongUse(f"--out {args.out}: the file is parquet; name it so, such as recs.parquet")
    if args.stores and not args.items:
        raise WrongUse("--stores goes with --items, the tokens of the new items")
    options = {"mask_seen": args.seen, "domain": args.domain, "items": args.items, "stores": args.stores}
    session = open_run(args)
    if args.all:
        written = session.recommender.write_all(args.out, args.k, **options)
        print(f"{written} rows for {session.dataset.user_num - 1} users written to {args.out}")
        return 0
    history = None if args.history is None else words(args.history)
    frame = session.recommend(args.user, args.k, history=history, **options)
    by = [name for name in ("user", "domain") if name in frame]
    lists: list[tuple[dict[str, Any], pd.DataFrame]] = []
    if by:
        lists = [(dict(zip(by, key, strict=True)), each) for key, each in frame.groupby(by, sort=False)]
    listed = {named["user"] for named, _ in lists if "user" in named}
    lists += [({"user": user}, frame[:0]) for user in args.user or () if user not in listed]
    for named, rows in lists or [({}, frame)]:
        print(json.dumps(_plain(named, rows, by), ensure_ascii=False) if args.json else _text(named, rows))
    return 0


def _plain(named: dict[str, Any], rows: pd.DataFrame, by: list[str]) -> dict[str, object]:
    return {**named, "items": rows.drop(columns=by).to_dict("records")}


def _text(named: dict[str, Any], rows: pd.DataFrame) -> str:
    head = ", ".join(f"{name} {value}" for name, value in named.items()) or "for this history"
    if rows.empty:
        return f"{head}: no candidate is left"
    return "\n".join([head, *table_lines(rows, "score")])


def table_lines(frame: pd.DataFrame, value: str) -> list[str]:
    """Rank, item, title and the column ``value`` of a list, a line each."""
    width = max((len(item) for item in frame["item"]), default=0)
    titles = frame["title"].str.slice(0, 60) if "title" in frame else pd.Series("", index=frame.index)
    longest = max((len(title) for title in titles), default=0)
    cells = zip(frame["rank"], frame["item"], titles, frame[value], strict=True)
    return [f"{rank:>4}  {item:<{width}}  {title:<{longest}}  {x:>9.4f}" for rank, item, title, x in cells]
