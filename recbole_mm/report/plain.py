"""A comparison as a table of plain columns (CSV) and as plain values (JSON)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from recbole_mm.report.paired import PairedTest, headline_p
from recbole_mm.report.statistics import mean_seconds, reference_row, relative_change, spread
from recbole_mm.report.table import best_figure, footnotes, marks_of
from recbole_mm.run.comparison import Comparison, RowResult

_SEARCH = {"trials": "trials", "search epochs": "epochs", "search seconds": "seconds"}


def frame(comparison: Comparison, tests: Sequence[PairedTest]) -> pd.DataFrame:
    """One line a row: mean and std of every column, validation, budget, change against the reference, p, published."""
    reference, headline = reference_row(comparison), comparison.headline
    p_holm = headline_p(tests, headline)
    best = {column: best_figure(comparison.main_rows, column) for column in comparison.columns}
    lines = []
    for row in comparison.rows:
        against = comparison.row(row.of) if row.of else reference
        marks = marks_of(row, against, comparison.columns, tests)
        line: dict[str, Any] = {"label": row.label, "model": row.model, "control_of": row.of}
        line |= {"status": status(row), "seeds": len(row.runs)}
        for column in comparison.columns:
            found = spread(row.values(column))
            line |= {column: found and found.mean, f"{column} std": found and found.std}
            bold = row.of is None and found is not None and f"{found.mean:.4f}" == best[column]
            line |= {f"{column} best": bold, f"{column} mark": marks.get(column, "")}
        valid = spread(row.field_values("best_valid_score"))
        line |= {"valid": valid and valid.mean, "stopped by cap": len(row.capped_seeds)}
        line |= {
            "epochs": ";".join(f"{e:.0f}" for e in row.field_values("epochs_run")),
            "seconds": mean_seconds(row),
        }
        if row.search:
            line |= {name: row.search[key] for name, key in _SEARCH.items()}
        line |= {
            "against": against and against.label,
            "p (Holm)": against and p_holm.get((row.label, against.label)),
        }
        line["change"] = relative_change(row, against, headline) if against else None
        line |= {f"published {name}": row.published.get(name) for name in comparison.published_columns}
        lines.append(line)
    return pd.DataFrame(lines)


def document(
    comparison: Comparison, tests: Sequence[PairedTest], untested: Sequence[str] = ()
) -> dict[str, Any]:
    """Everything as plain values: what the rows share, every record, the tests and the notes."""
    reference = reference_row(comparison)
    rows = []
    for row in comparison.rows:
        summary = {
            c: {"values": row.values(c)} | vars(found)
            for c in comparison.columns
            if (found := spread(row.values(c)))
        }
        rows.append(
            {"label": row.label, "model": row.model, "settings": row.settings, "baseline": row.baseline}
            | ({"search": row.search} if row.search else {})
            | {
                "control_of": row.of,
                "control": row.control,
                "missing": row.missing,
                "published": row.published,
            }
            | {
                "status": status(row),
                "errors": row.errors,
                "stopped_by_cap": row.capped_seeds,
                "metrics": summary,
            }
            | {"per_seed": {seed: row.runs[seed].record for seed in sorted(row.runs)}}
        )
    return {
        "dataset": comparison.dataset,
        "preset": comparison.preset,
        "seeds": comparison.seeds,
        "metrics": comparison.columns,
        "reference": reference and reference.label,
        **comparison.common,
        "evaluation": dict(comparison.caption),
        "rows": rows,
        "tests": [vars(test) for test in tests],
        "notes": [*footnotes(comparison), *untested],
    }


def question_of(record: Mapping[str, Any]) -> str:
    """What the rows of a `document` were asked; empty where it does not say."""
    runs = (run for row in record["rows"] for run in row["per_seed"].values())
    return next((str(run["question"]["hashes"]) for run in runs if run.get("question")), "")


def status(row: RowResult) -> str:
    """``done``, ``failed`` or ``partly failed``."""
    if not row.errors:
        return "done"
    return "partly failed" if row.runs else "failed"
