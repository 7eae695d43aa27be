"""One finished run on disk: ``<key>.json`` beside ``<key>.queries.parquet`` and ``<key>.groups.parquet``.

The JSON is written last and put in place in one step, so its presence means that the run is whole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_mm.errors import Failure
from recbole_mm.files import replacing, write_text


@dataclass
class Run:
    """What one (row, seed) of a comparison left behind."""

    record: dict[str, Any]
    queries: pd.DataFrame | None = None
    groups: pd.DataFrame | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


def save_run(folder: Path, key: str, run: Run) -> Path:
    """Write a finished run and return the path of its JSON."""
    for name, table in (("queries", run.queries), ("groups", run.groups)):
        if table is not None:
            with replacing(folder / f"{key}.{name}.parquet") as temporary:
                table.to_parquet(temporary)
    path = folder / f"{key}.json"
    has = {"queries": run.queries is not None, "groups": run.groups is not None}
    document = {"record": run.record, "history": run.history, "tables": has}
    write_text(path, json.dumps(document, indent=1, default=str) + "\n")
    return path


def load_run(folder: Path, key: str) -> Run | None:
    """Read a finished run; None when there is none under this key."""
    path = folder / f"{key}.json"
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        tables = {
            name: pd.read_parquet(folder / f"{key}.{name}.parquet") if there else None
            for name, there in document["tables"].items()
        }
        return Run(document["record"], tables["queries"], tables["groups"], document["history"])
    except (OSError, ValueError, KeyError) as error:
        raise Failure(
            f"{path}: the stored run cannot be read ({error}); use --fresh to run it again"
        ) from error
