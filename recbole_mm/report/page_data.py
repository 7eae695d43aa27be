"""A comparison as the plain values that its page shows and its scripts draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from recbole_mm.report.paired import PairedTest, is_sampled, mean_queries, query_values
from recbole_mm.report.statistics import mean_seconds, reference_row, relative_change, spread
from recbole_mm.report.thumbnail import thumbnails
from recbole_mm.run.comparison import Comparison, RowResult
from recbole_mm.run.key import keys_that
from recbole_mm.run.metric import metric_of, smaller_is_better

NORMAL = 1.96  # of a 95 % interval
Showcases = Mapping[str, Mapping[str, Any]]


def page_data(comparison: Comparison, tests: Sequence[PairedTest], showcases: Showcases) -> dict[str, Any]:
    """Everything that the page draws; rows in the order of the table, tokens of items as numbers in ``items``.

    ``showcases``: by label of a row what its run left for pages (`quick_start.showcase`).
    """
    reference = reference_row(comparison)
    return {
        "columns": [{"key": c, "smaller": smaller_is_better(c)} for c in comparison.columns],
        "headline": comparison.headline,
        "reference": reference and reference.label,
        "valid_metric": valid_metric(comparison),
        "rows": [row_data(comparison, row, reference, tests) for row in comparison.rows],
        "published": {name: list(columns) for name, columns in comparison.published_columns.items()},
        **shown(showcases),
    }


def valid_metric(comparison: Comparison) -> str:
    """What early stopping looks at."""
    found = comparison.common.get("budget", {}).get("valid_metric")
    settings = comparison.rows[0].settings if comparison.rows else {}
    return str(found or settings.get("valid_metric") or "score")


def row_data(
    comparison: Comparison, row: RowResult, reference: RowResult | None, tests: Sequence[PairedTest]
) -> dict[str, Any]:
    """One row: figures, change, groups, curves, settings."""
    against = comparison.row(row.of) if row.of else reference
    own_tests = {
        t.metric: t
        for t in tests
        if against is not None and (t.row, t.reference) == (row.label, against.label)
    }
    versus = None
    if against is not None and against is not row:
        versus = {"against": against.label, "change": relative_change(row, against, comparison.headline)}
        test = own_tests.get(comparison.headline)
        versus |= {} if test is None else {"p": test.p_holm, "low": test.low, "high": test.high}
    first = next(iter(row.runs.values())).record if row.runs else {}
    valid = spread(row.field_values("best_valid_score"))
    return {
        "label": row.label,
        "model": row.model,
        "kind": kind_of(row),
        "of": row.of,
        "control": row.control,
        "missing": row.missing,
        "published": dict(row.published),
        "errors": {str(seed): error for seed, error in row.errors.items()},
        "values": _values(row, comparison.columns),
        "marks": {
            column: {"p": sure.p_holm, "difference": sure.difference}
            for column in comparison.columns
            if (sure := own_tests.get(column))
        },
        "versus": versus,
        "valid": valid and valid.mean,
        "epochs": row.field_values("epochs_run"),
        "capped": len(row.capped_seeds),
        "seconds": mean_seconds(row) if row.runs else None,
        "parameters": first.get("parameters"),
        "groups": _groups(row, comparison.columns),
        "curves": curves_of(row),
        "settings": _settings(first.get("config") or row.settings),
        "remarks": list(first.get("remarks") or []),
    }


def kind_of(row: RowResult) -> str:
    """``ours``, ``baseline``, ``control`` or ``masked`` (features missing on purpose)."""
    if row.missing is not None:
        return "masked"
    return "control" if row.of else "baseline" if row.baseline else "ours"


def half_width(table: pd.DataFrame, column: str, sampled: bool) -> float | None:
    """Half of the 95 % interval over queries of a column's mean; None where the column is no such mean."""
    metric, found = metric_of(column), query_values(table, column, sampled)
    if metric is None or not metric.in_groups or found is None:
        return None
    x, weight = (each[~np.isnan(found[0])] for each in found)
    if len(x) < 2 or not weight.sum():
        return None
    mean = np.average(x, weights=weight)
    return NORMAL * float(np.sqrt((weight**2 * (x - mean) ** 2).sum()) / weight.sum())


def _values(row: RowResult, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    table = mean_queries(row) if row.runs else ""
    values: dict[str, dict[str, Any]] = {}
    for column in columns:
        if found := spread(row.values(column)):
            values[column] = {**vars(found)}
            half = None if isinstance(table, str) else half_width(table, column, is_sampled(row))
            if half is not None:
                values[column] |= {"low": found.mean - half, "high": found.mean + half}
    return values


def _groups(row: RowResult, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Mean and std over seeds of each group of queries or items."""
    tables = [run.groups for run in row.runs.values() if run.groups is not None]
    if not tables:
        return []
    every = pd.concat(tables)
    found = []
    for (group, value), part in every.groupby(["group", "value"], sort=False):
        metrics = {
            c: {"mean": round(s.mean, 6), "std": round(s.std, 6)}
            for c in columns
            if c in part and (s := spread(part[c].dropna().tolist()))
        }
        found.append(
            {"group": group, "value": value, "queries": int(part["n_queries"].iloc[0]), "metrics": metrics}
        )
    return found


def curves_of(row: RowResult) -> list[dict[str, Any]]:
    """By seed: loss terms (means over batches) and the validation score of each epoch."""
    curves = []
    for seed, run in sorted(row.runs.items()):
        names = dict.fromkeys(name for entry in run.history for name in entry.get("terms") or {})
        terms = {name: [_mean_term(entry, name) for entry in run.history] for name in names}
        if not any(value for values in terms.values() for value in values):
            terms = {}  # it learns in one pass and has no loss, which RecBole writes as 0
        valid = [entry.get("valid_score") for entry in run.history]
        if run.history:
            epochs = [entry["epoch"] + 1 for entry in run.history]
            curves.append({"seed": seed, "epoch": epochs, "terms": terms, "valid": valid})
    return curves


def _mean_term(entry: Mapping[str, Any], name: str) -> float | None:
    """A term's mean over the batches of an epoch; None where the epoch has no such term."""
    value = (entry.get("terms") or {}).get(name)
    return None if value is None else round(value / max(int(entry.get("batches") or 1), 1), 6)


def _settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """What was given, without what belongs to the machine."""
    left_out = keys_that("silent") | keys_that("path")
    return {key: str(value) for key, value in sorted(settings.items()) if key not in left_out}


def shown(showcases: Showcases) -> dict[str, Any]:
    """``items`` [title, category, domain, thumbnail or ""], ``people`` with each row's list, ``maps`` by row."""
    text: dict[str, Mapping[str, str]] = {}
    for showcase in showcases.values():
        text |= showcase["items"]
    number = {token: k for k, token in enumerate(text)}

    def numbers(tokens: Sequence[str]) -> list[int]:
        return [number[token] for token in tokens]

    people: dict[tuple[str, str], dict[str, Any]] = {}
    for label, showcase in showcases.items():
        for entry in showcase["users"]:
            key = entry["user"], entry.get("domain", "")
            person = people.setdefault(
                key,
                {"user": key[0], "domain": key[1], "lists": {}}
                | {name: entry[name] for name in ("seen", "in_time")}
                | {name: numbers(entry[name]) for name in ("history", "held")},
            )
            # a sequential model may be asked about a user several times; the first stands
            person["lists"].setdefault(label, numbers(entry["list"]))
    listed = [k for p in people.values() for part in (p["history"], *p["lists"].values()) for k in part]
    images = {number[token]: entry["image"] for token, entry in text.items() if entry.get("image")}
    small, note = thumbnails(images, listed)
    maps = {
        label: {**plane, "item": numbers(plane["item"])}
        for label, showcase in showcases.items()
        if (plane := showcase.get("map"))
    }
    items = [
        [entry.get("title") or token, entry.get("category", ""), entry.get("domain", ""), small.get(k, "")]
        for k, (token, entry) in enumerate(text.items())
    ]
    return {"items": items, "people": list(people.values()), "maps": maps, "pictures": note}
