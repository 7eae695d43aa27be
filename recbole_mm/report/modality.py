"""Does the modality help? Each model over its controls, of all comparisons at once: a table and a figure.

A control (ids only, shuffled features, noise features) is a row of its own in a comparison, tested against the complete
one query by query; the records (`recbole_mm.report.plain.document`) hold these tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from recbole_mm.report.plain import question_of
from recbole_mm.report.table import github
from recbole_mm.report.text import interval, mark, p_text
from recbole_mm.run.metric import smaller_is_better

_COLUMNS = ["table", "model", "metric", "control", "queries", "gain", "low", "high", "p", "seeds", "record"]


def gains(records: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One line a control: what the complete model has more in the headline, its 95 % interval, p (Holm).

    Of a control that several records hold, asked the same, that of more seeds counts, of as many the later folder.
    """
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for name, record in sorted(records.items()):
        table, metric = f"{record['preset'] or 'comparison'} on {record['dataset']}", record["metrics"][0]
        asked = f"{table} {record['evaluation'].get('split')} {question_of(record)}"
        tests = {
            (test["row"], test["reference"]): test for test in record["tests"] if test["metric"] == metric
        }
        for row in record["rows"]:
            test = tests.get((row["label"], row["control_of"]))
            if not row.get("control") or test is None:
                continue
            line = {
                "table": table, "model": row["control_of"], "metric": metric, "control": row["control"],
                "queries": test["queries"], "gain": -test["difference"], "low": -test["high"], "high": -test["low"],
                "p": test["p_holm"], "seeds": len(row["per_seed"]), "record": name,
            }  # fmt: skip
            key = asked, row["control_of"], row["control"]
            if key not in found or line["seeds"] >= found[key]["seeds"]:
                found[key] = line
    return pd.DataFrame(found.values(), columns=_COLUMNS)


def gains_table(found: pd.DataFrame) -> str:
    """Markdown; ▲ the modality helps with p < .01, △ p < .05, ▼ ▽ it costs."""
    head = [
        "table",
        "model",
        "control",
        "metric",
        "complete − control",
        "95 % interval",
        "p (Holm)",
        "seeds",
        "record",
    ]
    body = []
    for line in found.to_dict("records"):
        sign = mark(line["p"], line["gain"], smaller_is_better(line["metric"]))
        body.append([
            *(line[name] for name in ("table", "model", "control", "metric")),
            f"{line['gain']:+.4f} {sign}".rstrip(), interval(line["low"], line["high"]),
            p_text(line["p"]), str(line["seeds"]), line["record"],
        ])  # fmt: skip
    return github(head, body)


def gains_figure(found: pd.DataFrame) -> Any:
    """A plotly figure: a line a model and record, a colour a control, the interval as a bar.

    Raises:
        ImportError: plotly is not there.
    """
    from plotly.graph_objects import Figure, Scatter

    figure, of = Figure(), found["record"] + ": " + found["model"]
    for name, part in found.groupby("control", sort=False):
        bars = {"type": "data", "symmetric": False, "array": part["high"] - part["gain"]}
        bars["arrayminus"] = part["gain"] - part["low"]
        figure.add_trace(
            Scatter(x=part["gain"], y=of[part.index], error_x=bars, name=f"complete − {name}", mode="markers")
        )
    figure.add_vline(x=0, line_dash="dot")
    lines = of.unique()  # an axis goes upwards, a table downwards
    figure.update_yaxes(categoryorder="array", categoryarray=lines[::-1])
    figure.update_xaxes(title=f"complete − control, {', '.join(found['metric'].unique())}, 95 % interval")
    return figure.update_layout(template="plotly_white", height=160 + 30 * len(lines), scattermode="group")
