"""Which interactions to keep: rating, time, repeated pairs, k-core; on integer codes only.

Order: rating, time, repeated pairs, k-core. The k-core is the largest set in which every user has at least
``user_k`` and every item at least ``item_k`` interactions.
"""

from __future__ import annotations

import argparse
import datetime
from dataclasses import dataclass

import numpy as np

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
        user: np.ndarray,
        item: np.ndarray,
        rating: np.ndarray | None = None,
        timestamp: np.ndarray | None = None,
    ) -> tuple[np.ndarray, dict[str, int]]:
        """Rows to keep, bool [R], and how many rows each step dropped.

        ``user``, ``item``: integer codes [R]; a negative code marks a row that is already dropped. Without
        times, "first" and "last" go by position.

        Raises:
            WrongUse: a rating or time bound without ratings or times; nothing is left.
        """
        keep = (user >= 0) & (item >= 0)
        dropped: dict[str, int] = {}
        for name, values, low, high in (
            ("rating", rating, self.min_rating, self.max_rating),
            ("time", timestamp, self.since, self.until),
        ):
            if low is None and high is None:
                continue
            if values is None:
                raise WrongUse(f"a bound on the {name}, but the data have no {name}")
            before = int(keep.sum())
            if low is not None:
                keep &= values >= low
            if high is not None:
                keep &= values < high if name == "time" else values <= high
            dropped[name] = before - int(keep.sum())
        if self.repeats != "all":
            before = int(keep.sum())
            rows = np.flatnonzero(keep)
            again = repeated_pairs(
                user[rows], item[rows], None if timestamp is None else timestamp[rows], self.repeats
            )
            keep[rows[again]] = False
            dropped["repeated"] = before - int(keep.sum())
        if self.user_k > 1 or self.item_k > 1:
            before = int(keep.sum())
            rows = np.flatnonzero(keep)
            core = k_core(user[rows], item[rows], self.user_k, self.item_k)
            keep[rows[~core]] = False
            dropped["k_core"] = before - int(keep.sum())
        if not keep.any():
            steps = ", ".join(f"{name} {count:,}" for name, count in dropped.items()) or "none"
            raise WrongUse(f"no interaction is left of {len(user):,} (dropped: {steps}); loosen the filters")
        return keep, dropped


def k_core(user: np.ndarray, item: np.ndarray, user_k: int, item_k: int) -> np.ndarray:
    """Rows in the (user_k, item_k)-core, bool [R]; ``user``, ``item``: non-negative codes [R]."""
    keep = np.ones(len(user), dtype=bool)
    rows = np.arange(len(user))
    while True:
        enough = (np.bincount(user) >= user_k)[user] & (np.bincount(item) >= item_k)[item]
        if enough.all():
            return keep
        keep[rows[~enough]] = False
        user, item, rows = user[enough], item[enough], rows[enough]


def repeated_pairs(
    user: np.ndarray, item: np.ndarray, timestamp: np.ndarray | None = None, keep: str = "first"
) -> np.ndarray:
    """Rows whose (user, item) pair has a row that is kept instead, bool [R].

    ``keep``: "first" or "last" by time; rows of one time by position.
    """
    if keep not in ("first", "last"):
        raise WrongUse(f"repeats must be first, last or all, not {keep!r}")
    again = np.zeros(len(user), dtype=bool)
    if len(user) == 0:
        return again
    pair = user.astype(np.int64) * (int(item.max()) + 1) + item
    order = np.argsort(pair, kind="stable") if timestamp is None else np.lexsort((timestamp, pair))
    pair = pair[order]
    same = pair[1:] == pair[:-1]
    again[order[1:][same] if keep == "first" else order[:-1][same]] = True
    return again


def add_filter_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every converter shares."""
    group = parser.add_argument_group("filters (in this order)")
    group.add_argument("--min-rating", type=float, metavar="R", help="keep ratings of at least R")
    group.add_argument("--max-rating", type=float, metavar="R", help="keep ratings of at most R")
    group.add_argument(
        "--since", metavar="TIME", help="keep from this day (2018-01-31, UTC) or second since 1970"
    )
    group.add_argument("--until", metavar="TIME", help="keep before this day or second")
    group.add_argument(
        "--repeats",
        choices=("first", "last", "all"),
        default="first",
        help="which row of a repeated (user, item) pair to keep, by time (default: first)",
    )
    group.add_argument(
        "--k-core", type=int, default=0, metavar="K", help="keep the K-core of users and items"
    )
    group.add_argument("--user-k", type=int, metavar="K", help="another K for users")
    group.add_argument("--item-k", type=int, metavar="K", help="another K for items")


def filters_from(args: argparse.Namespace) -> Filters:
    """The filters that `add_filter_arguments` read."""
    for name in ("k_core", "user_k", "item_k"):
        if (getattr(args, name) or 0) < 0:
            raise WrongUse(f"--{name.replace('_', '-')} must not be negative")
    return Filters(
        min_rating=args.min_rating,
        max_rating=args.max_rating,
        since=_seconds(args.since, "--since"),
        until=_seconds(args.until, "--until"),
        repeats=args.repeats,
        user_k=args.k_core if args.user_k is None else args.user_k,
        item_k=args.k_core if args.item_k is None else args.item_k,
    )


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
