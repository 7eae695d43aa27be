"""A search from its space to its best trial, on either engine."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from logging import getLogger
from pathlib import Path

import torch

from recbole_mm.config import Config
from recbole_mm.data.presplit import rule_without_validation
from recbole_mm.errors import Failure, WrongUse
from recbole_mm.files import write_text
from recbole_mm.model import get_model
from recbole_mm.quick_start.plan import one_mask
from recbole_mm.quick_start.preset import Settings
from recbole_mm.quick_start.record import add_search
from recbole_mm.quick_start.runs import run_all
from recbole_mm.quick_start.search.desk import Desk, Trial
from recbole_mm.quick_start.search.method import Method
from recbole_mm.quick_start.search.outcome import (
    BEST,
    JOURNAL,
    Search,
    best_of,
    best_yaml,
    plain_trial,
    tested_before,
    write_trials,
)
from recbole_mm.quick_start.search.picture import write_picture
from recbole_mm.quick_start.search.searcher import Points, searcher_of
from recbole_mm.quick_start.search.space import Space
from recbole_mm.quick_start.session import Session, require_files

ADAPTIVE = ("optuna", "hyperopt")


def search(
    model: str,
    dataset: str,
    space: Space,
    settings: Settings,
    folder: Path,
    *,
    trials: int | None,
    seed: int,
    fresh: bool,
    command: str | None,
    method: Method,
    label: str | None = None,
    test: bool = True,
) -> Search:
    """Run the trials and write what they left; ``test=False`` leaves the one reading of the test to the caller."""
    began, name = time.perf_counter(), get_model(model).__name__
    method = method.settled(space)
    if method.searcher != "grid" and trials is None:
        raise WrongUse(f"--samples all: --searcher {method.searcher} has no last point; give a number")
    held, kept = settings, settings.get("keep_checkpoints", "none")
    settings = {**settings, **one_mask(settings), "keep_checkpoints": "best"}
    base = _base(model, dataset, settings)
    _say_idle(model, dataset, {**settings, **space.draw(random.Random(seed))}, space)

    def desk(at_once: int) -> Desk:
        searcher = searcher_of(str(method.searcher), space, seed)
        behind = 2 * at_once if at_once > 1 else 1
        points = Points(searcher, trials, behind if method.searcher in ADAPTIVE else None)
        # processes of Ray's would each make the pre-training, and meet in its folder
        log = folder / "log" if method.engine == "ray" else None
        return Desk(model, dataset, settings, points, label or name, log)

    if method.engine == "ray":
        engine = import_module("recbole_mm.quick_start.search.ray_engine")
        options = engine.RayOptions(**method.ray)
        done = engine.run_on_ray(desk, space, folder, options, fresh)
        threads = options.cpus
    else:
        done, threads = _one_after_another(desk(1), folder, fresh), torch.get_num_threads()
    lines = [plain_trial(trial) for trial in done.trials]
    result = Search(model, dataset, space, held, lines, tested=tested_before(folder))
    result.how = {
        "engine": method.engine, "searcher": method.searcher, "scheduler": method.ray.get("scheduler", "none"),
        "order_seed": seed, "threads": threads, "search_seconds": round(time.perf_counter() - began, 2),
    }  # fmt: skip
    best = _choose(result, done.trials, base, folder)
    if best.folder is not None:
        add_search(best.folder, result.effort())
    if test:
        result.read_test(_test(best))
        if result.test_result is None and best.folder is not None and not best.folder.best.is_file():
            _say_untested(best)
    write_trials(result, folder)
    write_text(folder / BEST, best_yaml(result, base["valid_metric"], command))
    write_picture(result, done.trials, base["valid_metric"], folder)
    _drop_weights(done.trials, best if kept != "none" else None)
    return result


def _base(model: str, dataset: str, settings: Settings) -> Config:
    """What all trials have in common, checked."""
    base = Config(model, dataset, None, settings)
    require_files(base)
    if rule := rule_without_validation(base):
        raise WrongUse(f"tune chooses by validation, and {rule} takes no row for it")
    return base


def _say_idle(model: str, dataset: str, point: Settings, space: Space) -> None:
    """Warn of each key of the space on which nothing depends, as of one that is given."""
    with suppress(WrongUse):  # a point that cannot be is the failure of its trial
        for note in Config(model, dataset, None, point).notes:
            if note.partition(":")[0] in space.axes:
                getLogger("recbole_mm.run").warning("the space: %s", note)


def _choose(result: Search, trials: list[Trial], base: Config, folder: Path) -> Trial:
    """The best trial on validation. Raises ``Failure`` where none has a score; what failed is written."""
    best = best_of(trials, bool(base["valid_metric_bigger"]))
    if best is None:
        write_trials(result, folder)
        why = result.trials[0]["error"]
        raise Failure(f"no trial of {base['model']} finished; {folder / JOURNAL} says why: {why}")
    result.best = result.trials[best.number]
    return best


def _one_after_another(desk: Desk, folder: Path, fresh: bool) -> Desk:
    """Run all trials here. Raises ``WrongUse`` where none can be configured."""
    while batch := list(desk.ready()):
        specs = [trial.spec for trial in batch if trial.error is None and trial.spec is not None]
        if not specs and all(trial.error for trial in desk.trials):
            raise WrongUse(str(batch[0].error))
        finished, errors = run_all(specs, folder, fresh, test=False)
        for trial in batch:
            if trial.error is None and trial.spec is not None:
                at = trial.spec.label, int(trial.spec.seed or 0)
                if at in finished:
                    trial.take(finished[at][0])
                else:
                    trial.error = errors[at]
                desk.done(trial)
    return desk


def _test(best: Trial) -> dict[str, float] | None:
    """The test metrics of the best trial, with its best weights; None where the split leaves no test row."""
    if best.folder is None or not best.folder.best.is_file():
        return None
    session = Session.open(best.folder.path)
    return None if session.test_data is None else session.evaluate("test")


def _say_untested(best: Trial) -> None:
    """Warn that the best trial has no figures on the test: an earlier search had another best and kept its weights."""
    assert best.folder is not None
    getLogger("recbole_mm.run").warning(
        "no test result: an earlier search dropped the weights of trial %d, the best now; remove %s, or add --fresh, "
        "and search again",
        best.number,
        best.folder.path,
    )


def _drop_weights(trials: Sequence[Trial], kept: Trial | None) -> None:
    for trial in trials:
        # a point that a searcher proposed twice has one folder
        if trial.folder is not None and not (kept and kept.folder and kept.folder.path == trial.folder.path):
            trial.folder.best.unlink(missing_ok=True)
