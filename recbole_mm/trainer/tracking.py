"""Runs reported to Weights & Biases and to MLflow, through their own libraries: one of theirs for each of ours.

Metrics reach Weights & Biases as RecBole sends them; here its run is begun with a name and the settings, and ended, so
that the runs of a comparison do not become one. A run that a person has begun is used and left open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from recbole_mm.errors import WrongUse
from recbole_mm.serialize import readable
from recbole_mm.trainer.callback import Callback, Record

LONGEST = 500  # letters that MLflow keeps of a parameter
KEYS = ("log_wandb", "log_mlflow")


class Tracker(Callback):
    """A run elsewhere, from its making to :meth:`close`."""

    def on_test(self, metrics: Mapping[str, float]) -> None:
        """The test was read."""

    def close(self, failed: bool) -> None:
        """The run is over."""


class Wandb(Tracker):
    """A run of Weights & Biases, which RecBole's logger finds and fills."""

    def __init__(self, config: Any, name: str) -> None:
        self.wandb = _library("wandb", "log_wandb")
        self.own = self.wandb.run is None
        if self.own:
            self.wandb.init(project=config["wandb_project"], name=name, config=_given(config))

    def close(self, failed: bool) -> None:
        """End it."""
        if self.own:
            self.wandb.finish(exit_code=int(failed))


class MLflow(Tracker):
    """A run of MLflow, where its own settings (``MLFLOW_TRACKING_URI``) say, by default the folder ``mlruns``."""

    def __init__(self, config: Any, name: str) -> None:
        self.mlflow = _library("mlflow", "log_mlflow")
        self.own = self.mlflow.active_run() is None
        if self.own:
            self.mlflow.set_experiment(config["mlflow_experiment"])
            self.mlflow.start_run(run_name=name)
        self.mlflow.log_params({key: str(value)[:LONGEST] for key, value in _given(config).items()})

    def on_epoch_end(self, record: Record) -> None:
        """Losses (means over batches), the validation, and the model's own figures."""
        batches = max(record["batches"], 1)
        metrics = {f"train/{term}": value / batches for term, value in record["terms"].items()}
        metrics |= {f"valid/{name}": value for name, value in (record["valid"] or {}).items()}
        metrics |= record["diagnostics"]
        self._log(metrics, record["epoch"] + 1)

    def on_test(self, metrics: Mapping[str, float]) -> None:
        """The metrics of the test."""
        self._log({f"test/{name}": value for name, value in metrics.items()})

    def close(self, failed: bool) -> None:
        """End it."""
        if self.own:
            self.mlflow.end_run("FAILED" if failed else "FINISHED")

    def _log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        # MLflow allows no @ in a name
        self.mlflow.log_metrics(
            {name.replace("@", "_at_"): float(value) for name, value in metrics.items()}, step=step
        )


def trackers(config: Any, name: str) -> Iterator[Tracker]:
    """Those that ``log_wandb`` and ``log_mlflow`` ask for, begun.

    Raises:
        WrongUse: the library is not installed; the line names the extra.
    """
    if config["log_wandb"]:
        yield Wandb(config, name)
    if config["log_mlflow"]:
        yield MLflow(config, name)


def _library(name: str, key: str) -> Any:
    try:
        return import_module(name)
    except ImportError as missing:
        raise WrongUse(f'{key}: needs {name}: pip install "recbole_mm[{name}]"') from missing


def _given(config: Any) -> dict[str, Any]:
    """What makes the run: its model, data set, seed and the settings that were given."""
    found = {"model": config["model"], "dataset": config["dataset"], "seed": config["seed"]}
    return {**readable(config.external_config_dict), **found}
