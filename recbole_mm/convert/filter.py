"""Which interactions to keep: rating, time, repeated pairs, k-core; on integer codes only, block by block.

Order: rating, time, repeated pairs, k-core. The k-core is the largest set in which every user has at least
``user_k`` and every item at least ``item_k`` interactions.
"""

from __future__ import annotations

import argparse
import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_mm.convert.problems import Problems
from recbole_mm.convert.spill import Column, blocks, groups
from recbole_mm.errors import WrongUse


@dataclass(frozen=True)
class Filters:
    """Bounds are inclusive except ``until``; times are seconds since 1970 (UTC); None or 0 means no bound."""

    min_rating: float | None = None
    max_rating: float | None = None
    since: int | None = None
    until: int | None = None
    repeats: str = "first"  # of a (user, item) pair, by time: first, last, or all
    user_k: int = 0
    item_k: int = 0

    def keep(
        self,
        user: Column,
        item: Column,
        rating: Column | None = None,
        timestamp: Column | None = None,
        folder: Path | None = None,
    ) -> tuple[np.ndarray, dict[str, int]]:
        """Rows to keep, bool [R], and how many rows each step dropped.

        ``user``, ``item``: integer codes [R]; a negative code marks a row that is already dropped. Without
        times, "first" and "last" go by position. ``folder``: for temporary files.

        Raises:
            WrongUse: a rating or time bound without ratings or times; nothing is left.
        """
        keep = usable(user, item)
        left = int(keep.sum())
        dropped: dict[str, int] = {}

        def drop(step: str) -> None:
            nonlocal left
            before, left = left, int(keep.sum())
            dropped[step] = before - left

        for name, values, low, high in (
            ("rating", rating, self.min_rating, self.max_rating),
            ("time", timestamp, self.since, self.until),
        ):
            if low is None and high is None:
                continue
            if values is None:
                raise WrongUse(f"a bound on the {name}, but the data have no {name}")
            for part in blocks(len(keep)):
                if low is not None:
                    keep[part] &= values[part] >= low
                if high is not None:
                    keep[part] &= values[part] < high if name == "time" else values[part] <= high
            drop(name)
        if self.repeats != "all":
            keep &= ~repeated_pairs(user, item, timestamp, self.repeats, keep, folder)
            drop("repeated")
        if self.user_k > 1 or self.item_k > 1:
            keep = k_core(user, item, self.user_k, self.item_k, keep)
            drop("k_core")
        if not left:
            steps = ", ".join(f"{name} {count:,}" for name, count in dropped.items()) or "none"
            raise WrongUse(f"no interaction is left of {len(keep):,} (dropped: {steps}); loosen the filters")
        return keep, dropped


def usable(user: Column, item: Column) -> np.ndarray:
    """Rows with both codes, bool [R]."""
    found = np.empty(len(user), dtype=bool)
    for part in blocks(len(user)):
        found[part] = (user[part] >= 0) & (item[part] >= 0)
    return found


def k_core(
    user: Column, item: Column, user_k: int, item_k: int, among: np.ndarray | None = None
) -> np.ndarray:
    """Rows in the (user_k, item_k)-core, bool [R]; ``user``, ``item``: codes [R], non-negative in ``among``."""
    keep = np.ones(len(user), dtype=bool) if among is None else among.copy()
    while True:
        user_degrees, item_degrees = degrees_of(user, keep), degrees_of(item, keep)
        left = keep.sum()
        for part in blocks(len(keep)):
            rows = np.flatnonzero(keep[part])
            enough = user_degrees[user[part][rows]] >= user_k
            enough &= item_degrees[item[part][rows]] >= item_k
            keep[part.start + rows[~enough]] = False
        if keep.sum() == left:
            return keep


def degrees_of(codes: Column, keep: np.ndarray) -> np.ndarray:
    """How many rows in ``keep`` have each code, int64 [highest code + 1]."""
    degrees = np.zeros(0, np.int64)
    for part in blocks(len(keep)):
        found = codes[part][keep[part]]
        lacking = int(found.max(initial=-1)) + 1 - len(degrees)
        if lacking > 0:
            degrees = np.concatenate([degrees, np.zeros(max(lacking, len(degrees)), np.int64)])
        np.add.at(degrees, found, 1)
    return np.trim_zeros(degrees, "b")


def repeated_pairs(
    user: Column,
    item: Column,
    timestamp: Column | None = None,
    keep: str = "first",
    among: np.ndarray | None = None,
    folder: Path | None = None,
) -> np.ndarray:
    """Rows of ``among`` whose (user, item) pair has a row in it that is kept instead, bool [R].

    ``among``: by default the rows with both codes. ``keep``: "first" or "last" by time; rows of one time by
    position. ``folder``: for temporary files.
    """
    if keep not in ("first", "last"):
        raise WrongUse(f"repeats must be first, last or all, not {keep!r}")
    again = np.zeros(len(user), dtype=bool)
    among = usable(user, item) if among is None else among
    columns = [user, item] if timestamp is None else [user, item, timestamp]
    for rows, (users, items, *times) in groups(user, columns, among, folder):
        order = np.lexsort((*times, items, users))
        users, items = users[order], items[order]
        same = (users[1:] == users[:-1]) & (items[1:] == items[:-1])
        again[rows[order[1:][same] if keep == "first" else order[:-1][same]]] = True
    return again


def count_repeated(
    problems: Problems, place: str, user: Column, item: Column, before: int = 0, folder: Path | None = None
) -> None:
    """Count the repeated pairs as a problem; ``place``: what stands before the row's number, ``before``: of headers."""
    again = repeated_pairs(user, item, folder=folder)
    if again.any():
        problems.add("duplicate_pair", f"{place}{before + int(again.argmax()) + 1}", int(again.sum()))


def count_doubtful(
    problems: Problems,
    place: str,
    among: np.ndarray,
    rating: Column | None,
    timestamp: Column | None,
    before: int = 0,
) -> None:
    """Count negative times and ratings of 0 in the rows of ``among``; ``place``, ``before``: as `count_repeated`."""
    for kind, values in (("zero_rating", rating), ("negative_time", timestamp)):
        for part in blocks(len(among)) if values is not None else ():
            found = values[part]  # type: ignore[index]
            doubtful = among[part] & (found == 0 if kind == "zero_rating" else found < 0)
            if doubtful.any():
                row = before + part.start + int(doubtful.argmax()) + 1
                problems.add(kind, f"{place}{row}", int(doubtful.sum()))


def add_filter_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every converter shares."""
    group = parser.add_argument_group("filters (in this order)")
    group.add_argument("--min-rating", type=float, metavar="R", help="keep ratings of at least R")
    group.add_argument("--max-rating", type=float, metavar="R", help="keep ratings of at most R")
    group.add_argument("--since", metavar="TIME", help="keep from this day (2018-01-31, UTC) or second on")
    group.add_argument("--until", metavar="TIME", help="keep before this day or second")
    add_repeats_argument(group)
    group.add_argument("--k-core", type=int, default=0, metavar="K", help="K-core of users and items")
    group.add_argument("--user-k", type=int, metavar="K", help="another K for users")
    group.add_argument("--item-k", type=int, metavar="K", help="another K for items")


def add_repeats_argument(parser: argparse._ActionsContainer) -> None:
    """``--repeats``, which has one default for all converters."""
    which = "which row of a repeated (user, item) pair to keep, by time (default: first)"
    parser.add_argument("--repeats", choices=("first", "last", "all"), default="first", help=which)


def filters_from(args: argparse.Namespace) -> Filters:
    """The filters that `add_filter_arguments` read."""
    for name in ("k_core", "user_k", "item_k"):
        if (getattr(args, name) or 0) < 0:
            raise WrongUse(f"--{name.replace('_', '-')} must not be negative")
    user_k, item_k = (args.k_core if k is None else k for k in (args.user_k, args.item_k))
    times = _seconds(args.since, "--since"), _seconds(args.until, "--until")
    return Filters(args.min_rating, args.max_rating, *times, args.repeats, user_k, item_k)


def _seconds(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    if text.lstrip("-").isdecimal() and text.count("-") <= 1:
        return int(text)
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise WrongUse(f"{option} {text!r}: give a day as 2018-01-31 or seconds since 1970") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp())
