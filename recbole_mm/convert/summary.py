"""The figures of a converted data set: for JSON, and as a table for a person."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from recbole_mm.convert.problems import Problems
from recbole_mm.files import write_text

SHOWN = {  # key of a summary: label and form in the table
    "users": ("users", "{:,}"),
    "items": ("items", "{:,}"),
    "interactions": ("interactions", "{:,}"),
    "density": ("density", "{:.4%}"),
    "per_user": ("per user", "{:.1f}"),
    "per_item": ("per item", "{:.1f}"),
    "text_share": ("items with text", "{:.1%}"),
    "image_share": ("items with image", "{:.1%}"),
    "review_share": ("rows with review", "{:.1%}"),
    "from": ("from", "{}"),
    "to": ("to", "{}"),
}


def summarise(
    name: str,
    users: int,
    items: int,
    rows: int,
    times: Iterable[np.ndarray] = (),
    *,
    with_text: int | None = None,
    with_image: int | None = None,
    with_review: int | None = None,
    dropped: Mapping[str, int] | None = None,
    problems: Problems | None = None,
) -> dict[str, Any]:
    """Counts, density and coverage of one data set, all for the rows that were kept.

    ``times``: their seconds, in chunks; ``with_…``: how many items (for reviews, rows) have one. Shares are of
    all items (rows), None where unknown.
    """
    summary: dict[str, Any] = {
        "name": name,
        "users": users,
        "items": items,
        "interactions": rows,
        "density": rows / (users * items) if rows else 0.0,
        "per_user": rows / users if rows else 0.0,
        "per_item": rows / items if rows else 0.0,
        "text_share": None if with_text is None else with_text / max(items, 1),
        "image_share": None if with_image is None else with_image / max(items, 1),
        "review_share": None if with_review is None else with_review / max(rows, 1),
        "from": None,
        "to": None,
    }
    finite = (chunk[np.isfinite(chunk)] for chunk in times)
    ends = [end for chunk in finite if len(chunk) for end in (chunk.min(), chunk.max())]
    if ends:
        summary["from"], summary["to"] = _day(min(ends)), _day(max(ends))
    summary["dropped"] = dict(dropped or {})
    summary["problems"] = {} if problems is None else problems.as_dict()
    return summary


def overlap(users: Mapping[str, set[str]], items: Mapping[str, set[str]]) -> list[dict[str, int | str]]:
    """Users and items (by token) that two domains share, for each pair of domains."""
    return [
        {"a": a, "b": b, "users": len(users[a] & users[b]), "items": len(items[a] & items[b])}
        for a, b in combinations(users, 2)
    ]


def show(summaries: Sequence[Mapping[str, Any]], overlaps: Sequence[Mapping[str, Any]] = ()) -> None:
    """Print the tables and what was wrong with the sources."""
    console = Console()
    names = (Column(str(summary["name"]), justify="right") for summary in summaries)
    table = Table("", *names, title="Data sets")
    for key, (label, form) in SHOWN.items():
        values = [summary.get(key) for summary in summaries]
        if any(value is not None for value in values):
            table.add_row(label, *("-" if value is None else form.format(value) for value in values))
    console.print(table)
    if overlaps:
        counts = (Column(name, justify="right") for name in ("users", "items"))
        table = Table("", *counts, title="Overlap between domains")
        for pair in overlaps:
            table.add_row(f"{pair['a']} and {pair['b']}", f"{pair['users']:,}", f"{pair['items']:,}")
        console.print(table)
    for summary in summaries:
        dropped = {name: count for name, count in summary["dropped"].items() if count}
        if dropped:
            steps = ", ".join(f"{name} {count:,}" for name, count in dropped.items())
            console.print(f"{summary['name']}: dropped by {steps}", highlight=False, markup=False)
        for kind, found in summary["problems"].items():
            line = f"{summary['name']}: {found['count']:,} x {kind}, first at {found['first']}"
            console.print(line, highlight=False, markup=False)


def report(
    summaries: Sequence[Mapping[str, Any]],
    overlaps: Sequence[Mapping[str, Any]] = (),
    target: str | None = None,
) -> None:
    """The table on the screen, the same figures as JSON in ``target`` ("-": instead of the table)."""
    document = {"datasets": list(summaries), "overlap": list(overlaps)}
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if target == "-":
        print(text, end="")
        return
    show(summaries, overlaps)
    if target:
        write_text(target, text)


def _day(seconds: float) -> str | None:
    try:
        return datetime.datetime.fromtimestamp(float(seconds), datetime.UTC).date().isoformat()
    except (OverflowError, ValueError, OSError):
        return None  # times that are no seconds since 1970
