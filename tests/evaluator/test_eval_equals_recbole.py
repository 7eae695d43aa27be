"""Every metric that RecBole has, one model of each family, every mode, to 1e-6."""

from __future__ import annotations

import pytest

from recbole_mm.evaluator import Evaluator
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec

RANKED = ["NDCG", "Recall", "Precision", "F1", "Hit", "MRR", "MAP", "GAUC", "MeanAUC"]
ITEM = ["ItemCoverage", "GiniIndex", "AveragePopularity", "ShannonEntropy", "TailPercentage"]
LEAVE_ONE_OUT = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"}
RATIO = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user"}
KG = {
    "load_col": {
        "inter": ["user_id", "item_id", "rating", "timestamp"],
        "kg": ["head_id", "relation_id", "tail_id"],
        "link": ["item_id", "entity_id"],
    }
}
SEQUENTIAL = {
    "train_neg_sample_args": None,
    "MAX_ITEM_LIST_LENGTH": 10,
    "n_layers": 1,
    "hidden_size": 16,
    "inner_size": 16,
}
CONTEXT = {
    "threshold": {"rating": 4},
    "load_col": {
        "inter": ["user_id", "item_id", "rating", "timestamp"],
        "item": ["item_id", "release_year"],
        "user": ["user_id", "age"],
    },
}
CASES = {
    "general full": ("BPR", {"eval_args": {**RATIO, "mode": "full"}}),
    "general uni": ("BPR", {"eval_args": {**RATIO, "mode": "uni25"}}),
    "general pop": ("BPR", {"eval_args": {**RATIO, "mode": "pop25"}}),
    "graph full": ("LightGCN", {"eval_args": {**RATIO, "mode": "full"}}),
    "item matrix full": ("EASE", {"eval_args": {**RATIO, "mode": "full"}, "train_neg_sample_args": None}),
    "sequential full": ("SASRec", {"eval_args": {**LEAVE_ONE_OUT, "mode": "full"}, **SEQUENTIAL}),
    "sequential uni": ("SASRec", {"eval_args": {**LEAVE_ONE_OUT, "mode": "uni25"}, **SEQUENTIAL}),
    "knowledge full": ("CFKG", {"eval_args": {**RATIO, "mode": "full"}, **KG}),
    "context full": (
        "FM",
        {"eval_args": {**LEAVE_ONE_OUT, "mode": "full"}, **CONTEXT, "eval_batch_size": 5000},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_same_values(case: str, build, reseed) -> None:
    name, settings = CASES[case]
    settings = {
        "metrics": RANKED + ITEM,
        "topk": [1, 5, 20],
        "valid_metric": "NDCG@5",
        "tail_ratio": 0.2,
        **settings,
    }
    config, model, trainer, (train, valid, test) = build(name, **settings)
    trainer.eval_collector.data_collect(getattr(train, "general_dataloader", train))  # it knows no other
    evaluator = Evaluator(config)
    evaluator.data_collect(train)
    for loader in (valid, test):
        reseed()
        expected = trainer.evaluate(loader, load_best_model=False)
        reseed()
        found = evaluator.evaluate(model, loader).metrics
        assert list(found) == list(expected)
        assert dict(found) == pytest.approx(dict(expected), abs=1e-6)
        assert 0 < found["ndcg@20"] < 1


def test_labelled(build) -> None:
    settings = {
        **CONTEXT,
        "eval_args": {**RATIO, "mode": "labeled"},
        "metrics": ["AUC", "LogLoss", "MAE", "RMSE"],
        "valid_metric": "AUC",
    }
    config, model, trainer, (_, _, test) = build("DeepFM", **settings)
    expected = trainer.evaluate(test, load_best_model=False)
    result = Evaluator(config).evaluate(model, test)
    assert dict(result.metrics) == pytest.approx(dict(expected), abs=1e-6)
    assert list(result.queries.columns) == ["user", "label", "score"]


def test_blocks_of_any_size_give_the_same_values(build) -> None:
    settings = {
        "metrics": RANKED,
        "topk": [10],
        "valid_metric": "NDCG@10",
        "eval_args": {**RATIO, "mode": "full"},
    }
    config, model, _, (_, _, test) = build("BPR", **settings)
    one = Evaluator(config).evaluate(model, test).metrics
    config["eval_memory_mib"] = 1e-6  # one query at a time
    assert dict(Evaluator(config).evaluate(model, test).metrics) == pytest.approx(dict(one), abs=1e-7)


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("BPR", RATIO),
        ("CFKG", RATIO),
        ("SASRec", LEAVE_ONE_OUT),
        ("SASRec", {**RATIO, "order": "TO"}),
    ],
)
def test_a_session_counts_training_rows_for_either_evaluator(small, model: str, more) -> None:
    """Before it has trained, as one that was opened."""
    columns = {**KG["load_col"]} if model == "CFKG" else {"inter": KG["load_col"]["inter"]}
    found = []
    for evaluator in ("mm", "recbole"):
        settings = {
            **{"data_path": str(small), "checkpoint_dir": str(small / "saved"), "load_col": columns},
            **{"metrics": ["NDCG", *ITEM], "topk": [5], "valid_metric": "NDCG@5", "eval_args": more},
            **{"evaluator": evaluator, "sequence_split": "interactions", "show_progress": False},
            **(SEQUENTIAL if model == "SASRec" else {}),
        }
        found.append(Session.build(RunSpec(model, "ml-cut", settings, seed=1)).evaluate())
    assert found[0] == pytest.approx(found[1], abs=1e-4) and found[0]["averagepopularity@5"] > 0
