"""RecBole's trainers of decision trees (LightGBM, XGBoost): no optimiser, files of their own."""

from __future__ import annotations

from typing import Any

from recbole_mm.errors import Interrupted, WrongUse

# the class this one is put in front of; a type checker cannot know it
_Base: Any = object


class TreeTrainerMixin(_Base):
    """The attributes that callers expect of every trainer of ours; the training is the library's."""

    resumable = False

    def __init__(self, config: Any, model: Any) -> None:
        if config["train_epochs"] is not None:
            raise WrongUse(
                f"train_epochs: {config['model']} grows its trees in one go; leave train_epochs out"
            )
        super().__init__(config, model)
        self.history: list[dict[str, Any]] = []
        self.eval_result = None
        self.best_epoch = None
        self.spec, self.folder = config.spec, None
        self.callbacks: list[Any] = []

    @property
    def outcome(self) -> str:
        """Why training ended (see `TrainerMixin.outcome`)."""
        if self.best_valid_result is None:
            return ""
        return "early stopping" if self.cur_step > self.stopping_step else "cap"

    def question(self, eval_data: Any) -> None:
        """RecBole evaluates the trees and does not say what it asked."""

    def know_training(self, train_data: Any) -> None:
        """Let RecBole's evaluator count the training rows."""
        self.eval_collector.data_collect(train_data)

    def resume(self, last_file: str, train_data: Any, valid_data: Any = None) -> None:
        """Refuses: the library trains its trees in one go."""
        raise WrongUse(f"resume: {self.config['model']} cannot go on from a checkpoint; run it again")

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Any = None,
    ) -> Any:
        """RecBole's ``fit``, which takes no callback here."""
        if valid_data is None:
            raise WrongUse(f"{self.config['model']} needs validation rows to end its trees; see eval_args")
        try:
            return super().fit(train_data, valid_data, verbose, saved, show_progress)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted; decision trees start over") from error
