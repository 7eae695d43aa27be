"""The search on Ray, with real processes; one local Ray for all tests of this file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from recbole_mm.config import Config
from recbole_mm.files import read_lines
from recbole_mm.quick_start.search.method import Method
from recbole_mm.quick_start.tune import tune
from recbole_mm.testing import write_toy

ROOT = Path(__file__).parents[2]
# In a process of Ray's it dies by what it is asked to, and no file of the data may be opened there.
MODEL = """
import os, signal, sys
from pathlib import Path
import torch
from recbole.model.general_recommender import BPR

IN_RAY = sys.argv[0].endswith("default_worker.py")


def refuse(event, arguments):
    if event == "open" and "/toy/toy." in str(arguments[0]):
        raise RuntimeError(f"a trial opened {arguments[0]}")


if IN_RAY:
    sys.addaudithook(refuse)


class Moody(BPR):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.mood, self.seen = config["mood"], 0
        if self.mood == "memory":
            torch.empty(1 << 50)

    def calculate_loss(self, interaction):
        self.seen += 1
        if self.mood == "nan":
            return super().calculate_loss(interaction) * float("nan")
        if self.mood == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mood == "slow":
            import time
            time.sleep(0.2)
        if self.mood == "once" and self.seen == 12 and not Path("killed").exists():
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().calculate_loss(interaction)
"""


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.tune")
    from recbole_mm.quick_start.cluster import connected

    with connected(None):
        assert ray.is_initialized()
        yield


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moody.py").write_text(MODEL)
    settings = {**write_toy(tmp_path, []), "epochs": 4, "embedding_size": 8}
    del settings["checkpoint_dir"]
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(settings))
    return settings


def search(settings: dict[str, Any], space: str, out: str, **how: Any) -> Any:
    Path("space.yaml").write_text(space)
    trials = how.pop("trials", 4)
    method = Method(how.pop("engine", "ray"), how.pop("searcher", None), how)
    return tune(
        "moody.py:Moody", "toy", trials, space="space.yaml", out=out, config_dict=settings, method=method
    )  # fmt: skip


@pytest.mark.usefixtures("local_ray")
def test_trials_fail_with_a_reason_and_the_others_have_the_digits_of_the_local_engine(
    toy: dict[str, Any],
) -> None:
    space = "mood: [fine, nan, memory]\nlearning_rate: [0.01]\n"
    on_ray, here = (search(toy, space, engine, engine=engine) for engine in ("ray", "local"))
    assert [trial["status"] for trial in on_ray.trials].count("failed") == 2
    for trial, other in zip(on_ray.trials, here.trials, strict=True):
        told = ("point", "key", "status", "error", "best_valid_result", "epochs_run")
        assert {name: trial[name] for name in told} == {name: other[name] for name in told}
    errors = {trial["point"]["mood"]: trial["error"] for trial in on_ray.trials}
    assert errors["nan"].startswith("the training loss is NaN in epoch 1, batch 1")
    assert "allocate" in errors["memory"] and errors["fine"] is None
    assert on_ray.test_result == here.test_result and on_ray.test_result
    assert on_ray.best["threads"] == 1 and on_ray.how["engine"] == "ray"


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_trial_whose_process_is_killed_goes_on_once_and_then_fails(toy: dict[str, Any]) -> None:
    found = search(toy, "mood: [killed, once]\nlearning_rate: [0.01]\n", "out")
    trials = {trial["point"]["mood"]: trial for trial in found.trials}
    assert trials["killed"]["error"] == "its process was killed, twice: out of memory, or its machine is gone"
    assert trials["once"]["status"] == "finished" and trials["once"]["epochs_run"] == 4
    fine = search(toy, "mood: [fine]\nlearning_rate: [0.01]\n", "fine", engine="local")
    assert trials["once"]["best_valid_result"] == fine.best["best_valid_result"]  # bit for bit


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray", "toy")
def test_a_pretraining_is_made_once_by_the_driver_for_all_trials_and_workers(tmp_path: Path) -> None:
    from recbole_mm.quick_start.distributed import Group, run_distributed

    cpmm = {"model": "CPMM", "embedding_size": 8, "input_size": 6, "train_batch_size": 8, "epochs": 2}
    settings = {**write_toy(tmp_path / "more"), "embedding_size": 8}
    del settings["checkpoint_dir"]
    rates = "mood: [fine]\nlearning_rate: [0.01, 0.02]\n"
    on_ray, here = (
        search({**settings, "pretrain": cpmm}, rates, name, engine=name) for name in ("ray", "local")
    )
    told = ("point", "key", "status", "error", "best_valid_result")
    for trial, other in zip(on_ray.trials, here.trials, strict=True):
        assert {name: trial[name] for name in told} == {name: other[name] for name in told}
    assert on_ray.test_result == here.test_result and on_ray.test_result
    (made,) = Path("ray/runs/pretrained").glob("*/vectors")
    best = yaml.safe_load(Path("ray/best.yaml").read_text())
    assert best["pretrain"] == cpmm and "pretrained_items" not in best
    for file in Path("ray/runs").glob("*/spec.yaml"):
        given = yaml.safe_load(file.read_text())["run"]
        assert given["pretrain"] == cpmm and Path(given["pretrained_items"]).samefile(made / "items")

    lines = f"mood: [fine]\npretrain: {json.dumps([cpmm, {**cpmm, 'epochs': 1}, None])}\n"
    searched = search(settings, lines, "searched")
    assert [trial["error"] for trial in searched.trials] == [None] * 3
    assert len(list(Path("searched/runs/pretrained").glob("*/vectors"))) == 2

    given = {**settings, "pretrain": cpmm, "mood": "fine", "checkpoint_dir": "together"}
    folder = run_distributed(Config("moody.py:Moody", "toy", config_dict=given), Group(2))
    assert folder.result().record["test_result"] and folder.read_spec().settings["pretrain"] == cpmm
    assert len(list(Path("together/pretrained").iterdir())) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("scheduler", ["asha", "median", "pbt"])
def test_a_scheduler_ends_trials_early_or_changes_them(toy: dict[str, Any], scheduler: str) -> None:
    space = "learning_rate: {loguniform: [0.0001, 0.1]}\nmood: [fine]\n"
    grace = None if scheduler == "asha" else 1
    found = search({**toy, "epochs": 9}, space, "out", scheduler=scheduler, grace=grace, trials=6)
    assert len(found.trials) == 6 and not [trial for trial in found.trials if trial["error"]]
    assert found.best["best_valid_score"] == max(trial["best_valid_score"] for trial in found.trials)
    pruned = [trial for trial in found.trials if trial["status"] == "pruned"]
    if scheduler == "asha":
        assert sorted(trial["epochs_run"] for trial in found.trials) == [3, 3, 3, 5, 9, 9]
    if scheduler != "pbt":
        assert pruned and found.epochs < 54
        assert all(trial["stopped_by"] == "pruned" for trial in pruned)


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("searcher", ["optuna", "hyperopt"])
def test_a_searcher_that_learns_gives_the_same_trials_again(toy: dict[str, Any], searcher: str) -> None:
    pytest.importorskip(searcher)
    space = "learning_rate: {loguniform: [0.0001, 0.1]}\nmood: [fine]\n"
    first, again = (search(toy, space, out, searcher=searcher, trials=6) for out in ("a", "b"))
    told = [
        [(trial["point"], trial["best_valid_score"]) for trial in found.trials] for found in (first, again)
    ]
    assert told[0] == told[1]


def _start(*words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "recbole_mm", *words],
        env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def _wait_for(done: Any, process: subprocess.Popen[str], seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until and process.poll() is None, process.communicate()[0]
        time.sleep(0.2)


@pytest.mark.slow
def test_a_search_whose_driver_is_killed_goes_on_where_it_was(toy: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (tmp_path / "space.yaml").write_text("mood: [slow]\nlearning_rate: [0.001, 0.01, 0.1]\n")
    words = ["tune", "--model", "moody.py:Moody", "--dataset", "toy", "--config_files", "toy.yaml", "--space",
             "space.yaml", "--samples", "3", "--engine", "ray", "--out", "out", "--concurrent", "1"]  # fmt: skip
    runs = tmp_path / "out/runs"
    process = _start(*words)
    _wait_for(
        lambda: (
            list(runs.glob("*/record.json"))
            and any(
                len(read_lines(file)) >= 2 and not (file.parent / "record.json").is_file()
                for file in runs.glob("*/history.jsonl")
            )
        ),
        process,
    )
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    written = {file: file.stat().st_mtime_ns for file in runs.glob("*/record.json")}
    begun = {file.parent for file in runs.glob("*/history.jsonl")}
    again = _start(*words)
    said = again.communicate(timeout=600)[0]
    assert again.returncode == 0, said
    assert {file: file.stat().st_mtime_ns for file in written} == written  # not run again
    trials = json.loads((tmp_path / "out/trials.json").read_text())["trials"]
    assert [trial["epochs_run"] for trial in trials] == [4, 4, 4]
    folders = {file.parent for file in runs.glob("*/record.json")}
    assert begun <= folders and len(folders) == 3  # the one that ran went on in its folder
    for folder in folders:
        assert [each["epoch"] for each in read_lines(folder / "history.jsonl")] == [0, 1, 2, 3]


@pytest.mark.slow
def test_a_worker_that_dies_is_started_again_from_the_last_epoch(toy: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    words = ["run", "--model", "moody.py:Moody", "--dataset", "toy", "--config_files", "toy.yaml",
             "--engine", "ray", "--workers", "2"]  # fmt: skip
    for mood in ("fine", "once"):
        process = _start(*words, f"--mood={mood}", "--checkpoint_dir", mood)
        said = process.communicate(timeout=600)[0]
        assert process.returncode == 0, said
    assert (tmp_path / "killed").is_file()
    records = [
        json.loads(next((tmp_path / mood).glob("*/record.json")).read_text()) for mood in ("fine", "once")
    ]
    assert records[0]["test_result"] == records[1]["test_result"]
    assert records[0]["epochs_run"] == records[1]["epochs_run"] == 4


@pytest.mark.slow
def test_a_cluster_of_two_nodes_gets_the_code_and_runs_the_trials(
    toy: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    script = """
import json, sys
sys.path.insert(0, ROOT)  # here alone: the workers have what is shipped to them
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
from recbole_mm.cli import main
code = main(["tune", "--model", "moody.py:Moody", "--dataset", "toy", "--config_files", "toy.yaml", "--space",
    "space.yaml", "--samples", "2", "--address", cluster.address, "--out", "out"])
cluster.shutdown()
sys.exit(code)
"""
    (tmp_path / "space.yaml").write_text("mood: [fine]\nlearning_rate: [0.001, 0.01]\n")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-c", script.replace("ROOT", repr(str(ROOT)))],
        env=environment,
        text=True,
        capture_output=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    trials = json.loads((tmp_path / "out/trials.json").read_text())["trials"]
    assert [trial["status"] for trial in trials] == ["finished", "finished"]
