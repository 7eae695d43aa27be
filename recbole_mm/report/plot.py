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
from recbole_mm.run.comparison import Comparison

_NO_PLOTLY = 'figures need plotly: pip install "recbole_mm[report]"'


def loss_frame(comparison: Comparison) -> pd.DataFrame:
    """Loss terms (means over batches) by row, seed and epoch, of the rows that have more than one term."""
    lines = []
    for row in comparison.rows:
        for seed, run in sorted(row.runs.items()):
            for entry in run.history:
                terms = entry.get("terms") or {}
                batches = max(int(entry.get("batches") or 1), 1)
                lines += [
                    {
                        "row": row.label,
                        "seed": seed,
                        "epoch": entry["epoch"] + 1,
                        "term": term,
                        "loss": value / batches,
                    }
                    for term, value in terms.items()
                    if len(terms) > 1
                ]
    return pd.DataFrame(lines, columns=["row", "seed", "epoch", "term", "loss"])


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


def write_figures(comparison: Comparison, folder: Path) -> list[Path]:
    """Write ``loss.html`` (one panel a loss term) and ``missing.html`` where there is such data; their paths."""
    written = []
    losses = loss_frame(comparison)
    if len(losses):
        mean = losses.groupby(["row", "term", "epoch"], sort=False)["loss"].mean().reset_index()
        figure = _panels(mean, panel="term", x="epoch", y="loss")
        written.append(_write(figure, losses, folder / "loss.html"))
    curve = missing_frame(comparison)
    if len(curve):
        figure = _panels(curve.sort_values("masked"), panel="metric", x="masked", y="mean", error="std")
        written.append(_write(figure, curve, folder / "missing.html"))
    return written


def write_gains(found: pd.DataFrame, path: Path) -> Path:
    """Write the figure of `recbole_mm.report.modality.gains`, its data beside it."""
    try:
        return _write(gains_figure(found), found, path)
    except ImportError as missing:
        raise WrongUse(_NO_PLOTLY) from missing


def _panels(table: pd.DataFrame, panel: str, x: str, y: str, error: str | None = None) -> Any:
    """One panel for each value of ``panel``, one line for each row."""
    try:
        from plotly.colors import qualitative
        from plotly.graph_objects import Scatter
        from plotly.subplots import make_subplots
    except ImportError as missing:
        raise WrongUse(_NO_PLOTLY) from missing
    names, rows = list(table[panel].unique()), list(table["row"].unique())
    figure = make_subplots(rows=1, cols=len(names), subplot_titles=names)
    for k, name in enumerate(names):
        for r, row in enumerate(rows):
            part = table[(table[panel] == name) & (table["row"] == row)]
            line = Scatter(
                x=part[x].tolist(),
                y=part[y].tolist(),
                error_y={"type": "data", "array": part[error].tolist()} if error else None,
                name=row,
                legendgroup=row,
                showlegend=k == 0,
                mode="lines" if error is None else "lines+markers",
                line={"color": qualitative.Plotly[r % len(qualitative.Plotly)]},
            )
            figure.add_trace(line, row=1, col=k + 1)
    figure.update_xaxes(title_text=x)
    return figure.update_layout(template="plotly_white", height=420, width=120 + 460 * len(names))


def _write(figure: Any, data: pd.DataFrame, path: Path) -> Path:
    with replacing(path.with_suffix(".csv")) as temporary:
        data.to_csv(temporary, index=False)
    with replacing(path) as temporary:
        figure.write_html(temporary, include_plotlyjs="directory")
    return path
