"""Training in phases: order, patience, the best of the run, and exact resume across and inside phases."""

from __future__ import annotations

import time
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_runs import same, staged, timeless

from recbole_mm.errors import WrongUse
from recbole_mm.run.folder import RunFolder
from recbole_mm.testing import Built, write_toy
from recbole_mm.trainer import read_last
from recbole_mm.trainer.stage import Stages

PLAN = ["SOURCE:2", "TARGET:1", "BOTH:1", "OVERLAP:2"]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)  # RecBole writes log_tensorboard/ where it is
    torch.set_num_threads(1)
    return {**write_toy(tmp_path, domains=2), "stopping_step": 100, "learning_rate": 0.01}


def run(toy: dict[str, Any], model: str, plan: list[str], resume: str | None = None, **settings: Any) -> Any:
    """Trains and tests; everything that must not depend on interruptions, to the last digit."""
    built = Built(model, {**toy, "train_epochs": plan, **settings})
    trainer = built.trainer
    if resume:
        trainer.resume(resume, built.train_data, built.valid_data)
    score, result = trainer.fit(built.train_data, built.valid_data, verbose=False)
    test = trainer.evaluate(built.test_data)
    last = read_last(str(trainer.folder.last))
    keys = ("state_dict", "optimizers", "model_drift", "generators", "loaders", "progress", "epoch")
    return {
        **{key: last[key] for key in keys},
        "stage": {key: last["stages"][key] for key in ("index", "begin", "best", "waited")},
        "best": torch.load(trainer.folder.best, weights_only=True)["state_dict"],
        "results": (float(score), dict(result), dict(test)),
        "outcome": trainer.outcome,
        "file": trainer.folder.path,
        "trainer": trainer,
    }


def different(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The parts in which two runs differ, times aside."""
    for run in (one, other):
        run["progress"]["history"] = [
            {k: v for k, v in record.items() if "seconds" not in k} for record in run["progress"]["history"]
        ]
    return [key for key in one if key not in ("file", "trainer") and not same(one[key], other[key])]


def test_phases_follow_each_other(toy: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    built = Built("CMC", {**toy, "train_epochs": PLAN})
    domain, seen = built.train_data._dataset.item_domain, []
    original = type(built.model).calculate_loss

    def watched(self: Any, batch: Any) -> Any:
        seen.append((built.trainer._epoch, set(domain[batch["item_id"]].tolist())))
        return original(self, batch)

    monkeypatch.setattr(type(built.model), "calculate_loss", watched)
    built.fit()
    trained = {e: set().union(*(d for epoch, d in seen if epoch == e)) for e in range(6)}
    assert trained == {0: {0}, 1: {0}, 2: {1}, 3: {0, 1}, 4: {0, 1}, 5: {0, 1}}
    history = built.trainer.history
    assert [record["epoch"] for record in history] == list(range(6))
    assert [record["stage"] for record in history] == ["SOURCE"] * 2 + ["TARGET", "BOTH"] + ["OVERLAP"] * 2
    assert history[4]["batches"] < history[3]["batches"] or history[4]["loss"] != history[3]["loss"]
    assert built.trainer.epochs == 6
    assert built.trainer.outcome == "cap"


def test_both_alone_is_training_without_phases(toy: dict[str, Any]) -> None:
    plain = Built("CMC", {**toy, "epochs": 3}).fit()
    phases = Built("CMC", {**toy, "train_epochs": ["BOTH:3"]}).fit()
    assert torch.equal(plain.scores(), phases.scores())
    split = Built("CMC", {**toy, "train_epochs": ["BOTH:1", "BOTH:2"]}).fit()
    assert torch.equal(plain.scores(), split.scores())  # weights, optimiser and generators go on


@pytest.mark.parametrize("model", ["CMC", "BPR", "LightGCN"])
@pytest.mark.parametrize(
    "first",
    [["SOURCE:1"], ["SOURCE:2"], ["SOURCE:2", "TARGET:1"], ["SOURCE:2", "TARGET:1", "BOTH:1", "OVERLAP:1"]],
    ids=["inside the first", "at a boundary", "at the second boundary", "inside the last"],
)
def test_a_part_and_the_rest_equal_the_whole(toy: dict[str, Any], model: str, first: list[str]) -> None:
    whole = run(toy, model, PLAN)
    part = run(toy, model, first)
    assert not different(whole, run(toy, model, PLAN, resume=part["file"]))


def test_early_stopping_in_a_phase_and_resume(toy: dict[str, Any]) -> None:
    plan, settings = ["SOURCE:12", "TARGET:12"], {"stopping_step": 1, "learning_rate": 0.3}
    whole = run(toy, "BPR", plan, **settings)
    lengths = [sum(r["stage"] == name for r in whole["trainer"].history) for name in ("SOURCE", "TARGET")]
    assert lengths[0] < 12, "no early stopping: the test shows nothing"
    assert [r["epoch"] for r in whole["trainer"].history] == list(range(sum(lengths)))
    part = run(toy, "BPR", plan[:1], **settings)
    assert part["outcome"] == "early stopping"
    assert not different(whole, run(toy, "BPR", plan, resume=part["file"], **settings))


@pytest.mark.parametrize("epoch", [1, 2, 3, 6])
def test_interrupted_and_resumed(toy: dict[str, Any], monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    plan = ["SOURCE:2", "TARGET:2", "OVERLAP:2"]
    whole = run(toy, "CMC", plan)
    built = Built("CMC", {**toy, "train_epochs": plan})
    original = type(built.model).calculate_loss

    def stop(self: Any, batch: Any) -> Any:
        if built.trainer._epoch == epoch - 1 and built.trainer._batch >= 0:
            raise KeyboardInterrupt
        return original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(type(built.model), "calculate_loss", stop)
        with pytest.raises(KeyboardInterrupt, match=f"in epoch {epoch}; go on with") as caught:
            built.fit()
    assert not different(whole, run(toy, "CMC", plan, resume=caught.value.checkpoint))


def test_a_finished_run_is_not_trained_again(toy: dict[str, Any]) -> None:
    done = run(toy, "BPR", ["SOURCE:1", "TARGET:1"])
    again = run(toy, "BPR", ["SOURCE:1", "TARGET:1"], resume=done["file"])
    assert not different(done, again)


def give_scores(patch: pytest.MonkeyPatch, scores: list[float]) -> None:
    """Validation scores from a list, whatever the model."""
    given = iter(scores)
    patch.setattr("recbole.trainer.trainer.calculate_valid_score", lambda *_: next(given))


@pytest.mark.parametrize(
    ("scores", "lengths", "best"),
    [
        # SOURCE stops after two worse ones; TARGET stays under the run's best, but its own best rises to the cap
        ([0.5, 0.4, 0.3, 0.1, 0.2, 0.3, 0.4], (3, 4), 0),
        # TARGET stops after two that are worse than its own best
        ([0.5, 0.4, 0.3, 0.2, 0.1, 0.1], (3, 3), 0),
        # TARGET takes the lead
        ([0.1, 0.2, 0.3, 0.4, 0.3, 0.5, 0.6, 0.4], (4, 4), 6),
    ],
)
@pytest.mark.parametrize("bigger", [True, False])
def test_patience_is_of_the_phase_and_the_best_of_the_run(
    toy: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    scores: list[float],
    lengths: tuple[int, int],
    best: int,
    bigger: bool,
) -> None:
    plan = ["SOURCE:4", "TARGET:4"]
    built = Built("BPR", {**toy, "train_epochs": plan, "stopping_step": 1})
    trainer = built.trainer
    trainer.valid_metric_bigger = bigger
    trainer.best_valid_score = float("-inf") if bigger else float("inf")
    trainer.stages = Stages(built.config, 0, trainer._early_stopping)
    give_scores(monkeypatch, scores if bigger else [-score for score in scores])
    score, _ = trainer.fit(built.train_data, built.valid_data, verbose=False)
    phases = [record["stage"] for record in trainer.history]
    assert (phases.count("SOURCE"), phases.count("TARGET")) == lengths
    assert trainer.best_epoch == best and abs(score) == scores[best]
    assert torch.load(trainer.saved_model_file, weights_only=True)["epoch"] == best
    assert trainer.outcome == ("early stopping" if lengths == (3, 3) else "cap")


@pytest.mark.parametrize("epoch", [4, 5, 6])
def test_patience_goes_on_after_an_interrupt(
    toy: dict[str, Any], monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    """SOURCE stops early after epoch 3; epoch 4, the first of TARGET, is its best and not the run's."""
    settings = {**toy, "train_epochs": ["SOURCE:4", "TARGET:4"], "stopping_step": 1}
    scores = [0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1]
    built = Built("BPR", settings)
    give_scores(monkeypatch, scores)
    original = type(built.model).calculate_loss

    def stop(self: Any, batch: Any) -> Any:
        if built.trainer._epoch == epoch - 1:
            raise KeyboardInterrupt
        return original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(type(built.model), "calculate_loss", stop)
        with pytest.raises(KeyboardInterrupt) as caught:
            built.fit()
    rest = Built("BPR", settings)
    rest.trainer.resume(caught.value.checkpoint, rest.train_data, rest.valid_data)
    assert rest.trainer.outcome == ""
    give_scores(monkeypatch, scores[epoch - 1 :])
    rest.fit()
    assert [record["stage"] for record in rest.trainer.history] == ["SOURCE"] * 3 + ["TARGET"] * 3
    assert rest.trainer.outcome == "early stopping" and rest.trainer.best_epoch == 0


def test_other_phases_are_refused_on_resume(toy: dict[str, Any]) -> None:
    last = run(toy, "BPR", ["SOURCE:1", "TARGET:1"])["file"]
    for plan in (["SOURCE:2", "TARGET:1"], ["SOURCE:1", "BOTH:1"], ["SOURCE:1"], None):
        built = Built("BPR", {**toy, "train_epochs": plan})
        with pytest.raises(WrongUse, match="checkpoint is in stage 2 of SOURCE:1, TARGET:1, this run has"):
            built.trainer.resume(last, built.train_data, built.valid_data)
    longer = Built("BPR", {**toy, "train_epochs": ["SOURCE:1", "TARGET:3"]})
    longer.trainer.resume(last, longer.train_data, longer.valid_data)
    longer.fit()
    assert [record["stage"] for record in longer.trainer.history] == ["SOURCE"] + ["TARGET"] * 3


def test_a_run_without_phases_takes_none_up(toy: dict[str, Any]) -> None:
    plain = Built("BPR", toy).fit()
    built = Built("BPR", {**toy, "train_epochs": ["BOTH:4"]})
    with pytest.raises(WrongUse, match="is in stage 1 of ALL:2, this run has BOTH:4"):
        built.trainer.resume(plain.trainer.folder.path, built.train_data, built.valid_data)


@pytest.mark.parametrize("model", ["EASE", "ENMF"])
def test_what_cannot_follow_phases_says_so(toy: dict[str, Any], model: str) -> None:
    settings = {"train_neg_sample_args": None} if model == "ENMF" else {}
    with pytest.raises(WrongUse, match=f"train_epochs: {model} ") as caught:
        Built(model, {**toy, **settings, "train_epochs": ["SOURCE:1"]}).fit()
    assert "\n" not in str(caught.value)


def test_a_schedule_is_of_its_stage(toy: dict[str, Any]) -> None:
    rates = []
    built = Built("BPR", {**toy, "train_epochs": ["SOURCE:2", "TARGET:3"], "lr_scheduler": "cosine"})
    original = built.trainer.optimizer.step

    def step(*arguments: Any, **more: Any) -> Any:
        rates.append((built.trainer._epoch, built.trainer.optimizer.param_groups[0]["lr"]))
        return original(*arguments, **more)

    built.trainer.optimizer.step = step
    built.fit()
    # (1 + cos(pi t / T)) / 2 for T = 2, then for T = 3
    assert list(dict(rates).values()) == pytest.approx([0.01, 0.005, 0.01, 0.0075, 0.0025])


def test_a_stage_may_have_a_patience_of_its_own(toy: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    built = Built("BPR", {**toy, "train_epochs": ["SOURCE:9:0", "TARGET:9:2"], "stopping_step": 100})
    give_scores(monkeypatch, [0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    built.fit()
    assert [r["stage"] for r in built.trainer.history] == ["SOURCE"] * 2 + ["TARGET"] * 4
    with pytest.raises(WrongUse, match="'BOTH:1:x' is not PART:EPOCHS or PART:EPOCHS:PATIENCE"):
        Built("BPR", {**toy, "train_epochs": ["BOTH:1:x"]})


STAGED = 8


def test_a_run_of_two_stages_killed_in_each_goes_on_bit_for_bit(
    toy: dict[str, Any], tmp_path: Path, processes: BaseContext
) -> None:
    settings = {**toy, "train_epochs": [f"SOURCE:{STAGED}", f"TARGET:{STAGED}"], "keep_checkpoints": "all"}
    whole, whole_result = staged(tmp_path, "CMC", settings)
    settings["checkpoint_dir"] = "killed"
    resume: Path | None = None
    for stage in (0, 1):  # in the first stage, then, taken up, in the second
        arguments = (tmp_path, "CMC", settings, resume)
        process = processes.Process(target=staged, args=arguments)  # type: ignore[attr-defined]
        process.start()
        last = wait_for_stage(tmp_path / "killed", stage, process)
        process.kill()
        process.join(30)
        assert not RunFolder.open(last).finished, "it had ended: give it more epochs"
        resume = last.parent
    session, result = staged(tmp_path, "CMC", settings, resume)
    assert result.record["test_result"] == whole_result.record["test_result"]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, session.model.state_dict()[name]), name
    written = RunFolder.open(last).read_history()
    assert timeless(written) == timeless(whole_result.history)
    for name in ("best.pth", "last.pth"):
        one, other = (
            torch.load(path / name, weights_only=True) for path in (whole.trainer.folder.path, last.parent)
        )
        assert same(one["state_dict"], other["state_dict"]) and same(one["optimizer"], other["optimizer"])


def wait_for_stage(parent: Path, stage: int, process: Any) -> Path:
    """The `last` file of a run that has ended an epoch of this stage."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.is_alive():
        for last in parent.glob("*/last.pth"):
            state = read_last(str(last))
            if state["stages"]["index"] == stage and state["epoch"] >= STAGED * stage:
                return last
        time.sleep(0.002)
    process.kill()
    raise AssertionError(f"stage {stage} was not seen")
