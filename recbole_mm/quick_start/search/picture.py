"""The picture of a search: which settings were good, how validation went, which keys mattered. No network needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_mm.errors import WrongUse
from recbole_mm.files import write_text
from recbole_mm.quick_start.search.desk import PRUNED, Trial
from recbole_mm.quick_start.search.outcome import Search
from recbole_mm.quick_start.search.space import Space

PICTURE = "search.html"
# fewer tell nothing about what mattered
_LEAST = 5


def write_picture(search: Search, trials: Sequence[Trial], metric: str, folder: Path) -> Path:
    """Write ``search.html``: parallel coordinates, validation curves, importance; its path.

    Raises ``WrongUse`` where plotly is missing.
    """
    try:
        from plotly.io import to_html
    except ImportError as missing:
        raise WrongUse(f'{PICTURE} needs plotly: pip install "recbole_mm[report]"') from missing
    scored = [trial for trial in trials if trial.score is not None]
    figures = [
        (f"Settings and {metric} on validation", _coordinates(search.space, scored, metric)),
        (f"{metric} on validation by epoch", _curves(scored, metric)),
    ]
    if len(shares := importance(search.space, scored)):
        figures.append(("Importance: share of the differences that a key explains", _bars(shares)))
    parts = []
    for number, (title, figure) in enumerate(figures):
        figure.update_layout(template="plotly_white", title=title, height=480)
        parts.append(to_html(figure, full_html=False, include_plotlyjs=number == 0))
    path = folder / PICTURE
    title = f"{search.model} on {search.dataset}: {len(search.trials)} trials, {search.epochs} epochs"
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><h1>{title}</h1>"
    write_text(path, head + "".join(parts) + "</html>\n")
    return path


def _coordinates(space: Space, scored: Sequence[Trial], metric: str) -> Any:
    """A line a trial through its settings to its score."""
    from plotly.graph_objects import Figure, Parcoords

    scores = [trial.score for trial in scored]
    dimensions = [_dimension(key, scored) for key in space.axes]
    dimensions.append({"label": metric, "values": scores})
    colour = {"color": scores, "colorscale": "Viridis", "showscale": True}
    return Figure(Parcoords(dimensions=dimensions, line=colour))


def _curves(scored: Sequence[Trial], metric: str) -> Any:
    """The score of each trial by epoch; dotted where it was pruned."""
    from plotly.graph_objects import Figure, Scatter

    curves = Figure()
    for trial in scored:
        points = [each for each in trial.history if each.get("valid_score") is not None]
        pruned = trial.status == PRUNED
        curves.add_trace(
            Scatter(
                x=[each["epoch"] + 1 for each in points],
                y=[each["valid_score"] for each in points],
                name=f"{trial.number}: {trial.label}" + " (pruned)" * pruned,
                mode="lines+markers",
                line={"dash": "dot" if pruned else "solid"},
            )
        )
    return curves.update_layout(xaxis_title="epoch", yaxis_title=metric)


def _bars(shares: pd.Series) -> Any:
    from plotly.graph_objects import Bar, Figure

    return Figure(Bar(x=shares.tolist(), y=shares.index.tolist(), orientation="h"))


def importance(space: Space, scored: Sequence[Trial]) -> pd.Series:
    """The mean decrease in impurity of a random forest over the points (Breiman 2001); empty for too few trials."""
    if len(scored) < _LEAST:
        return pd.Series(dtype=float)
    from sklearn.ensemble import RandomForestRegressor

    table = np.array([[_number(key, trial, space) for key in space.axes] for trial in scored])
    forest = RandomForestRegressor(n_estimators=64, random_state=0)
    forest.fit(table, [float(trial.score or 0.0) for trial in scored])
    return pd.Series(forest.feature_importances_, index=list(space.axes)).sort_values()


def _number(key: str, trial: Trial, space: Space) -> float:
    value: Any = trial.point.get(key)
    axis = space.axes[key]
    if value is None and key not in trial.point:
        return -1.0
    if axis.values:
        return float(axis.values.index(value)) if value in axis.values else -1.0
    return float(np.log(value)) if axis.log else float(value)


def _dimension(key: str, trials: Sequence[Trial]) -> dict[str, Any]:
    """One vertical axis: numbers as they are, anything else by name."""
    values = [trial.point.get(key) for trial in trials]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return {"label": key, "values": values}
    names = sorted({str(value) for value in values})
    places = list(range(len(names)))
    numbers = [names.index(str(value)) for value in values]
    return {"label": key, "values": numbers, "tickvals": places, "ticktext": names}
