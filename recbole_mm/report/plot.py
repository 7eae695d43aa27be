"""Figures of a comparison, each an HTML page drawn by plotly beside the CSV with its data.

The pages share one ``plotly.min.js`` in their folder, so that they open without a network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from recbole_mm.errors import WrongUse
from recbole_mm.files import replacing
from recbole_mm.report.modality import gains_figure
from recbole_mm.report.statistics import spread
from recbole_mm.report.template import NO_PLOTLY
from recbole_mm.run.comparison import Comparison


def missing_frame(comparison: Comparison) -> pd.DataFrame:
    """Mean and std of every column by model and share of masked features; the row itself is the share 0."""
    lines = []
    for parent in comparison.main_rows:
        points = [row for row in comparison.rows if row.of == parent.label and row.missing is not None]
        for row in [parent, *points] if points else []:
            for column in comparison.columns:
                if found := spread(row.values(column)):
                    at = {"row": parent.label, "masked": row.missing or 0.0, "metric": column}
                    lines.append({**at, "mean": found.mean, "std": found.std})
    return pd.DataFrame(lines, columns=["row", "masked", "metric", "mean", "std"])


def write_missing(comparison: Comparison, folder: Path) -> Path | None:
    """Write ``missing.html``, its data beside it, where features were masked; its path."""
    curve = missing_frame(comparison)
    if curve.empty:
        return None
    return _write(_missing_figure(curve.sort_values("masked")), curve, folder / "missing.html")


def write_gains(found: pd.DataFrame, path: Path) -> Path:
    """Write the figure of `recbole_mm.report.modality.gains`, its data beside it."""
    try:
        return _write(gains_figure(found), found, path)
    except ImportError as missing:
        raise WrongUse(NO_PLOTLY) from missing


def _missing_figure(table: pd.DataFrame) -> Any:
    """One panel for each metric, one line for each row."""
    try:
        from plotly.colors import qualitative
        from plotly.graph_objects import Scatter
        from plotly.subplots import make_subplots
    except ImportError as missing:
        raise WrongUse(NO_PLOTLY) from missing
    names, rows = list(table["metric"].unique()), list(table["row"].unique())
    figure = make_subplots(rows=1, cols=len(names), subplot_titles=names)
    for k, name in enumerate(names):
        for r, row in enumerate(rows):
            part = table[(table["metric"] == name) & (table["row"] == row)]
            line = Scatter(
                x=part["masked"].tolist(),
                y=part["mean"].tolist(),
                error_y={"type": "data", "array": part["std"].tolist()},
                name=row,
                legendgroup=row,
                showlegend=k == 0,
                mode="lines+markers",
                line={"color": qualitative.Plotly[r % len(qualitative.Plotly)]},
            )
            figure.add_trace(line, row=1, col=k + 1)
    figure.update_xaxes(title_text="masked")
    return figure.update_layout(template="plotly_white", height=420, width=120 + 460 * len(names))


def _write(figure: Any, data: pd.DataFrame, path: Path) -> Path:
    with replacing(path.with_suffix(".csv")) as temporary:
        data.to_csv(temporary, index=False)
    with replacing(path) as temporary:
        figure.write_html(temporary, include_plotlyjs="directory")
    return path
