from __future__ import annotations

import pytest

from recbole_mm.report.statistics import order_sentences, reference_row, relative_change, spread
from recbole_mm.run.comparison import Comparison, RowResult
from recbole_mm.run.folder import RunResult


def run(
    valid: float, test: dict[str, float], stopped: str = "early stopping", queries=None, **more
) -> RunResult:
    record = {
        "best_valid_score": valid,
        "test_result": test,
        "stopped_by": stopped,
        "epochs_run": 10,
        "seconds": 4.0,
    }
    return RunResult({**record, **more}, queries)


def test_spread_is_mean_and_sample_standard_deviation():
    found = spread([0.1, 0.2, 0.6])
    assert found is not None
    assert found.mean == pytest.approx(0.3)
    # squares of -.2, -.1, .3 sum to .14; over n - 1 = 2
    assert found.std == pytest.approx(0.07**0.5)


def test_equal_values_have_exactly_no_spread():
    assert spread([0.1, 0.1, 0.1]).std == 0.0
    assert spread([0.4]).std == 0.0
    assert spread([]) is None


def two_baselines() -> list[RowResult]:
    """A is better on validation, B on test."""
    return [
        RowResult("A", "A", baseline=True, runs={2020: run(0.30, {"ndcg@10": 0.10})}),
        RowResult("B", "B", baseline=True, runs={2020: run(0.20, {"ndcg@10": 0.40})}),
        RowResult(
            "ours", "CMC", runs={2020: run(0.90, {"ndcg@10": 0.15}), 2021: run(0.90, {"ndcg@10": 0.25})}
        ),
    ]


def test_the_best_baseline_is_chosen_on_validation():
    comparison = Comparison(two_baselines(), ["ndcg@10"], "toy", [2020])
    assert reference_row(comparison).label == "A"


def test_a_smaller_validation_score_may_be_the_better_one():
    rows = two_baselines()
    for row in rows:
        for each in row.runs.values():
            each.record["valid_score_bigger"] = False
    assert reference_row(Comparison(rows, ["rmse"], "toy", [2020])).label == "B"


def test_a_failed_baseline_is_no_reference_and_a_named_row_is():
    rows = two_baselines()
    rows[0].runs.clear()
    rows[0].errors[2020] = "no"
    assert reference_row(Comparison(rows, ["ndcg@10"], "toy", [2020])).label == "B"
    assert reference_row(Comparison(rows, ["ndcg@10"], "toy", [2020], reference="ours")).label == "ours"


def test_relative_change_is_against_the_reference():
    a, _, ours = two_baselines()
    assert relative_change(ours, a, "ndcg@10") == pytest.approx(1.0)  # .2 against .1
    assert relative_change(a, ours, "ndcg@10") == pytest.approx(-0.5)
    assert relative_change(a, ours, "absent") is None


def test_order_is_said_only_where_it_differs():
    rows = [
        RowResult("MF", "BPR", published={"ndcg": 0.6}, runs={0: run(0, {"ndcg@10": 0.3, "s/ndcg@10": 0.1})}),
        RowResult(
            "CMC", "CMC", published={"ndcg": 0.7}, runs={0: run(0, {"ndcg@10": 0.2, "s/ndcg@10": 0.2})}
        ),
        RowResult("EASE", "EASE", runs={0: run(0, {"ndcg@10": 0.9, "s/ndcg@10": 0.9})}),
    ]
    both = Comparison(rows, ["ndcg@10"], "toy", [0], published_columns={"ndcg": ["s/ndcg@10", "ndcg@10"]})
    assert order_sentences(both) == [
        "Our order by ndcg@10 differs from the published one by NDCG: ours MF > CMC; published CMC > MF."
    ]
