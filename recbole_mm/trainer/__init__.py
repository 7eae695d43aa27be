"""Training on RecBole's trainers: stages, callbacks, safe checkpoints, exact resume, loss by terms, our evaluator.

``get_trainer(config, model_class)(config, model)`` is used like RecBole's trainer.
"""

from __future__ import annotations

from typing import Any

from recbole.trainer.trainer import DecisionTreeTrainer, Trainer
from recbole.utils.utils import get_trainer as _recbole_trainer

from recbole_mm.model import defaults_of
from recbole_mm.serialize import class_of
from recbole_mm.trainer.callback import Callback
from recbole_mm.trainer.checkpoint import read_checkpoint
from recbole_mm.trainer.mixin import TrainerMixin
from recbole_mm.trainer.record import epoch_line
from recbole_mm.trainer.resume import load_model, read_last
from recbole_mm.trainer.tree import TreeTrainerMixin
from recbole_mm.trainer.warm_start import check_same_data, start_pairs, warm_start
from recbole_mm.trainer.workers import Workers, n_workers

__all__ = [
    "Callback",
    "TrainerMixin",
    "Workers",
    "check_same_data",
    "epoch_line",
    "get_trainer",
    "load_model",
    "n_workers",
    "read_checkpoint",
    "read_last",
    "start_pairs",
    "trained_plainly",
    "warm_start",
]


def trained_plainly(config: Any, model_class: type) -> bool:
    """Whether RecBole's ``Trainer`` itself trains the model, and no trainer made for it."""
    return _recbole_trainer(config["MODEL_TYPE"], defaults_of(model_class).__name__) is Trainer


def get_trainer(config: Any, model_class: type) -> type:
    """The trainer class RecBole takes for this model, with our mixin in front of it."""
    base = _recbole_trainer(config["MODEL_TYPE"], defaults_of(model_class).__name__)
    mixin = TreeTrainerMixin if issubclass(base, DecisionTreeTrainer) else TrainerMixin
    return class_of(f"Mm{base.__name__}", (mixin, base), __name__)
