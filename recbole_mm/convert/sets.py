"""One or several data sets from one command: each into a folder of its own, all put in place together."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from recbole_mm.convert.staging import Staging
from recbole_mm.convert.summary import overlap, report

Written = tuple[dict[str, Any], set[str], set[str]]


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
    summaries: list[dict[str, Any]] = []
    users: dict[str, set[str]] = {}
    items: dict[str, set[str]] = {}
    with ExitStack() as stack:
        for name in names:
            staging = stack.enter_context(Staging(args.out, name, publish))
            summary, users[name], items[name] = write(staging)
            summaries.append(summary)
        if joint and any((Path(args.out) / together).glob("*.inter")):  # another set has that name
            joint = None
        if joint:
            stack.enter_context(Staging(args.out, together)).write_settings(joint)
    report(summaries, overlap(users, items), args.json)
    if joint and args.json != "-":
        print(f"together: --dataset={together}")
    return summaries
