"""The rows of a comparison with the best settings that a search of equal effort found for each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from recbole_mm.errors import WrongUse
from recbole_mm.files import properties_dir
from recbole_mm.model import get_model
from recbole_mm.quick_start.plan import Request
from recbole_mm.quick_start.search.method import Method
from recbole_mm.quick_start.search.search import search
from recbole_mm.quick_start.search.space import Space, find_space
from recbole_mm.run.comparison import Row
from recbole_mm.run.metric import evaluation_of


def tuned_rows(
    request: Request,
    rows: Sequence[Row],
    columns: Sequence[str],
    trials: int,
    seed: int,
    method: Method,
    fresh: bool,
) -> list[Row]:
    """Search every row on validation with the same number of trials, under ``seed``; the test is not read.

    Trials are validated by the metrics of the table's ``columns``. What a row's own switches set stays; a row whose
    switches leave nothing to search stays as it is.

    Raises:
        WrongUse: a model has no search space, before anything runs.
    """
    spaces = [_space(row, request) for row in rows]
    asked = evaluation_of(columns, request.shared)
    made = []
    for row, space in zip(rows, spaces, strict=True):
        if not space.axes:
            made.append(row)
            continue
        settings = {**request.settings(row), **asked, "seed": seed}
        place = request.folder / "tune" / (re.sub(r"[^\w.-]+", "_", row.label) or "row")
        settings["checkpoint_dir"] = str(place / "runs")
        found = search(
            row.model, request.dataset, space, settings, place,
            trials=trials, seed=0, fresh=fresh, command=None, method=method, label=row.label, test=False,
        )  # fmt: skip
        effort = found.effort()
        made.append(replace(row, settings={**effort["point"], **row.settings}, search=effort))
    return made


def _space(row: Row, request: Request) -> Space:
    name = get_model(row.model).__name__
    file = properties_dir() / f"tune/{name}.yaml"
    if not file.is_file():
        raise WrongUse(f"--tune: no search space of {name}; write {file}, or leave the model out")
    given = find_space(file)
    fixed = row.settings.keys() | request.files.keys() | request.overrides.keys()
    return Space({key: axis for key, axis in given.axes.items() if key not in fixed})
