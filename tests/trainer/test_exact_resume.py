"""k + k epochs equal 2k to the last bit, and so does a run that was killed or interrupted and resumed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from functools import cache
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest
import torch
import trainer_runs
from trainer_runs import build, fit, resumed, run, same, write_toy

from recbole_mm.errors import WrongUse
from recbole_mm.quick_start.repeat import settings_of
from recbole_mm.trainer import read_last

EPOCHS = 20


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # RecBole writes log_tensorboard/ where it is
    write_toy(tmp_path)
    return tmp_path


def assert_same_run(one: dict[str, Any], other: dict[str, Any]) -> None:
    different = [key for key in one if key != "folder" and not same(one[key], other[key])]
    assert not different


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("BPR", {}),
        ("BPR", {"loader": "fast"}),
        ("TwoTerms", {"learner": "adamw", "weight_decay": 0.01}),
        ("LightGCN", {"learner": "rmsprop"}),
        ("MultiVAE", {"train_neg_sample_args": None}),  # counts its updates in a plain attribute
        ("LINE", {}),  # shuffles an array of its own in place
        ("RecVAE", {"train_neg_sample_args": None}),  # two optimisers
        ("BPR", {"evaluator": "recbole", "eval_args": {"mode": "uni9"}}),  # validation draws from numpy
        (
            "BPR",
            {"stopping_step": 1, "learning_rate": 0.5},
        ),  # early stopping, in the first part or the second
    ],
)
def test_half_and_half_equal_the_whole(toy: Path, model: str, settings: dict[str, Any]) -> None:
    whole = run(toy, model, 6, **settings)
    half = run(toy, model, 3, **settings)
    both = run(toy, model, 6, resume=half["folder"], **settings)
    assert both["folder"] == half["folder"] != whole["folder"]
    assert_same_run(whole, both)


def test_without_the_generators_the_runs_differ(toy: Path) -> None:
    """The tests above can fail: forgetting one generator changes the result."""
    half = run(toy, "TwoTerms", 3)
    file = half["folder"] / "last.pth"
    state = torch.load(file, weights_only=True)
    state["generators"]["torch"] = torch.Generator().manual_seed(5).get_state()  # dropout draws from it
    torch.save(state, file)
    assert not same(run(toy, "TwoTerms", 6)["last"], run(toy, "TwoTerms", 6, resume=half["folder"])["last"])


def test_a_finished_run_is_not_trained_again(toy: Path) -> None:
    done = run(toy, "BPR", 3)
    before = (done["folder"] / "best.pth").read_bytes()
    again = run(toy, "BPR", 3, resume=done["folder"])
    assert_same_run(done, again)
    assert again["outcome"] == "cap"
    # RecBole's fit would overwrite it with the last weights
    assert (done["folder"] / "best.pth").read_bytes() == before


def test_the_folder_may_be_moved(toy: Path) -> None:
    whole, half = run(toy, "BPR", 4), run(toy, "BPR", 2)
    (toy / "saved").rename(toy / "moved")
    both = run(toy, "BPR", 4, resume=toy / "moved" / half["folder"].name / "last.pth")
    assert both["folder"] == toy / "moved" / half["folder"].name
    assert_same_run(whole, both)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Runs of `EPOCHS` epochs that nothing disturbed, each made once."""

    @cache
    def undisturbed(model: str) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp(model)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            write_toy(folder)
            return run(folder, model, EPOCHS)

    return undisturbed


def start(context: BaseContext, folder: Path, model: str, epochs: int) -> tuple[Any, Path]:
    """A process that trains, and its `last` file once the first epoch is over."""
    arguments = {"folder": folder, "said": folder / "said", "model": model, "epochs": epochs}
    process = context.Process(target=trainer_runs.process, kwargs=arguments)
    process.start()
    deadline = time.monotonic() + 120  # the first one imports torch
    while time.monotonic() < deadline and process.is_alive():
        for file in (folder / "saved").glob("*/last.pth"):
            if read_last(str(file))["epoch"] >= 0:
                return process, file
        time.sleep(0.005)
    process.kill()
    raise AssertionError("no checkpoint appeared")


@pytest.mark.parametrize("model", ["BPR", "TwoTerms"])
def test_killed_at_any_moment_and_resumed(
    processes: BaseContext, whole: Callable[[str], dict[str, Any]], toy: Path, model: str
) -> None:
    process, last = start(processes, toy, model, EPOCHS)
    delay = random.Random().uniform(0.0, 0.3)
    time.sleep(delay)
    process.kill()
    process.join(30)
    stored = read_last(str(last))["epoch"]
    assert process.exitcode == -signal.SIGKILL, "it ended before it was killed: give it more epochs"
    assert_same_run(whole(model), run(toy, model, EPOCHS, resume=last))
    left = [path.name for path in last.parent.iterdir() if path.name.startswith(".")]
    assert left == [], f"killed after {delay:.3f} s in epoch {stored + 2}"


def test_interrupt_says_how_to_go_on(
    processes: BaseContext, whole: Callable[[str], dict[str, Any]], toy: Path
) -> None:
    process, last = start(processes, toy, "TwoTerms", EPOCHS)
    os.kill(process.pid, signal.SIGINT)
    process.join(30)
    said = (toy / "said").read_text()
    assert said.startswith("Interrupted: in epoch ")
    assert said.endswith(f"go on with --resume saved/{last.parent.name}")
    assert_same_run(whole("TwoTerms"), run(toy, "TwoTerms", EPOCHS, resume=last))


def test_an_interrupt_in_the_first_epoch_leaves_a_checkpoint(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = build(toy, "BPR", 4)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(session.model), "calculate_loss", interrupt)
        with pytest.raises(KeyboardInterrupt, match="in epoch 1; go on with") as caught:
            fit(session)
    assert read_last(f"{caught.value.checkpoint}/last.pth")["epoch"] == -1
    assert_same_run(run(toy, "BPR", 4), run(toy, "BPR", 4, resume=caught.value.checkpoint))


def test_trainers_with_a_fit_of_their_own_start_over(toy: Path) -> None:
    session = build(toy, "ItemKNN", 1)
    assert not session.trainer.resumable
    fit(session)
    assert not session.trainer.folder.last.exists()
    with pytest.raises(WrongUse, match="run it again without --resume"):
        resumed(session, session.trainer.folder.path)


def test_resume_refuses_what_it_cannot_go_on_from(toy: Path) -> None:
    done = run(toy, "BPR", 1)["folder"]
    with pytest.raises(WrongUse, match=r"no such run; the newest there is .*saved/BPR-toy-2020"):
        resumed(build(toy, "BPR", 2), toy / "saved" / "BPR")
    with pytest.raises(WrongUse, match="holds BPR, this run is LightGCN"):
        resumed(build(toy, "LightGCN", 2), done)
    with pytest.raises(WrongUse, match="size mismatch"):
        resumed(build(toy, "BPR", 2, embedding_size=16), done)
    last = done / "last.pth"
    half = last.read_bytes()
    last.write_bytes(half[: len(half) // 2])
    with pytest.raises(WrongUse, match="damaged"):
        resumed(build(toy, "BPR", 2), done)
    last.unlink()
    with pytest.raises(WrongUse, match="keep_checkpoints: all"):
        resumed(build(toy, "BPR", 2), done)
    (done / "best.pth").rename(last)
    with pytest.raises(WrongUse, match="is a best model"):
        resumed(build(toy, "BPR", 2), done)


def test_resume_tells_of_another_configuration(toy: Path, caplog: pytest.LogCaptureFixture) -> None:
    session = build(toy, "BPR", 2, learning_rate=0.02)
    record = session.run(resume=run(toy, "BPR", 1)["folder"]).record
    assert "learning_rate 0.01 -> 0.02" in caplog.text
    assert (
        "learning_rate 0.01 -> 0.02" in record["remarks"][-1] and record["changes"] == record["remarks"][-1:]
    )
    with pytest.raises(
        WrongUse, match=r"^--from: no settings repeat this run \(the configuration is not that"
    ):
        settings_of(record, [])


def test_more_epochs_of_a_falling_learning_rate_are_another_run(
    toy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    half = run(toy, "BPR", 3, lr_scheduler="cosine")
    run(toy, "BPR", 6, resume=half["folder"], lr_scheduler="cosine")
    assert "epochs 3 -> 6" in caplog.text


def test_a_second_writer_is_refused(toy: Path, processes: BaseContext) -> None:
    second = build(toy, "TwoTerms", 50 * EPOCHS)
    process, last = start(processes, toy, "TwoTerms", 50 * EPOCHS)  # it is not to end meanwhile
    try:
        with pytest.raises(WrongUse, match="another process is writing this run"):
            fit(resumed(second, last.parent))
        assert process.is_alive(), "it had ended: give it more epochs"
    finally:
        process.kill()
