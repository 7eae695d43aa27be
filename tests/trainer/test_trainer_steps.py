"""What the mixin adds: history, terms, NaN, schedules, parameter groups, evaluation, files."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_runs import TwoTerms, build, fit, run, write_toy

from recbole_mm.config import Config
from recbole_mm.errors import Failure, WrongUse
from recbole_mm.trainer.drift import ModelDrift


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_toy(tmp_path)
    return tmp_path


def test_history_has_terms_and_validation(toy: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "recbole_mm")
    session = build(toy, "TwoTerms", 3)
    trainer = session.trainer
    score, result = fit(session)
    assert [record["epoch"] for record in trainer.history] == [0, 1, 2]
    for record in trainer.history:
        assert set(record["terms"]) == {"ranking", "spread"}
        assert record["loss"] == sum(record["terms"].values()) == trainer.train_loss_dict[record["epoch"]]
        assert record["valid"].keys() == result.keys()
    best = max(record["valid_score"] for record in trainer.history)
    assert score == best == trainer.history[trainer.best_epoch]["valid_score"]
    lines = [r.message for r in caplog.records if r.name == "recbole_mm.trainer"]
    place, first, *_ = lines
    assert len(lines) == 4 and place.startswith("into ") and trainer.folder.path.name in place
    assert first.startswith("epoch 1/3 · loss ") and "ranking" in first and "mrr@10" in first


def test_history_keeps_what_the_model_says_of_itself(
    toy: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "recbole_mm")
    monkeypatch.setattr(TwoTerms, "diagnostics", lambda self: {"steps": self.steps / 4}, raising=False)
    session = build(toy, "TwoTerms", 2)
    trainer = session.trainer
    fit(session)
    steps = [len(session.train_data) / 4, len(session.train_data) / 2]
    assert [record["diagnostics"] for record in trainer.history] == [{"steps": n} for n in steps]
    lines = [r.message for r in caplog.records if r.name == "recbole_mm.trainer"]
    assert f"steps {steps[0]:.3f}" in lines[1] and f"steps {steps[1]:.3f}" in lines[2]


def test_a_loss_that_is_a_tensor_of_one_number_is_one_term(toy: Path) -> None:
    session = build(toy, "NGCF", 1)  # RecBole's, of shape [1]
    fit(session)
    (record,) = session.trainer.history
    assert list(record["terms"]) == ["loss"]


def test_nan_names_epoch_batch_and_term(toy: Path) -> None:
    session = build(toy, "TwoTerms", 3, explode_at=15)
    batches = len(session.train_data)
    epoch, batch = divmod(14, batches)
    with pytest.raises(Failure) as caught:
        fit(session)
    message = str(caught.value)
    assert f"epoch {epoch + 1}, batch {batch + 1}, in the term spread" in message
    assert "learning_rate (now 0.01)" in message and "\n" not in message


def test_cosine_annealing_follows_the_formula(toy: Path) -> None:
    session = build(toy, "TwoTerms", 4, lr_scheduler="cosine")
    trainer = session.trainer
    rates: list[list[float]] = []
    step = trainer.optimizer.step
    trainer.optimizer.step = lambda *a, **k: (
        rates.append([g["lr"] for g in trainer.optimizer.param_groups]), step(*a, **k)
    )[1]  # fmt: skip
    fit(session)
    first_of_epoch = rates[:: len(session.train_data)]
    for epoch, (users, items) in enumerate(first_of_epoch):
        assert users == pytest.approx(0.01 * (1 + math.cos(math.pi * epoch / 4)) / 2)
        assert items == pytest.approx(users / 2)  # the model asks for half the rate


def test_a_killed_run_with_a_schedule_goes_on_exactly(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"lr_scheduler": "cosine"}
    whole = run(toy, "TwoTerms", 4, **settings)
    session = build(toy, "TwoTerms", 4, **settings)
    trainer = session.trainer
    original = TwoTerms.calculate_loss

    def stop_in_epoch_3(self: Any, interaction: Any) -> Any:
        if self.steps == 2 * len(session.train_data) + 3:
            raise KeyboardInterrupt
        return original(self, interaction)

    with monkeypatch.context() as patch:
        patch.setattr(TwoTerms, "calculate_loss", stop_in_epoch_3)
        with pytest.raises(KeyboardInterrupt, match="epoch 3"):
            fit(session)
    resumed = run(toy, "TwoTerms", 4, resume=trainer.folder.path, **settings)
    assert all(torch.equal(value, resumed["last"][key]) for key, value in whole["last"].items())


def test_unknown_schedule_proposes_one() -> None:
    with pytest.raises(WrongUse, match="did you mean 'cosine'"):
        Config("BPR", "ml-100k", config_dict={"lr_scheduler": "cosin"})


def test_every_parameter_belongs_to_one_group(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        TwoTerms, "parameter_groups", lambda self, rate: [{"params": self.user_embedding.parameters()}]
    )
    with pytest.raises(Failure, match=r"item_embedding\.weight is in 0 groups"):
        build(toy, "TwoTerms", 1)


@pytest.mark.parametrize("model", ["BPR", "EASE", "ItemKNN"])
def test_the_best_file_holds_plain_values_and_the_best_model(toy: Path, model: str) -> None:
    sampled = {"train_neg_sample_args": None} if model == "EASE" else {}
    session = build(toy, model, 3, **sampled)
    trainer = session.trainer
    fit(session)
    stored = torch.load(trainer.saved_model_file, weights_only=True)
    assert {
        "config",
        "epoch",
        "cur_step",
        "best_valid_score",
        "state_dict",
        "other_parameter",
        "optimizer",
    } <= set(stored)
    assert stored["config"]["model"] == stored["spec"]["run"]["model"] == model
    assert stored["spec"]["run"]["epochs"] == 3 and type(stored["best_valid_score"]) is float
    assert stored["epoch"] == trainer.best_epoch
    first = trainer.evaluate(session.valid_data)
    assert first == trainer.best_valid_result
    fresh = build(toy, model, 3, **sampled)
    assert fresh.trainer.evaluate(fresh.valid_data, model_file=trainer.saved_model_file) == first


def test_both_evaluators_agree(toy: Path) -> None:
    ours, theirs = (run(toy, "BPR", 2, evaluator=name) for name in ("mm", "recbole"))
    assert ours["results"] == theirs["results"]
    session = build(toy, "BPR", 1)
    trainer = session.trainer
    fit(session)
    assert trainer.evaluate(session.test_data) == trainer.eval_result.metrics
    with pytest.raises(WrongUse, match="evaluator"):
        build(toy, "BPR", 1, evaluator="mine")


def test_two_runs_in_one_second_have_two_folders(toy: Path) -> None:
    sessions = [build(toy, "BPR", 1) for _ in range(3)]
    for session in sessions:
        fit(session)
    assert len({session.trainer.folder.path for session in sessions}) == 3


def test_nothing_is_saved_unless_asked(toy: Path) -> None:
    session = build(toy, "BPR", 1)
    fit(session, saved=False)
    assert list((toy / "saved").iterdir()) == []


def test_outcome_tells_early_stopping_from_the_cap(toy: Path) -> None:
    session = build(toy, "BPR", 60, stopping_step=1, learning_rate=0.3)
    trainer = session.trainer
    assert trainer.outcome == ""
    fit(session)
    assert trainer.outcome == "early stopping" and len(trainer.history) < 60
    session = build(toy, "BPR", 2)
    trainer = session.trainer
    fit(session)
    assert trainer.outcome == "cap"


def test_drift_stores_what_changes_and_nothing_else() -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(2, 2)
            self.inner.counter = 0
            self.table, self.cache = torch.ones(3), None
            self.alias = self.inner.weight.data

    model = Model()
    drift = ModelDrift(model)
    assert drift.state()["changed"] == {}
    model.inner.counter = 3
    model.cache = torch.arange(2.0)
    with torch.no_grad():
        model.inner.weight.add_(1)
    state = drift.state()
    assert set(state["changed"]) == {"inner.counter", ".cache"}
    model.table += 1
    assert set(drift.state()["changed"]) == {"inner.counter", ".cache", ".table"}
    other = Model()
    ModelDrift(other).restore(state)
    assert other.inner.counter == 3 and torch.equal(other.cache, model.cache)


def test_modules_among_the_other_parameters_keep_their_weights(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        TwoTerms, "other_parameter_name", ["item_embedding"], raising=False
    )  # as FDSA and DIN
    session = build(toy, "TwoTerms", 2)
    trainer = session.trainer
    fit(session)
    trained = trainer.evaluate(session.valid_data)
    fresh = build(toy, "TwoTerms", 2)
    assert fresh.trainer.evaluate(fresh.valid_data, model_file=trainer.saved_model_file) == trained
    assert isinstance(fresh.model.item_embedding, torch.nn.Embedding)
