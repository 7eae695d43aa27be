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
    counts: tuple[int, int, int],
    times: Iterable[np.ndarray],
    having: Mapping[str, int],
    dropped: Mapping[str, int],
    problems: Problems,
) -> dict[str, Any]:
    """Counts, density and coverage of one data set, all for the rows that were kept.

    ``counts``: users, items, rows; ``times``: the rows' seconds, in chunks; ``having``: how many items have a
    "text" and an "image", how many rows a "review". Shares are of all items (rows), None where unknown.
    """
    users, items, rows = counts
    of = {"text": max(items, 1), "image": max(items, 1), "review": max(rows, 1)}
    summary: dict[str, Any] = {
        "name": name,
        "users": users,
        "items": items,
        "interactions": rows,
        "density": rows / (users * items) if rows else 0.0,
        "per_user": rows / users if rows else 0.0,
        "per_item": rows / items if rows else 0.0,
        **{f"{kind}_share": having[kind] / of[kind] if kind in having else None for kind in of},
    }
    finite = (chunk[np.isfinite(chunk)] for chunk in times)
    ends = [end for chunk in finite if len(chunk) for end in (chunk.min(), chunk.max())]
    summary["from"], summary["to"] = (_day(min(ends)), _day(max(ends))) if ends else (None, None)
    return {**summary, "dropped": dict(dropped), "problems": problems.as_dict()}


def overlap(users: Mapping[str, set[str]], items: Mapping[str, set[str]]) -> list[dict[str, int | str]]:
    """Users and items (by token) that two domains share, for each pair of domains."""
    return [
        {"a": a, "b": b, "users": len(users[a] & users[b]), "items": len(items[a] & items[b])}
        for a, b in combinations(users, 2)
    ]


def report(
    summaries: Sequence[Mapping[str, Any]], overlaps: Sequence[Mapping[str, Any]], target: str | None
) -> None:
    """The tables and what was wrong with the sources, and the same as JSON in ``target`` ("-": in their place)."""
    document = {"datasets": summaries, "overlap": overlaps}
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if target == "-":
        print(text, end="")
        return
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
        steps = ", ".join(f"{name} {count:,}" for name, count in summary["dropped"].items() if count)
        lines = [f"dropped by {steps}"] if steps else []
        for kind, found in summary["problems"].items():
            lines.append(f"{found['count']:,} x {kind}, first at {found['first']}")
        for line in lines:
            console.print(f"{summary['name']}: {line}", highlight=False, markup=False)
    if target:
        write_text(target, text)


def _day(seconds: float) -> str | None:
    try:
        return datetime.datetime.fromtimestamp(float(seconds), datetime.UTC).date().isoformat()
    except (OverflowError, ValueError, OSError):
        return None  # times that are no seconds since 1970
