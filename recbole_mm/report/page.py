"""A comparison as one HTML page that needs no network: figures by plotly, packed into the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_mm.errors import count
from recbole_mm.report.page_data import Showcases, curves_of, page_data, valid_metric
from recbole_mm.report.paired import PairedTest
from recbole_mm.report.statistics import best_text
from recbole_mm.report.table import TESTS_HEAD, footnotes, test_cells
from recbole_mm.report.template import asset, embedded, packed_plotly, render
from recbole_mm.report.text import duration, mark, p_text, percent
from recbole_mm.run.comparison import Comparison

SCRIPTS = ("base.js", "board.js", "figures.js", "people.js")
KINDS = {"ours": "ours", "baseline": "baselines", "control": "controls", "masked": "masked features"}


def page(
    comparison: Comparison,
    tests: Sequence[PairedTest],
    notes: Sequence[str] = (),
    showcases: Showcases | None = None,
) -> str:
    """The page of a comparison.

    Args:
        comparison: what was run.
        tests: its paired tests.
        notes: sentences beside the footnotes of the table.
        showcases: by label what a row's run left for pages; rows without one have no lists and no map.
    """
    data = page_data(comparison, tests, showcases or {})
    best = best_row(data)
    data["best"] = best and best["label"]
    rows = [_line(row, data) for row in data["rows"]]
    versions = comparison.common.get("versions") or {}
    return render(
        "page.html.j2",
        title=_title(comparison),
        finding=_finding(data, best),
        facts=_facts(comparison),
        sections=_sections(data),
        rows=rows,
        columns=data["columns"],
        whiskers=any(row.get("whisker") for row in rows),
        width=3 + len(data["columns"]) + bool(data["reference"]),
        reference=data["reference"],
        several=len(comparison.seeds) > 1,
        kinds=[(kind, name) for kind, name in KINDS.items() if any(r["kind"] == kind for r in data["rows"])],
        source=f"Published: {comparison.published_source}" if comparison.published_source else "",
        pictures=data.pop("pictures"),
        list_length=max((len(x) for p in data["people"] for x in p["lists"].values()), default=0),
        caption=list(comparison.caption.items()),
        notes=[*footnotes(comparison), *notes],
        tests=[test_cells(test) for test in tests],
        tests_head=TESTS_HEAD,
        footer=[
            *([f"Made by: {comparison.common['command']}"] if comparison.common.get("command") else []),
            ", ".join(f"{name} {version}" for name, version in versions.items()),
        ],
        css=asset("page.css"),
        js=asset(*SCRIPTS),
        plotly=packed_plotly(),
        data=embedded(data),
    )


def _title(comparison: Comparison) -> str:
    named = comparison.preset not in (None, comparison.dataset)
    return f"{comparison.preset if named else 'Comparison'} on {comparison.dataset}"


def curves(comparison: Comparison) -> str:
    """All rows by epoch, validation and loss terms, as a page of its own."""
    rows = [{"label": row.label, "of": row.of, "curves": curves_of(row)} for row in comparison.rows]
    return render(
        "curves.html.j2",
        title=_title(comparison),
        css=asset("page.css"),
        js=asset("base.js", "curves.js"),
        plotly=packed_plotly(),
        data=embedded({"rows": rows, "valid_metric": valid_metric(comparison)}),
    )


def best_row(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row that is no control with the best mean of the headline."""
    headline = data["headline"]
    scored = [row for row in data["rows"] if headline in row["values"] and not row["of"]]
    smaller = data["columns"][0]["smaller"]
    return (min if smaller else max)(scored, key=lambda row: row["values"][headline]["mean"], default=None)


def _finding(data: Mapping[str, Any], best: Mapping[str, Any] | None) -> str:
    """What a reader wants first, in a sentence."""
    if best is None:
        return "No run has finished."
    value = best["values"][data["headline"]]["mean"]
    sentence = f"{best['label']} has the best {data['headline']}: {value:.4f}"
    versus = best["versus"]
    if versus and versus["change"] is not None:
        sentence += f", {percent(versus['change'])} against {versus['against']}"
        sentence += (
            f" (p {'' if (text := p_text(versus['p'])).startswith('<') else '= '}{text})"
            if "p" in versus
            else ""
        )
    return sentence + "."


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    budget = comparison.common.get("budget", {})
    facts = [
        ("data", comparison.dataset),
        ("rows", str(len(comparison.rows))),
        ("seeds", ", ".join(map(str, comparison.seeds))),
    ]
    if budget.get("epochs"):
        facts.append(
            ("budget", f"{count(budget['epochs'], 'epoch')}, patience {budget.get('stopping_step')}")
        )
    seconds = sum(sum(row.field_values("seconds")) for row in comparison.rows)
    return [*facts, ("computed in", duration(seconds))]


def _sections(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = data["rows"]
    there = {
        "leaderboard": "Leaderboard",
        "model": "Model",
        "groups": "Groups" if any(row["groups"] for row in rows) else "",
        "controls": "Controls" if any(row["of"] and row["values"] for row in rows) else "",
        "published": "Published" if any(row["published"] for row in rows) else "",
        "users": "Users" if data["people"] else "",
        "map": "Map" if data["maps"] else "",
        "notes": "Method",
    }
    return [(name, title) for name, title in there.items() if title]


def _line(row: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the leaderboard as the template writes it."""
    line = {"label": row["label"], "kind": row["kind"], "failed": None}
    if not row["values"]:
        return line | {"failed": next(iter(row["errors"].values()), "no result")}
    versus = row["versus"] or {}
    epochs = row["epochs"]
    return line | {
        "cells": [_cell(row, column, data) for column in data["columns"]],
        "whisker": _whisker(row, data),
        "change": "" if not versus else percent(versus["change"]),
        "change_value": _plain(versus.get("change")),
        "p": "" if "p" not in versus else f"p {p_text(versus['p'])}",
        "valid": "–" if row["valid"] is None else f"{row['valid']:.4f}",
        "valid_value": _plain(row["valid"]),
        "epochs": count(round(sum(epochs) / len(epochs)), "epoch") + "†" * bool(row["capped"])
        if epochs
        else "",
        "time": duration(row["seconds"] or 0),
        "seconds": _plain(row["seconds"]),
    }


def _cell(row: Mapping[str, Any], column: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    key = column["key"]
    value = row["values"].get(key)
    cell = {"value": "", "text": "–", "best": False, "std": "", "mark": ""}
    if value is None:
        return cell
    means = [each["values"][key]["mean"] for each in data["rows"] if not each["of"] and key in each["values"]]
    best = best_text(means, key)
    text = f"{value['mean']:.4f}"
    cell |= {"value": value["mean"], "text": text, "best": text == best}
    cell |= {"std": f"{value['std']:.4f}"} if value["std"] else {}
    test = row["marks"].get(key)
    sign = mark(test["p"], test["difference"], column["smaller"]) if test else ""
    if test and sign:
        better = sign in "▲△"
        words = f"{'better' if better else 'worse'} than {row['versus']['against']}, p {p_text(test['p'])}"
        cell |= {"mark": sign, "way": "up" if better else "down", "says": words}
    return cell


def _whisker(row: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Mean and interval of the headline in percent of the widest span."""
    values = [each["values"].get(data["headline"]) for each in data["rows"]]
    spans = [value for value in values if value and "low" in value]
    value = row["values"].get(data["headline"])
    if not value or "low" not in value:
        return None
    low, high = min(each["low"] for each in spans), max(each["high"] for each in spans)
    width = (high - low) or 1.0
    return {
        "says": f"{value['low']:.4f} to {value['high']:.4f}",
        **{name: round(100 * (value[name] - low) / width, 2) for name in ("low", "mean", "high")},
    }


def _plain(value: float | None) -> str | float:
    return "" if value is None else value
