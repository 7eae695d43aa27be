from __future__ import annotations

import argparse
import json

import numpy as np
import pandas as pd
import pytest

from recbole_mm.errors import Failure, Interrupted, WrongUse
from recbole_mm.quick_start import runs as module
from recbole_mm.quick_start import session as session_module
from recbole_mm.quick_start.compare import add_arguments, compare, main, seed_list
from recbole_mm.run.comparison import Comparison
from recbole_mm.run.folder import RunFolder, RunResult

# test NDCG of a model, validation score
QUALITY = {"ItemKNN": (0.25, 0.20), "BPR": (0.10, 0.30), "CMC": (0.40, 0.50), "VBPR": (0.30, 0.40)}


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """A training that takes no time: its scores follow from the model and the seed."""
    made = []

    def run_one(spec, callbacks, log, before=None, **_):
        name, seed = spec.model, spec.seed
        made.append((name, seed, spec.config_dict()))
        test, valid = QUALITY[name]
        shift = 0.0 if name == "ItemKNN" else (seed - 2020) / 100
        noise = np.random.default_rng([seed, *name.encode()]).normal(0, 0.01, 40)
        queries = pd.DataFrame(
            {
                "user": [f"u{k}" for k in range(40)],
                "n_positives": 1,
                "ndcg@10": test + noise,
                "auc": 0.5 + noise,
            }
        )
        record = {
            "model": name,
            "seed": seed,
            "best_valid_score": valid + shift,
            "test_result": {"ndcg@10": test + shift, "gauc": 0.5},
            "epochs_run": 7,
            "stopped_by": "cap" if name == "BPR" else "early stopping",
            "seconds": 2.0,
        }
        history = (
            [{"epoch": 0, "batches": 2, "terms": {"contrastive": 4.0, "domain": 2.0}}]
            if name == "CMC"
            else []
        )
        folder = RunFolder.create(spec.settings["checkpoint_dir"], spec)
        folder.start_history(history)
        folder.finish(RunResult(record, queries, None), "best")
        return folder, folder.result()

    monkeypatch.setattr(module, "run_one", run_one)
    monkeypatch.setattr(session_module, "ensure_embedded_stores", lambda config: None)
    monkeypatch.chdir(tmp_path)
    return made


def toy(**more):
    options = {
        "models": ["ItemKNN", "BPR", "CMC"],
        "dataset": "ml-100k",
        "seeds": 2,
        "metrics": ["ndcg@10", "gauc"],
    }
    return compare(**{**options, "out": "out", **more})


def test_every_row_runs_under_every_seed_with_one_budget(calls):
    toy(config_dict={"epochs": 9})
    assert {(name, seed) for name, seed, _ in calls} == {
        (name, seed) for name in ("ItemKNN", "BPR", "CMC") for seed in (2020, 2021)
    }
    shared = ("epochs", "stopping_step", "eval_step", "valid_metric", "metrics", "topk")
    assert len({tuple(str(settings[key]) for key in shared) for *_, settings in calls}) == 1
    assert calls[0][2]["epochs"] == 9


def test_the_files_hold_what_was_run(calls, tmp_path):
    comparison = toy(command="recbole-mm compare ...")
    assert not comparison.failed
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert result["reference"] == "BPR"  # best on validation, though ItemKNN is better on test
    assert result["budget"]["epochs"] == 300
    assert result["split"]["split_seed"] == 2020
    assert result["command"] == "recbole-mm compare ..."
    rows = {row["label"]: row for row in result["rows"]}
    assert rows["CMC"]["metrics"]["ndcg@10"]["values"] == pytest.approx([0.40, 0.41])
    assert rows["BPR"]["stopped_by_cap"] == [2020, 2021]
    assert set(rows["CMC"]["per_seed"]) == {"2020", "2021"}
    table = pd.read_csv(tmp_path / "out/table.csv").set_index("label")
    assert table.loc["CMC", "ndcg@10"] == pytest.approx(0.405)
    assert table.loc["CMC", "ndcg@10 std"] == pytest.approx(0.01 / 2**0.5)
    text = (tmp_path / "out/table.md").read_text()
    assert "BPR†" in text
    assert "cap of 300 epochs" in text
    assert "contrastive" in (tmp_path / "out/curves.html").read_text()


def test_a_killed_comparison_goes_on_with_what_is_unfinished(calls, monkeypatch, capsys):
    inner = module.run_one

    def dies(*arguments, **kwargs):
        if len(calls) == 3:
            raise KeyboardInterrupt
        return inner(*arguments, **kwargs)

    monkeypatch.setattr(module, "run_one", dies)
    with pytest.raises(Interrupted, match="3 of 6 runs are kept"):
        toy()
    monkeypatch.setattr(module, "run_one", inner)
    first = list(calls)
    comparison = toy()
    assert "3 of 6 runs are finished" in capsys.readouterr().out
    assert len(calls) == 6
    assert not {(n, s) for n, s, _ in first} & {(n, s) for n, s, _ in calls[3:]}
    assert all(len(row.runs) == 2 for row in comparison.rows)


def test_a_finished_comparison_runs_nothing_until_a_setting_changes_or_it_is_asked_to(calls):
    toy()
    toy()
    assert len(calls) == 6
    toy(config_dict={"learning_rate": 0.5})
    assert len(calls) == 12
    toy(fresh=True)
    assert len(calls) == 18
    toy(seeds=3)
    assert len(calls) == 21


def test_a_failing_row_does_not_take_the_others_with_it(calls, monkeypatch, tmp_path):
    inner = module.run_one

    def fails(spec, *arguments, **kwargs):
        if spec.model == "BPR":
            raise RuntimeError("out of\nmemory")
        return inner(spec, *arguments, **kwargs)

    monkeypatch.setattr(module, "run_one", fails)
    comparison = toy()
    assert comparison.failed
    assert len(comparison.row("CMC").runs) == 2
    assert comparison.row("BPR").errors == dict.fromkeys((2020, 2021), "RuntimeError: out of memory")
    assert "failed: RuntimeError: out of memory" in (tmp_path / "out/table.md").read_text()
    assert "Traceback" in next((tmp_path / "out/runs").glob("BPR-2020-*.error.txt")).read_text()
    monkeypatch.setattr(module, "run_one", inner)
    assert not toy().failed  # a failure is tried again


def same(one, other):
    """Equal in the plan, the records and the tables."""
    for a, b in zip(one.rows, other.rows, strict=True):
        assert (a.label, dict(a.settings), dict(a.errors)) == (b.label, dict(b.settings), dict(b.errors))
        assert {s: r.record for s, r in a.runs.items()} == {s: r.record for s, r in b.runs.items()}
        for seed, run in a.runs.items():
            pd.testing.assert_frame_equal(run.queries, b.runs[seed].queries)
            assert run.history == b.runs[seed].history
    return (list(one.columns), list(one.seeds), one.reference) == (
        list(other.columns),
        list(other.seeds),
        other.reference,
    )


def test_a_comparison_loads_back_also_from_elsewhere(calls, tmp_path):
    made = toy()
    assert same(made, Comparison.load("out"))
    (tmp_path / "out").rename(tmp_path / "moved")
    assert same(made, Comparison.load(tmp_path / "moved"))
    text = (tmp_path / "moved/comparison.json").read_text()
    assert str(tmp_path) not in text
    with pytest.raises(WrongUse, match="no comparison there"):
        Comparison.load("out")
    (tmp_path / "moved/comparison.json").write_text(text[:100])
    with pytest.raises(Failure, match="comparison cannot be read"):
        Comparison.load(tmp_path / "moved")


def test_rows_and_seeds_are_added_to_a_finished_comparison(calls, tmp_path):
    toy(models=["ItemKNN", "BPR"], config_dict={"epochs": 9}, out=tmp_path / "first")
    (tmp_path / "first").rename(tmp_path / "out")
    comparison = toy(models=["CMC"], seeds=[2020, 2030], add=True, config_dict={"epochs": 9})
    assert not (tmp_path / "first").exists()
    assert same(comparison, Comparison.load(tmp_path / "out"))
    assert [row.label for row in comparison.rows] == ["ItemKNN", "BPR", "CMC"]
    assert list(comparison.seeds) == [2020, 2021, 2030]
    assert all(set(row.runs) == {2020, 2021, 2030} for row in comparison.rows)
    assert len(calls) == 9  # 2 + 2 of before, the third seed of both, three of CMC
    with pytest.raises(WrongUse, match="CMC would run with epochs: 7, ItemKNN with 9"):
        toy(models=["CMC"], add=True, config_dict={"epochs": 7})


def test_the_reference_of_a_table_stands_when_rows_are_added(calls, tmp_path):
    rows = [{"model": "ItemKNN"}, {"model": "BPR"}, {"model": "CMC"}]
    for name, reference in (("one", "ItemKNN"), ("two", "BPR")):
        (tmp_path / f"{name}.yaml").write_text(json.dumps({"rows": rows, "reference": reference}))
    one, two = ([str(tmp_path / f"{name}.yaml")] for name in ("one", "two"))
    assert toy(presets=one, models=["ItemKNN"], seeds=1).reference == "ItemKNN"
    assert toy(presets=one, models=["CMC"], seeds=1, add=True).reference == "ItemKNN"
    assert toy(presets=two, models=["BPR"], seeds=1, add=True).reference == "ItemKNN"
    assert toy(presets=two, models=["CMC"], seeds=1, out="other").reference is None


def test_controls_keep_their_switch_against_the_command_line(calls):
    toy(
        models=["CMC"],
        seeds=1,
        controls=["ids", "shuffled", "noise"],
        missing=[0, 0.5],
        config_dict={"modalities": ["text"], "epochs": 3},
    )
    seen = [{k: s.get(k) for k in ("modalities", "feature_control", "feature_missing")} for *_, s in calls]
    assert seen == [
        {"modalities": ["text"], "feature_control": None, "feature_missing": None},
        {"modalities": [], "feature_control": None, "feature_missing": None},
        {"modalities": ["text"], "feature_control": "shuffled", "feature_missing": None},
        {"modalities": ["text"], "feature_control": "noise", "feature_missing": None},
        {"modalities": ["text"], "feature_control": None, "feature_missing": 0.5},
    ]


def test_a_key_goes_to_the_rows_whose_model_knows_it(calls, tmp_path, monkeypatch):
    (tmp_path / "tiny.py").write_text(
        "from recbole.model.general_recommender import BPR\n"
        "class TinyMF(BPR):\n"
        "    def __init__(self, config, dataset):\n"
        "        self.dim = config['tiny_dim']\n"
    )
    models = ["BPR", "tiny.py:TinyMF"]
    monkeypatch.setitem(QUALITY, "tiny.py:TinyMF", (0.2, 0.3))
    toy(models=models, seeds=1, config_dict={"tiny_dim": 8, "epochs": 3})
    seen = {name: (settings.get("tiny_dim"), settings["epochs"]) for name, _, settings in calls}
    assert seen == {"BPR": (None, 3), "tiny.py:TinyMF": (8, 3)}
    # a word that none knows is refused, whatever the order, with the nearest that one knows
    for order in (models, models[::-1]):
        with pytest.raises(WrongUse, match=r"unknown key 'tiny_dmi'.*did you mean 'tiny_dim'"):
            toy(models=order, config_dict={"tiny_dmi": 8})
    with pytest.raises(WrongUse, match="unknown key 'tiny_dim'"):
        toy(models=["BPR", "CMC"], config_dict={"tiny_dim": 8})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"models": ["BPR", "CMCC"]}, "did you mean 'CMC'"),
        ({"config_dict": {"learnign_rate": 1}}, "learning_rate"),
        ({"config_dict": {"seed": 1}}, "--seeds"),
        ({"config_dict": {"checkpoint_dir": "x"}}, "--out"),
        ({"dataset": "nosuch"}, "nosuch"),
        ({"seeds": 0}, "--seeds"),
        ({"metrics": ["ndgc@10"]}, "did you mean 'NDCG'"),
        ({"metrics": ["ndcg"]}, "ndcg@10"),
    ],
)
def test_what_cannot_be_configured_is_said_before_anything_runs(calls, options, words):
    with pytest.raises(WrongUse) as caught:
        toy(**options)
    assert words in str(caught.value)
    assert calls == []


def test_seeds_are_a_count_or_a_list():
    assert seed_list(3) == [2020, 2021, 2022]
    assert seed_list([7, 5]) == [7, 5]
    with pytest.raises(WrongUse):
        seed_list([5, 5])


def test_the_command_prints_the_table_and_tells_of_failures_by_its_exit_code(calls, monkeypatch, capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = "--models BPR,CMC --dataset ml-100k --seeds 2020,2021 --metrics ndcg@10 --out here --epochs=4"
    args, args.overrides = parser.parse_known_args(words.split())[0], ["--epochs=4"]
    assert main(args) == 0
    said = capsys.readouterr().out
    assert "| CMC" in said
    assert "wrote here/" in said
    assert "[4/4]" in said
    assert calls[0][2]["epochs"] == 4

    monkeypatch.setattr(module, "run_one", lambda *_, **__: 1 / 0)
    args.fresh = True
    assert main(args) == 1


def test_rows_are_tuned_with_equal_effort_before_the_seeds(calls, monkeypatch, tmp_path):
    found = compare(["BPR", "ItemKNN"], "ml-100k", 2, out="out", tune=2, metrics=["ndcg@10"])
    searched = {name: [given for n, seed, given in calls[:4] if n == name] for name in ("BPR", "ItemKNN")}
    assert [len(trials) for trials in searched.values()] == [2, 2]
    # what the table asks, by which context models rank
    assert all(given["metrics"] == ["ndcg"] and given["topk"] == [10] for _, _, given in calls[:4])
    rows = {row.label: row for row in found.rows}
    assert rows["BPR"].search["trials"] == 2 and rows["BPR"].search["epochs"] == 14
    point = rows["BPR"].search["point"]
    runs = [given for name, _, given in calls[4:] if name == "BPR"]
    assert len(runs) == 2 and all(point.items() <= given.items() for given in runs)
    table = (tmp_path / "out/table.md").read_text()
    assert "trials" in table and "search time" in table and "2 (14 epochs)" in table
    assert list(pd.read_csv(tmp_path / "out/table.csv")["trials"]) == [2, 2]
    document = json.loads((tmp_path / "out/result.json").read_text())
    assert document["rows"][0]["search"]["searcher"] == "grid"
    again = Comparison.load("out").row("BPR")
    assert again.search["point"] == point
    assert all(run.record["search"] == again.search for run in again.runs.values())
    with pytest.raises(WrongUse, match=r"^--tune: no search space of NARM; write .*/tune/NARM.yaml"):
        compare(["BPR", "NARM"], "ml-100k", 2, out="other", tune=2)


def test_a_row_that_is_replaced_is_said(calls, caplog):
    toy(models=["CMC", "BPR"], seeds=1)
    toy(models=["CMC"], seeds=1, add=True)
    assert "--add" not in caplog.text
    toy(models=["BPR"], seeds=1, add=True, config_dict={"embedding_size": 8})
    assert "--add: row 'BPR' was there with other settings: embedding_size None -> 8" in caplog.text
