"""What became of the trials on Ray: one line each, their records, and why a process ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray.tune

from recbole_mm.quick_start.runs import error_file, outcome
from recbole_mm.quick_start.search.desk import PRUNED, Desk, Trial
from recbole_mm.quick_start.search.rungs import Rungs
from recbole_mm.run.comparison import RUNS
from recbole_mm.run.folder import BEST, RunFolder, RunResult, run_folders

_KILLED = "its process was killed, twice: out of memory, or its machine is gone"


class Progress(ray.tune.Callback):
    """A line for each trial that ends."""

    def __init__(self, desk: Desk, folder: Path, rungs: Rungs | None = None, since: float = 0.0) -> None:
        self._desk, self._folder, self._rungs = desk, folder, rungs
        self._ended, self._since = 0, since

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Take what became of it, or how far it has come."""
        given = trial.config["given"]
        mine = self._desk.trials[given["number"]]
        if self._rungs is None:
            self.settle(mine)
        else:
            self._reached(self._rungs, mine, given["until"])

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Keep why its process ended."""
        mine = self._desk.trials[trial.config["given"]["number"]]
        mine.error = _reason(trial)
        self.settle(mine)
        if self._rungs is not None:
            self._rungs.heard(mine.number, trial.config["given"]["until"], None, True)

    def _reached(self, rungs: Rungs, trial: Trial, until: int) -> None:
        """Tell ``rungs`` how good a trial is after ``until`` epochs."""
        assert trial.spec is not None
        run = run_folders(self._folder / RUNS, self._since).get(trial.spec.key or "")
        if run is None or run.finished or error_file(self._folder, trial.spec).is_file():
            self.settle(trial)
        scores = [
            each["valid_score"]
            for each in (trial.history or (run.read_history() if run and not trial.error else []))[:until]
            if each["valid_score"] is not None
        ]
        good = self._desk.tell(trial, scores[-1] if scores else None)
        rungs.heard(trial.number, until, good, trial.record is not None or trial.error is not None)
        if trial.record is None and scores:
            print(f"    {trial.spec.label}: {scores[-1]:.4f} after {until} epochs")

    def settle(self, trial: Trial) -> None:
        """Take what a trial left."""
        assert trial.spec is not None
        if trial.error is None:
            _take(trial, self._folder, self._since)
        self._desk.done(trial)
        self._ended += 1
        what = f"failed: {trial.error}" if trial.error else outcome(trial.record or {})
        print(f"[{self._ended}] {trial.spec.label}: {what}")


def _take(trial: Trial, folder: Path, since: float) -> None:
    assert trial.spec is not None
    file = error_file(folder, trial.spec)
    if file.is_file():
        trial.error = file.read_text(encoding="utf-8").partition("\n")[0]
        return
    run = run_folders(folder / RUNS, since).get(trial.spec.key or "")
    if run is None:
        trial.error = "it left nothing"
        return
    if not run.finished:  # Ray ended the process before the trial had written its record
        run.finish(RunResult(_record_of(run, trial)), "best")
    trial.take(run)


def _record_of(run: RunFolder, trial: Trial) -> dict[str, Any]:
    assert trial.config is not None
    history = run.read_history()
    bigger = bool(trial.config["valid_metric_bigger"])
    best = max if bigger else min
    scored = [each for each in history if each["valid_score"] is not None]
    top = best(scored, key=lambda each: each["valid_score"]) if scored else None
    return {
        "model": trial.config["model"],
        "dataset": trial.config["dataset"],
        "seed": trial.config["seed"],
        "key": trial.spec.key if trial.spec else None,
        "best_valid_score": top and top["valid_score"],
        "best_valid_result": top and top["valid"],
        "test_result": None,
        "valid_score_bigger": bigger,
        "epochs_run": len(history),
        "stopped_by": PRUNED,
        "seconds": round(sum(each["seconds"] + (each["valid_seconds"] or 0.0) for each in history), 2),
        "files": {"best": BEST} if run.best.is_file() else {},
    }


def _reason(trial: Any) -> str:
    error = trial.get_pickled_error() or trial.get_error()
    text = " ".join(str(error).split())
    if "OutOfMemory" in type(error).__name__ or "OutOfMemory" in text:
        return "out of memory: Ray ended its process, twice"
    return _KILLED if "died" in text or "Actor" in type(error).__name__ else text[:300]
