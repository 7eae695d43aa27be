"""Who chooses the points of a search, one trial after another.

Trial ``n`` is chosen knowing the trials up to ``n - 2 c`` where ``c`` run at once: however long they take, the same
seed gives the same points, and a search that was cut off comes to them again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

from recbole_mm.errors import WrongUse, suggest
from recbole_mm.quick_start.search.space import Axis, Point, Space

SEARCHERS = ("random", "grid", "optuna", "hyperopt")
#: numbers drawn anew before a space counts as used up
_TRIES = 1000


class Searcher(Protocol):
    """Chooses points and hears how good they were."""

    def ask(self) -> Point | None:
        """The next point; None where there is no other."""

    def tell(self, number: int, loss: float | None) -> None:
        """The smaller the better; None of a trial that failed."""


class Listed:
    """Points that are known from the beginning: a grid or random ones, in an order drawn from the seed."""

    def __init__(self, space: Space, seed: int, grid: bool) -> None:
        self._space, self._rng = space, random.Random(seed)
        self._grid = grid
        self._left = space.grid() if grid else []
        self._rng.shuffle(self._left)
        self._given: list[Point] = []

    def ask(self) -> Point | None:
        """The next one; none comes twice."""
        if self._grid:
            return self._left.pop(0) if self._left else None
        for _ in range(_TRIES):
            point = self._space.draw(self._rng)
            if point not in self._given:
                self._given.append(point)
                return point
        return None

    def tell(self, number: int, loss: float | None) -> None:
        """Nothing depends on it."""


class Optuna:
    """Optuna's TPE (Akiba et al. 2019), conditional keys drawn where they apply."""

    def __init__(self, space: Space, seed: int) -> None:
        optuna = _library("optuna")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=seed)
        self._space, self._study = space, optuna.create_study(sampler=sampler)
        self._failed = optuna.trial.TrialState.FAIL
        self._trials: list[Any] = []

    def ask(self) -> Point:
        """The next one."""
        trial = self._study.ask()
        self._trials.append(trial)
        point: Point = {}
        for key, axis in self._space.axes.items():
            if axis.applies(point):
                point[key] = self._suggest(trial, key, axis)
        return point

    @staticmethod
    def _suggest(trial: Any, key: str, axis: Axis) -> Any:
        if axis.values:  # Optuna keeps plain values alone
            return axis.values[trial.suggest_categorical(key, list(range(len(axis.values))))]
        if axis.whole:
            return trial.suggest_int(key, int(axis.low), int(axis.high))
        if axis.step is None:
            return trial.suggest_float(key, axis.low, axis.high, log=axis.log)
        return axis.at(trial.suggest_float(key, 0.0, 1.0))

    def tell(self, number: int, loss: float | None) -> None:
        """For its model of the space."""
        state = None if loss is not None else self._failed
        self._study.tell(self._trials[number], loss, state=state)


class HyperOpt:
    """HyperOpt's TPE (Bergstra et al. 2011), as RecBole's ``HyperTuning(algo="bayes")``."""

    def __init__(self, space: Space, seed: int) -> None:
        self._hyperopt = hyperopt = _library("hyperopt")
        self._space, self._rng = space, random.Random(seed)
        self._expression = {key: _hyperopt_axis(hyperopt.hp, key, axis) for key, axis in space.axes.items()}
        self._domain = hyperopt.base.Domain(lambda _: 0.0, self._expression)
        self._trials = hyperopt.Trials()

    def ask(self) -> Point:
        """The next one; all keys are drawn, those whose condition does not hold are left out."""
        self._trials.refresh()
        ids = self._trials.new_trial_ids(1)
        (made,) = self._hyperopt.tpe.suggest(ids, self._domain, self._trials, self._rng.randrange(2**31))
        self._trials.insert_trial_docs([made])
        self._trials.refresh()
        values = {key: found[0] for key, found in made["misc"]["vals"].items() if len(found)}
        drawn = self._hyperopt.space_eval(self._expression, values)
        point: Point = {}
        for key, axis in self._space.axes.items():
            if axis.applies(point):
                point[key] = axis.values[drawn[key]] if axis.values else _plain(axis, drawn[key])
        return point

    def tell(self, number: int, loss: float | None) -> None:
        """For its model of the space."""
        document = self._trials._dynamic_trials[number]
        ok = loss is not None
        document["state"] = self._hyperopt.JOB_STATE_DONE if ok else self._hyperopt.JOB_STATE_ERROR
        document["result"] = {"loss": loss, "status": "ok"} if ok else {"status": "fail"}
        self._trials.refresh()


def _hyperopt_axis(hp: Any, key: str, axis: Axis) -> Any:
    if axis.values:
        return hp.choice(key, list(range(len(axis.values))))
    if axis.whole:
        return hp.uniformint(key, int(axis.low), int(axis.high))
    if axis.log:
        import math

        return hp.loguniform(key, math.log(axis.low), math.log(axis.high))
    if axis.step is not None:
        return hp.quniform(key, axis.low, axis.high, axis.step)
    return hp.uniform(key, axis.low, axis.high)


def _plain(axis: Axis, value: Any) -> Any:
    return int(value) if axis.whole else float(value)


def _library(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise WrongUse(f'--searcher {name} needs {name}: pip install "recbole_mm[ray]"') from error


class Points:
    """The points of a search in the order of its trials, from a searcher that hears results in that order alone.

    Args:
        searcher: who chooses.
        count: how many there are to be; None for all of them.
        behind: trial ``n`` is chosen knowing those up to ``n - behind``; None where none matters.
    """

    def __init__(self, searcher: Searcher, count: int | None, behind: int | None) -> None:
        self._searcher, self.count, self._behind = searcher, count, behind
        self.asked: list[Point] = []
        self._told: dict[int, float | None] = {}
        self._heard = 0
        self.used_up = False

    @property
    def ready(self) -> bool:
        """Whether the next point can be chosen: the trials that it depends on have ended."""
        return all(number in self._told for number in range(self._heard, self._known))

    @property
    def _known(self) -> int:
        return 0 if self._behind is None else max(0, len(self.asked) + 1 - self._behind)

    def next(self) -> Point | None:
        """The next point; None where there is no more."""
        assert self.ready
        if self.used_up or (self.count is not None and len(self.asked) >= self.count):
            self.used_up = True
            return None
        for number in range(self._heard, self._known):
            self._searcher.tell(number, self._told[number])
        self._heard = max(self._heard, self._known)
        point = self._searcher.ask()
        if point is None:
            self.used_up = True
        else:
            self.asked.append(point)
        return point

    def tell(self, number: int, loss: float | None) -> None:
        """The result of a trial; what is told first counts."""
        self._told.setdefault(number, loss)


def searcher_of(name: str, space: Space, seed: int) -> Searcher:
    """The searcher of this name. Raises ``WrongUse`` on an unknown one, or where its library is missing."""
    made: dict[str, Callable[[], Searcher]] = {
        "random": lambda: Listed(space, seed, grid=False),
        "grid": lambda: Listed(space, seed, grid=True),
        "optuna": lambda: Optuna(space, seed),
        "hyperopt": lambda: HyperOpt(space, seed),
    }
    if name not in made:
        raise WrongUse(f"--searcher: no '{name}'{suggest(name, SEARCHERS)}")
    return made[name]()
