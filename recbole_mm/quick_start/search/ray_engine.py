"""Trials on Ray Tune: as many at once as there are cores, on one machine or a cluster, pruned by a scheduler."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.tune
from ray import cloudpickle
from ray.tune.schedulers import (
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search import Searcher

from recbole_mm.errors import Interrupted, WrongUse
from recbole_mm.quick_start.cluster import connected
from recbole_mm.quick_start.search.desk import DataSets, Desk, Trial
from recbole_mm.quick_start.search.ray_progress import Progress
from recbole_mm.quick_start.search.rungs import Rungs
from recbole_mm.quick_start.search.space import Space
from recbole_mm.quick_start.search.trial_run import Place, epochs_of, run_trial
from recbole_mm.run.comparison import RUNS
from recbole_mm.run.folder import RunFolder

METRIC, EPOCH = "valid_score", "epoch"
# a trial whose process was killed is started once more, from its last epoch
_RESTARTS = 1


@dataclass(frozen=True)
class RayOptions:
    """How a search uses the machines.

    Attributes:
        scheduler: none, asha, pbt or median.
        cpus, gpus: of one trial; ``cpus`` is also its number of threads.
        at_once: trials at once, None for as many as fit.
        address: of a cluster; None for this machine.
        grace: epochs before a trial may be pruned; None: as the scheduler has it.
    """

    scheduler: str = "none"
    cpus: int = 1
    gpus: float = 0.0
    at_once: int | None = None
    address: str | None = None
    grace: int | None = None

    def slots(self, resources: dict[str, float]) -> int:
        """How many trials run at once. Raises ``WrongUse`` where none fits."""
        fit = int(resources.get("CPU", 0) // self.cpus)
        if self.gpus:
            fit = min(fit, int(resources.get("GPU", 0) / self.gpus))
        if not fit:
            there = ", ".join(f"{resources.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
            raise WrongUse(f"--cpus {self.cpus}, --gpus {self.gpus:g}: no trial fits, Ray has {there}")
        return min(fit, self.at_once or fit)


def run_on_ray(
    make: Callable[[int], Desk],
    space: Space,
    folder: Path,
    options: RayOptions,
    fresh: bool,
) -> Desk:
    """Run the trials of the desk that ``make`` gives for so many at once; the desk, with what became of them.

    Raises:
        Interrupted: Ctrl-C; what is finished stays, the same command goes on.
        WrongUse: the cluster has no room for a trial, or none can be configured.
    """
    with connected(options.address):
        desk = make(at_once := options.slots(ray.cluster_resources()))
        first = _first(desk)
        (folder / RUNS).mkdir(parents=True, exist_ok=True)
        rungs = _rungs(options, first.config, desk)
        work = Work(desk, DataSets(lambda packed: ray.put(packed)), first, space, rungs)
        if rungs is not None:
            for bad in (trial for trial in desk.trials if trial.error is not None):
                rungs.failed(bad.number)
        place = Place(folder.resolve(), Path.cwd(), options.cpus, time.time() if fresh else 0.0)
        hooks = Progress(desk, folder, rungs, place.since)
        storage = folder.resolve() / "ray"
        try:
            _tuner(work, hooks, place, options, at_once, first.config, storage).fit()
        except KeyboardInterrupt as error:
            done = sum(trial.record is not None for trial in desk.trials)
            raise Interrupted(
                f"{done} trials are kept in {folder / RUNS}; the same command goes on from there"
            ) from error
        finally:
            shutil.rmtree(storage, ignore_errors=True)
    for trial in desk.trials:
        if trial.record is None and trial.error is None:
            hooks.settle(trial)
    return desk


def _first(desk: Desk) -> Trial:
    """The first trial that can be configured. Raises ``WrongUse`` where none can."""
    while (trial := desk.next()) is not None:
        if trial.error is None:
            return trial
    raise WrongUse(str(desk.trials[0].error))


def _tuner(
    work: Work, hooks: Progress, place: Place, options: RayOptions, at_once: int, config: Any, storage: Path
) -> ray.tune.Tuner:
    population = options.scheduler == "pbt"
    trainable: Any = ray.tune.with_resources(
        partial(_trainable, place=place, keep=population),
        {"cpu": options.cpus, "gpu": options.gpus},
    )
    return ray.tune.Tuner(
        trainable,
        param_space={"given": ray.tune.grid_search(work.population())} if population else None,
        tune_config=ray.tune.TuneConfig(
            metric=METRIC,
            mode="max" if config["valid_metric_bigger"] else "min",
            search_alg=None if population else work,
            scheduler=_scheduler(options, epochs_of(config), work),
            num_samples=1 if population else -1,
            max_concurrent_trials=at_once,
            reuse_actors=not population,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=ray.tune.RunConfig(
            name=f"{time.time_ns()}",
            storage_path=str(storage),
            verbose=0,
            failure_config=ray.tune.FailureConfig(max_failures=_RESTARTS),
            callbacks=[hooks],
        ),
    )


class Work(Searcher):
    """Ray's view of the desk: it asks for the next trial and says which has ended."""

    def __init__(self, desk: Desk, data: DataSets, first: Trial, space: Space, rungs: Rungs | None) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._desk, self._data, self.space, self._rungs = desk, data, space, rungs
        self._first: Trial | None = first
        self._changes = 0

    def suggest(self, trial_id: str) -> Any:
        """The next trial, or one that goes on; None while it depends on one that runs."""
        rungs = self._rungs
        while True:
            if rungs is not None and (on := rungs.next()) is not None:
                return {"given": self.given(self._desk.trials[on[0]], on[1])}
            if self._first is None and not self._desk.points.ready:
                return None
            trial, self._first = self._first or self._desk.next(), None
            if trial is None:
                if rungs is None or (rungs.count == len(self._desk.trials) and rungs.idle):
                    return Searcher.FINISHED
                if rungs.count == len(self._desk.trials):
                    return None
                rungs.count = len(self._desk.trials)  # now it is known
            elif trial.error is None:
                return {"given": self.given(trial, None if rungs is None else rungs.begin())}
            elif rungs is not None:
                rungs.failed(trial.number)

    def given(self, trial: Trial, until: int | None = None) -> dict[str, Any]:
        """All that a process needs for a trial."""
        assert trial.config is not None
        work = cloudpickle.dumps((trial.config, trial.spec, self._data.of(trial.config)))
        return {"number": trial.number, "point": dict(trial.point), "work": work, "until": until}

    def population(self) -> list[dict[str, Any]]:
        """All trials at once, for a scheduler that changes their settings."""
        first, self._first = self._first, None
        trials = [first, *self._desk.ready()]
        return [self.given(trial) for trial in trials if trial is not None and trial.error is None]

    def explored(self, config: dict[str, Any]) -> dict[str, Any]:
        """The work of a trial whose settings the scheduler has changed."""
        trial = self._desk.trials[config["given"]["number"]]
        trial.point = {key: self._inside(key, value) for key, value in config["given"]["point"].items()}
        self._desk.configure(trial)
        assert trial.spec is not None
        self._changes += 1  # a folder of its own: it goes on from another's weights
        trial.spec = replace(trial.spec, key=f"{trial.spec.key}-{self._changes}")
        return {"given": self.given(trial)}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """`Progress` has heard of it."""

    def _inside(self, key: str, value: Any) -> Any:
        axis = self.space.axes[key]
        return value if axis.values else type(value)(min(max(value, axis.low), axis.high))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a search goes on from the folders of its runs."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


def _trainable(given: dict[str, Any], place: Place, keep: bool) -> None:
    """What Ray runs for a trial."""
    if place.working.is_dir():
        os.chdir(place.working)  # from where a file of a model is named
    until = given["given"]["until"]
    config, spec, data = cloudpickle.loads(given["given"]["work"])
    shared = ray.get(data).unpack()

    def report(record: dict[str, Any], folder: RunFolder) -> None:
        told = {METRIC: record["valid_score"], EPOCH: record["epoch"] + 1, "key": spec.key}
        checkpoint = ray.tune.Checkpoint.from_directory(str(folder.path)) if keep else None
        ray.tune.report(told, checkpoint=checkpoint)

    taken = ray.tune.get_checkpoint()
    if taken is None:
        run_trial(config, spec, shared, place, report, until=until)
        return
    with taken.as_directory() as start:
        run_trial(config, spec, shared, place, report, Path(start))


def _name(trial: Any) -> str:
    given = trial.config["given"]
    return f"trial-{given['number']}" + ("" if given["until"] is None else f"-{given['until']}")


def _rungs(options: RayOptions, config: Any, desk: Desk) -> Rungs | None:
    """The successive halving of ``--scheduler asha``, which is ours and not Ray's; None for the other schedulers."""
    if options.scheduler != "asha":
        return None
    return Rungs(epochs_of(config), options.grace, desk.points.count, int(config["eval_step"] or 1))


def _scheduler(options: RayOptions, epochs: int, work: Work) -> TrialScheduler:
    """Ray's scheduler, which counts epochs."""
    space = work.space
    grace = options.grace or max(1, min(5, epochs // 4))
    if options.scheduler == "median":
        return MedianStoppingRule(time_attr=EPOCH, grace_period=grace, min_samples_required=2)
    if options.scheduler != "pbt":
        return FIFOScheduler()
    bound = next((key for key, axis in space.axes.items() if axis.when), None)
    if bound is not None:
        raise WrongUse(f"--scheduler pbt changes settings while it trains; '{bound}' has a condition")
    rng = random.Random(0)

    def drawn(key: str) -> Any:
        axis = space.axes[key]
        return list(axis.values) if axis.values else (lambda: axis.at(rng.random()))

    return PopulationBasedTraining(
        time_attr=EPOCH,
        perturbation_interval=grace,
        hyperparam_mutations={"given": {"point": {key: drawn(key) for key in space.axes}}},
        custom_explore_fn=work.explored,
        quantile_fraction=0.25,
    )


# Ray's own files beside the trials' and its bars are of no use here
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
# a trial that fails before its first epoch reports nothing
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "60")
