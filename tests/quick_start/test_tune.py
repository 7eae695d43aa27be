from __future__ import annotations

import json
import sys

import pandas as pd
import pytest
import yaml

from recbole_mm.cli import main
from recbole_mm.config import Config
from recbole_mm.errors import Failure, Interrupted, WrongUse
from recbole_mm.files import read_lines
from recbole_mm.quick_start import runs as module
from recbole_mm.quick_start.preset import load_preset, rows_of
from recbole_mm.quick_start.search import search as search_module
from recbole_mm.quick_start.search.desk import Trial
from recbole_mm.quick_start.search.method import Method
from recbole_mm.quick_start.search.outcome import best_of
from recbole_mm.quick_start.tune import tune
from recbole_mm.run.folder import RunFolder, RunResult, run_folders


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Validation is best at learning rate .003; the test set must not be asked for."""
    made = []

    monkeypatch.setattr(search_module, "_test", lambda trial: {"ndcg@10": 0.5})

    def run_one(spec, callbacks, log, before, **options):
        assert options == {"test": False}
        rate, size = (spec.settings[key] for key in ("learning_rate", "train_batch_size"))
        made.append((rate, size))
        score = 0.5 - abs(rate - 0.003) - size / 1e6
        record = {"best_valid_score": score, "best_valid_result": {"ndcg@10": score}, "test_result": None}
        record |= {"epochs_run": 3, "stopped_by": "early stopping", "seconds": 1.0, "files": {}}
        folder = RunFolder.create(spec.settings["checkpoint_dir"], spec)
        folder.start_history([])
        folder.finish(RunResult(record), "none")
        return folder, folder.result()

    monkeypatch.setattr(module, "run_one", run_one)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text("learning_rate: [1e-3, 3e-3, 1e-2]\ntrain_batch_size: [512, 2048]\n")
    return made


def fail_at(rate, error, monkeypatch):
    """Trials with this learning rate end with the error."""
    inner = module.run_one

    def fails(spec, *arguments, **options):
        if spec.settings["learning_rate"] == rate:
            raise error
        return inner(spec, *arguments, **options)

    monkeypatch.setattr(module, "run_one", fails)


def search(**more):
    return tune("BPR", "ml-100k", **{"trials": None, "space": "space.yaml", "out": "out", **more})


def test_the_best_point_on_validation_is_found_and_taken_by_run_and_compare(calls, tmp_path):
    found = search(command="recbole-mm tune ...")
    assert len(calls) == len(set(calls)) == 6
    assert found.best["point"] == {"learning_rate": 0.003, "train_batch_size": 512}
    folder = run_folders(tmp_path / "out/runs")[found.best["key"]]
    searched = folder.result().record["search"]
    assert searched == found.effort() and (searched["trials"], searched["epochs"]) == (6, 18)
    text = (tmp_path / "out/best.yaml").read_text()
    assert "recbole-mm tune ..." in text
    point = {"learning_rate": 0.003, "train_batch_size": 512}
    assert yaml.safe_load(text) == {"model": "BPR", "dataset": "ml-100k", **point}
    config = Config(config_file_list=[tmp_path / "out/best.yaml"])
    assert (config["model"], config["dataset"], config["train_batch_size"]) == ("BPR", "ml-100k", 512)
    # a preset in the form of earlier versions is read, too
    (tmp_path / "old.yaml").write_text(yaml.safe_dump({"datasets": {"ml-100k": {"models": {"BPR": point}}}}))
    for best in ("out/best.yaml", "old.yaml"):
        preset = load_preset(["ml-100k", str(tmp_path / best)])
        row = next(row for row in rows_of(preset) if row.model == "BPR")
        assert preset.settings(row, "ml-100k", {}, {})["train_batch_size"] == 512
        other = next(row for row in rows_of(preset) if row.model != "BPR")
        assert preset.settings(other, "ml-100k", {}, {}).get("train_batch_size") != 512


def test_what_all_trials_were_held_at_is_part_of_what_was_found(calls, tmp_path):
    search(config_dict={"embedding_size": 8, "epochs": 7})
    text = (tmp_path / "out/best.yaml").read_text()
    found = yaml.safe_load(text)
    assert found["embedding_size"] == 8 and "epochs" not in found  # a table has one budget
    (line,) = (line for line in text.splitlines() if line.startswith("# held at, and not set here: "))
    assert json.loads(line.partition(": ")[2])["epochs"] == 7


def test_trials_come_in_an_order_the_seed_decides_and_fewer_are_the_first_of_more(calls):
    search()
    whole = calls[:]
    search(order_seed=1, out="other")
    assert calls[6:] != whole and sorted(calls[6:]) == sorted(whole)
    search(trials=2, out="two")
    assert calls[12:] == whole[:2]


def test_an_interrupted_search_goes_on(calls, monkeypatch, tmp_path):
    inner = module.run_one

    def dies(*arguments, **options):
        if len(calls) == 2:
            raise KeyboardInterrupt
        return inner(*arguments, **options)

    monkeypatch.setattr(module, "run_one", dies)
    with pytest.raises(Interrupted):
        search()
    monkeypatch.setattr(module, "run_one", inner)
    found = search()
    assert len(calls) == len(set(calls)) == 6
    assert len(found.trials) == 6
    assert len(read_lines(tmp_path / "out/trials.jsonl")) == 6
    assert search().best == found.best and len(calls) == 6
    assert search(fresh=True).best["point"] == found.best["point"] and len(calls) == 12


def test_a_trial_that_fails_is_kept_in_the_journal_and_not_chosen(calls, monkeypatch, tmp_path):
    fail_at(0.003, RuntimeError("NaN"), monkeypatch)
    assert search().best["point"]["learning_rate"] == 0.001
    errors = [json.loads(line)["error"] for line in (tmp_path / "out/trials.jsonl").read_text().splitlines()]
    assert errors.count("RuntimeError: NaN") == 2 and errors.count(None) == 4
    monkeypatch.setattr(module, "run_one", lambda *_, **__: 1 / 0)
    with pytest.raises(Failure, match="no trial of BPR finished"):
        search(out="none")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learning_rate: 0.1", "must be a list of values or one of"),
        ("epochs: [1, 2]", "epochs"),
        ("learnign_rate: [1]", "learning_rate"),
        ("", "empty"),
    ],
)
def test_a_malformed_space_is_refused_before_anything_runs(calls, tmp_path, text, words):
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(WrongUse, match=words):
        search()
    assert calls == []


def test_a_searched_key_cannot_be_given_too(calls):
    with pytest.raises(WrongUse, match="--learning_rate"):
        search(config_dict={"learning_rate": 0.1})


@pytest.mark.usefixtures("calls")
def test_a_sequential_model_is_searched_with_the_mask_of_a_table(tmp_path):
    found = tune("SASRec", "ml-100k", trials=1, space="space.yaml", out="out")
    (folder,) = (tmp_path / "out/runs").iterdir()
    assert RunFolder(folder).read_spec().settings["mask_seen"] == "train+valid"
    assert found.best


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Method("rya"), "--engine: no 'rya'; did you mean 'ray'?"),
        (Method(ray={"scheduler": "ahsa"}), "--scheduler: no 'ahsa'; did you mean 'asha'?"),
        (Method("local", ray={"scheduler": "asha"}),
         "--scheduler needs --engine ray; --engine local runs trials one after another"),
        (Method("local", ray={"at_once": 2}),
         "--concurrent needs --engine ray; --engine local runs trials one after another"),
        (Method(searcher="random"), "--samples all: --searcher random has no last point; give a number"),
    ],
)  # fmt: skip
def test_a_method_that_does_not_fit_is_refused(calls, method, message):
    with pytest.raises(WrongUse) as error:
        search(method=method)
    assert str(error.value) == message and calls == []


def test_without_ray_the_error_names_the_extra(calls, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WrongUse, match=r'^--engine ray needs Ray: pip install "recbole_mm\[ray\]"$'):
        search(method=Method(ray={"scheduler": "asha"}))


def test_a_point_that_cannot_be_configured_is_a_failed_trial(calls, tmp_path):
    (tmp_path / "space.yaml").write_text("learning_rate: [-1.0, 0.003]\ntrain_batch_size: [512]\n")
    found = search()
    assert [trial["status"] for trial in found.trials].count("failed") == 1
    (failed,) = [trial for trial in found.trials if trial["error"]]
    assert failed["point"]["learning_rate"] == -1.0 and "learning_rate" in failed["error"]
    assert calls == [(0.003, 512)] and found.best["point"]["learning_rate"] == 0.003


def test_the_table_of_trials_and_the_picture_are_written(calls, tmp_path):
    search()
    table = pd.read_csv(tmp_path / "out/trials.csv")
    assert list(table.columns[:3]) == ["trial", "learning_rate", "train_batch_size"]
    assert table["best_valid_score"].max() == pytest.approx(0.5 - 512 / 1e6) and len(table) == 6
    whole = json.loads((tmp_path / "out/trials.json").read_text())
    assert (whole["n_trials"], whole["epochs"], whole["test_result"]) == (6, 18, {"ndcg@10": 0.5})
    assert whole["engine"] == "local" and whole["searcher"] == "grid" and whole["threads"] == 1
    page = (tmp_path / "out/search.html").read_text()
    assert "parcoords" in page and "Importance" in page and "<script src" not in page


def test_an_idle_key_of_the_space_and_failed_trials_are_said(calls, tmp_path, monkeypatch, caplog, capsys):
    (tmp_path / "idle.yaml").write_text(
        "learning_rate: [1e-3, 3e-3]\nn_layers: [1, 2]\ntrain_batch_size: [512]\n"
    )
    search(space="idle.yaml")
    assert "the space: n_layers: no effect with BPR: it has no such key" in caplog.text
    fail_at(0.003, Failure("no luck"), monkeypatch)
    arguments = [
        "tune",
        "--model=BPR",
        "--dataset=ml-100k",
        "--space=idle.yaml",
        "--samples=all",
        "--out=some",
    ]
    assert main(arguments) == 0
    assert "2 of 4 trials failed, the first: " in capsys.readouterr().out


def test_points_that_look_alike_are_runs_of_their_own(calls, tmp_path):
    rates = [0.0123441, 0.0123442, 0.0123443]
    (tmp_path / "near.yaml").write_text(f"learning_rate: {rates}\ntrain_batch_size: [512]\n")
    assert sorted(trial["point"]["learning_rate"] for trial in search(space="near.yaml").trials) == rates
    assert sorted(rate for rate, _ in calls) == rates


def test_a_search_that_is_repeated_keeps_its_test_figures_and_its_effort(calls, monkeypatch):
    first = search()
    monkeypatch.setattr(search_module, "_test", lambda trial: None)  # the weights are gone
    again = search()
    assert len(calls) == 6 and again.test_result == first.test_result == {"ndcg@10": 0.5}
    assert again.effort() == first.effort() and first.effort()["seconds"] == 6.0


def test_a_key_of_a_file_is_not_searched_over(calls, tmp_path):
    (tmp_path / "mine.yaml").write_text("learning_rate: 0.5\n")
    with pytest.raises(WrongUse, match=r"^learning_rate \(--config_files\) is given and is searched"):
        search(config_files=["mine.yaml"])


def test_nan_is_never_the_best():
    trials = [Trial(number, {}) for number in range(3)]
    for trial, score in zip(trials, (float("nan"), 0.3, 0.2), strict=True):
        trial.record = {"best_valid_score": score}
    assert best_of(trials, True) is trials[1] and best_of(trials[:1], True) is None


def test_a_search_knows_the_test_figures_of_all_searches_before_it(calls, monkeypatch, tmp_path, caplog):
    first = search()
    monkeypatch.setattr(search_module, "_test", lambda trial: None)  # the weights are gone
    (tmp_path / "other.yaml").write_text("learning_rate: [1e-3]\ntrain_batch_size: [512]\n")
    between = search(space="other.yaml")
    assert len(calls) == 6 and between.test_result is None  # finished, and never the best
    (line,) = [each.getMessage() for each in caplog.records if "no test result" in each.getMessage()]
    folder = run_folders(tmp_path / "out/runs")[between.best["key"]].path
    assert f"remove out/runs/{folder.name}, or add --fresh" in line
    again = search()
    assert again.test_result == first.test_result == {"ndcg@10": 0.5}
    assert sum("no test result" in each.getMessage() for each in caplog.records) == 1
    plain = json.loads((tmp_path / "out/trials.json").read_text())
    assert plain["tested"] == {first.best["key"]: first.test_result}
    # as an earlier version wrote it
    del plain["tested"]
    (tmp_path / "out/trials.json").write_text(json.dumps(plain))
    assert search().test_result == first.test_result
