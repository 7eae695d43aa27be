"""Runs reach Weights & Biases and MLflow by their own libraries, here by what stands in for them."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from recbole_mm.errors import WrongUse
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec
from recbole_mm.testing import write_toy


@pytest.fixture
def toy(tmp_path, monkeypatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return {
        **write_toy(tmp_path, domains=1),
        "epochs": 2,
        "topk": [5],
        "metrics": ["NDCG"],
        "valid_metric": "NDCG@5",
    }


def run(settings: dict[str, Any], **more: Any) -> tuple[Session, Any]:
    session = Session.build(RunSpec.of("BPR", "toy", {**settings, **more, "seed": 3}))
    return session, session.run()


class Mlflow(SimpleNamespace):
    """Takes down what it is told."""

    def __init__(self, active: Any = None) -> None:
        self.said: list[tuple[Any, ...]] = []
        super().__init__(active_run=lambda: active)

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.said.append((name, *args, *kwargs.values()))


def test_mlflow_gets_settings_epochs_and_the_test_once_each(toy, monkeypatch):
    mlflow = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    session, result = run(toy, log_mlflow=True, mlflow_experiment="mine")
    names = [name for name, *_ in mlflow.said]
    assert names == ["set_experiment", "start_run", "log_params", *["log_metrics"] * 3, "end_run"]
    assert mlflow.said[0] == ("set_experiment", "mine")
    assert mlflow.said[1] == ("start_run", "BPR-toy-3")
    assert {"model": "BPR", "seed": "3", "epochs": "2"}.items() <= mlflow.said[2][1].items()
    for (_, metrics, step), record in zip(mlflow.said[3:5], result.history, strict=True):
        assert step == record["epoch"] + 1
        assert metrics == {
            "train/loss": record["loss"] / record["batches"],
            "valid/ndcg_at_5": record["valid"]["ndcg@5"],
        }
    assert mlflow.said[5] == ("log_metrics", {"test/ndcg_at_5": result.record["test_result"]["ndcg@5"]}, None)
    assert mlflow.said[6] == ("end_run", "FINISHED")
    mlflow.said.clear()
    Session.open(session.trainer.folder.path).evaluate()  # looks, and reports nothing
    assert mlflow.said == []


def test_a_failed_run_is_ended_as_failed_and_a_persons_own_is_left_open(toy, monkeypatch):
    mlflow = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    session = Session.build(RunSpec.of("BPR", "toy", {**toy, "log_mlflow": True}))
    monkeypatch.setattr(session.trainer, "fit", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        session.run()
    assert mlflow.said[-1] == ("end_run", "FAILED")
    mine = Mlflow(active=object())
    monkeypatch.setitem(sys.modules, "mlflow", mine)
    run(toy, log_mlflow=True)
    assert not {"start_run", "end_run", "set_experiment"} & {name for name, *_ in mine.said}


class Wandb(SimpleNamespace):
    """A library with one run at a time."""

    def __init__(self) -> None:
        super().__init__(run=None, runs=[], define_metric=lambda *_, **__: None)

    def init(self, **options: Any) -> None:
        self.run = SimpleNamespace(options=options, summary={}, logged=[])
        self.runs.append(self.run)

    def log(self, metrics: dict[str, float], commit: bool = True) -> None:
        self.run.logged.append(metrics)

    def finish(self, exit_code: int) -> None:
        self.run.code, self.run = exit_code, None


def test_each_run_is_one_of_weights_and_biases(toy, monkeypatch):
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for _ in range(2):
        _, result = run(toy, log_wandb=True, wandb_project="mine")
    assert len(wandb.runs) == 2
    for each in wandb.runs:
        assert (each.options["project"], each.options["name"], each.code) == ("mine", "BPR-toy-3", 0)
        assert each.options["config"]["epochs"] == 2
        assert [m["valid/ndcg@5"] for m in each.logged if "valid/ndcg@5" in m] == [
            record["valid"]["ndcg@5"] for record in result.history
        ]
        assert each.summary["eval/ndcg@5"] == result.record["test_result"]["ndcg@5"]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_without_the_library_one_line_names_the_extra(toy, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(WrongUse, match=rf'^log_{name}: needs {name}: pip install "recbole_mm\[{name}\]"$'):
        run(toy, **{f"log_{name}": True})
