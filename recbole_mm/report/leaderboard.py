"""The leaderboard: every table that the records of comparisons make, as one page of Markdown. Pure.

Records are the ``result.json`` of `recbole_mm.report.plain.document`. Those of one preset and data set that were
asked the same are one table, so it grows record by record; of a row recorded twice, that of more seeds is shown, of as
many the later folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_mm.report.modality import gains, gains_table
from recbole_mm.report.plain import question_of
from recbole_mm.report.statistics import best_text, spread
from recbole_mm.report.table import github
from recbole_mm.report.text import caption_text, figure, p_text

#: of the columns of a record, the first
COLUMNS = 3
NOT_RUN = "not run"
HEAD = """# Leaderboard

Made from the records of comparisons by `{command}`; do not edit. Test figures, mean ± standard deviation over the
seeds, best in bold; p: paired t-test over queries against the row that is named, Holm-corrected. A row without a record
is *not run*."""
HELPED = """The complete model minus its control, by the first metric of the table, paired over queries: without the
modality (ids only), with another item's (shuffled), with noise. ▲ it helps, ▼ it costs, p < .01; △ ▽ p < .05."""

Record = Mapping[str, Any]


def leaderboard(
    records: Mapping[str, Record], presets: Mapping[tuple[str, str], Sequence[str]], command: str
) -> str:
    """The page.

    Args:
        records: by the name of their folder.
        presets: of (preset, data set) the labels of the rows; a table is made of each, recorded or not, and of what
            else is recorded.
        command: what makes the page.
    """
    groups: dict[tuple[str, str, str], dict[str, Record]] = {}
    for name in sorted(records):
        record = records[name]
        key = str(record["preset"] or "comparison"), str(record["dataset"]), question_of(record)
        groups.setdefault(key, {})[name] = record
    known = {(preset, dataset) for preset, dataset, _ in groups}
    for preset, dataset in presets:
        if (preset, dataset) not in known:
            groups[preset, dataset, ""] = {}
    order = list(presets)
    ordered = sorted(groups, key=lambda key: (order.index(key[:2]) if key[:2] in order else len(order), key))
    tables = [_table(key, groups[key], presets.get(key[:2], ())) for key in ordered]
    helped = gains(records)
    if len(helped):
        tables.append(f"## Does the modality help?\n\n{HELPED}\n\n{gains_table(helped)}")
    return "\n\n".join([HEAD.format(command=command), *tables]) + "\n"


def _table(key: tuple[str, str, str], records: Mapping[str, Record], labels: Sequence[str]) -> str:
    """One table with its title, and what was done."""
    best: dict[str, tuple[int, str, Record]] = {}
    for name, record in records.items():
        for row in record["rows"]:
            at = row["label"]
            if at not in best or len(row["per_seed"]) >= best[at][0]:
                best[at] = len(row["per_seed"]), name, row
    columns: Sequence[str] = next((record["metrics"][:COLUMNS] for record in records.values()), [])
    rows = list(dict.fromkeys([*labels, *best]))
    body = [_line(row, columns, best, records) for row in rows]
    parts = [f"## {key[0]} on {key[1]}"]
    parts += [caption_text(record["evaluation"]) for record in list(records.values())[:1]]
    return "\n\n".join([*parts, github(["model", *columns, "p (Holm)", "seeds", "record"], body)])


def _line(
    label: str,
    columns: Sequence[str],
    best: Mapping[str, tuple[int, str, Record]],
    records: Mapping[str, Record],
) -> list[str]:
    seeds, name, row = best.get(label, (0, "", {}))
    if not seeds:
        failed = next(iter(row.get("errors", {}).values()), None)
        return [label, *[""] * len(columns), "", f"failed: {failed}" if failed else NOT_RUN, name]
    top = [not row["control_of"] and _mean(row, c) == _highest(best, c) for c in columns]
    cells = [figure(_values(row, c), bold) for c, bold in zip(columns, top, strict=True)]
    tests = (test for test in records[name]["tests"] if test["row"] == label and test["metric"] == columns[0])
    p = next((f"{p_text(test['p_holm'])} vs {test['reference']}" for test in tests), "")
    return [label, *cells, p, str(seeds), name]


def _values(row: Record, column: str) -> list[float]:
    return row["metrics"].get(column, {}).get("values", [])


def _mean(row: Record, column: str) -> str:
    """As it is displayed; empty where the row has none."""
    found = spread(_values(row, column))
    return f"{found.mean:.4f}" if found else ""


def _highest(best: Mapping[str, tuple[int, str, Record]], column: str) -> str | None:
    """The best mean of the rows that are no control; None of a row alone."""
    rows = (row for _, _, row in best.values() if not row["control_of"])
    return best_text((found.mean for row in rows if (found := spread(_values(row, column)))), column)
