"""What a search leaves: its trials as CSV and JSON, the best one as a yaml that ``run`` and ``compare`` take."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from recbole_mm.files import write_text
from recbole_mm.quick_start.preset import Settings
from recbole_mm.quick_start.search.desk import Trial
from recbole_mm.quick_start.search.space import Point, Space
from recbole_mm.run.key import keys_that
from recbole_mm.serialize import readable

JOURNAL, TRIALS, TABLE = "trials.jsonl", "trials.json", "trials.csv"
BEST = "best.yaml"
# what a line of it tells of a record
_TOLD = ("best_valid_score", "best_valid_result", "epochs_run", "stopped_by", "seconds", "threads")


@dataclass
class Search:
    """What a search found.

    Attributes:
        model, dataset: as they were named.
        space: what was searched.
        settings: what all trials were held at.
        trials: in the order in which they were chosen, plain.
        best: the best of them on validation; None if all failed.
        test_result: of the best trial, the one reading of the test.
        how: engine, searcher, scheduler, seed and seconds.
        tested: what the test gave, by the key of the run, of each trial that was the best of a search in this folder.
    """

    model: str
    dataset: str
    space: Space
    settings: Settings = field(default_factory=dict)
    trials: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    test_result: dict[str, float] | None = None
    how: dict[str, Any] = field(default_factory=dict)
    tested: dict[str, dict[str, float]] = field(default_factory=dict)

    def read_test(self, result: dict[str, float] | None) -> None:
        """Take the test metrics of the best trial; None: those that it had when its weights were there, if any."""
        assert self.best is not None
        key = str(self.best["key"])
        if result is not None:
            self.tested[key] = result
        self.test_result = self.tested.get(key)

    @property
    def epochs(self) -> int:
        """Epochs that all trials trained together."""
        return int(self._sum("epochs_run"))

    def _sum(self, name: str) -> float:
        """Over the runs: a point that was proposed twice is one."""
        runs = {trial["key"] or trial["number"]: trial[name] or 0 for trial in self.trials}
        return float(sum(runs.values()))

    def effort(self) -> dict[str, Any]:
        """What finding the best point took: trials, epochs, seconds; how, and the point."""
        assert self.best is not None
        how = {key: self.how[key] for key in ("searcher", "scheduler", "engine")}
        told = {"trials": len(self.trials), "epochs": self.epochs, "seconds": round(self._sum("seconds"), 2)}
        return {**told, **how, "point": self.best["point"]}

    def document(self) -> dict[str, Any]:
        """Plain."""
        return {
            "model": self.model,
            "dataset": self.dataset,
            **self.how,
            "n_trials": len(self.trials),
            "epochs": self.epochs,
            "best": self.best and self.best["number"],
            "test_result": self.test_result,
            "tested": self.tested,
            "trials": self.trials,
        }


def tested_before(folder: Path) -> dict[str, dict[str, float]]:
    """`Search.tested` of the searches in this folder before."""
    file = folder / TRIALS
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    tested = dict(before.get("tested") or {})
    if before.get("test_result") and before.get("best") is not None:  # written before there was ``tested``
        tested.setdefault(before["trials"][before["best"]]["key"], before["test_result"])
    return tested


def plain_trial(trial: Trial) -> dict[str, Any]:
    """A trial as a line of the journal."""
    record = trial.record or {}
    head: dict[str, Any] = {"number": trial.number, "key": trial.spec and trial.spec.key}
    told = {name: record.get(name) for name in _TOLD}
    return {**head, "status": trial.status, "point": trial.point, **told, "error": trial.error}


def best_of(trials: list[Trial], bigger: bool) -> Trial | None:
    """The best on validation, the first of equal ones; None where none has a score."""
    scored = [trial for trial in trials if trial.score is not None and math.isfinite(trial.score)]
    best = max if bigger else min
    return best(scored, key=lambda trial: float(trial.score or 0.0)) if scored else None


def write_trials(search: Search, folder: Path) -> None:
    """``trials.jsonl``, ``trials.json`` (all of the search) and ``trials.csv`` (a column for each key)."""
    write_text(folder / JOURNAL, "".join(f"{json.dumps(trial, default=str)}\n" for trial in search.trials))
    write_text(folder / TRIALS, json.dumps(search.document(), indent=1, default=str) + "\n")
    write_text(folder / TABLE, trials_frame(search).to_csv(index=False))


def trials_frame(search: Search) -> pd.DataFrame:
    """A row a trial, with a column for each key of the space."""
    lines = []
    for trial in search.trials:
        point = {key: trial["point"].get(key) for key in search.space.axes}
        told = ("best_valid_score", "epochs_run", "stopped_by", "seconds", "error")
        lines.append(
            {"trial": trial["number"], **point, "status": trial["status"]} | {key: trial[key] for key in told}
        )
    return pd.DataFrame(lines)


def best_yaml(search: Search, metric: str, command: str | None) -> str:
    """The best values and what they were found with: ``run --config_files`` takes them, and ``compare`` for this model.

    What all rows of a table share (budget, split, protocol) stands in a comment.
    """
    assert search.best is not None
    best = search.best
    point: Point = best["point"]
    head = [
        f"# {metric} on validation {best['best_valid_score']:.4f}, the best of {len(search.trials)} trials "
        f"({search.epochs} epochs); training ended by {best['stopped_by']}",
        *([f"# found by: {command}"] if command else []),
    ]
    shared, silent = keys_that("shared"), keys_that("silent")
    held = {key: value for key, value in readable(search.settings).items() if key not in silent}
    if common := {key: value for key, value in held.items() if key in shared}:
        head += [f"# held at, and not set here: {json.dumps(common, default=str)}"]
    own = {key: value for key, value in held.items() if key not in shared}
    body = {"model": search.model, "dataset": search.dataset, **own, **point}
    return "\n".join(head) + "\n" + yaml.safe_dump(body, sort_keys=False, allow_unicode=True)
