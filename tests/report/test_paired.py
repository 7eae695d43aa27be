from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from recbole_mm.evaluator.auc import gauc
from recbole_mm.report.paired import equal_rows, mean_queries, paired_tests, query_values
from recbole_mm.run.comparison import Comparison, RowResult
from recbole_mm.run.folder import RunResult


def row(label: str, values: list[np.ndarray], **more) -> RowResult:
    """A row whose seeds have these values of ndcg@10, one for each user."""
    runs = {}
    for seed, value in enumerate(values):
        queries = pd.DataFrame({"user": [f"u{k:02d}" for k in range(len(value))], "ndcg@10": value})
        record = {"best_valid_score": float(value.mean()), "test_result": {"ndcg@10": float(value.mean())}}
        runs[seed] = RunResult(record, queries)
    return RowResult(label, label, runs=runs, **more)


def test_queries_are_averaged_over_seeds_by_user_and_domain():
    first = pd.DataFrame({"user": ["u", "u", "v"], "domain": ["x", "y", "x"], "ndcg@10": [1.0, 0.0, 0.5]})
    second = pd.DataFrame({"user": ["v", "u", "u"], "domain": ["x", "y", "x"], "ndcg@10": [0.7, 0.4, 0.0]})
    table = mean_queries(RowResult("r", "r", runs={0: RunResult({}, first), 1: RunResult({}, second)}))
    assert table["user"].tolist() == ["u", "u", "v"]
    assert table["domain"].tolist() == ["x", "y", "x"]
    assert table["ndcg@10"].tolist() == pytest.approx([0.5, 0.2, 0.6])


def test_rows_are_tested_against_the_baseline_with_holm_over_our_rows_alone():
    rng = np.random.default_rng(0)
    base = rng.random(30)
    good, weak = base + rng.normal(0.1, 0.1, 30), base + rng.normal(-0.03, 0.1, 30)
    baseline, other = row("base", [base], baseline=True), row("other", [base - 0.5], baseline=True)
    noise = rng.normal(0, 0.5, 30)
    ours = [row("good", [good + noise, good - noise]), row("weak", [weak])]  # the noise of two seeds cancels
    tests, notes = paired_tests(Comparison([baseline, other, *ours], ["ndcg@10"], "toy", [0, 1]))
    assert notes == []
    found = {test.row: test for test in tests if test.reference == "base"}
    assert set(found) == {"good", "weak"}
    assert {(test.row, test.reference) for test in tests} - {(r, "base") for r in found} == {
        ("good", "other"),
        ("weak", "other"),
    }
    assert found["good"].difference > 0 > found["weak"].difference  # ours minus the baseline
    assert found["good"].low < found["good"].difference < found["good"].high
    p = {name: stats.ttest_rel(values, base).pvalue for name, values in (("good", good), ("weak", weak))}
    assert p["good"] < p["weak"]
    assert found["good"].p_t == pytest.approx(p["good"])
    assert found["good"].p_holm == pytest.approx(min(2 * p["good"], 1))
    assert found["weak"].p_holm == pytest.approx(max(2 * p["good"], p["weak"]))


def test_controls_are_tested_against_their_own_row():
    rng = np.random.default_rng(1)
    base = rng.random(20)
    rows = [
        row("BPR", [base], baseline=True),
        row("CMC", [base + 0.1]),
        row("CMC, ids only", [base + rng.normal(0, 0.1, 20)], of="CMC", control="ids only"),
    ]
    tests, _ = paired_tests(Comparison(rows, ["ndcg@10"], "toy", [0]))
    assert [(test.row, test.reference) for test in tests] == [("CMC", "BPR"), ("CMC, ids only", "CMC")]


def test_a_named_reference_is_tested_against_every_row():
    rng = np.random.default_rng(2)
    rows = [row(label, [rng.random(20)]) for label in ("complete", "a", "b")]
    tests, _ = paired_tests(Comparison(rows, ["ndcg@10"], "toy", [0], reference="complete"))
    assert [(test.row, test.reference) for test in tests] == [("a", "complete"), ("b", "complete")]


def test_a_row_is_tested_against_those_it_names_once_and_by_themselves():
    rng = np.random.default_rng(5)
    values = {label: rng.random(20) for label in ("LightGCN", "BPR", "BPR (raw)", "BPR (CPMM)")}
    names = {"BPR (raw)": ["BPR"], "BPR (CPMM)": ["BPR", "BPR (raw)", "LightGCN", "not run"]}
    rows = [row(label, [value], against=names.get(label, ())) for label, value in values.items()]
    tests, notes = paired_tests(Comparison(rows, ["ndcg@10"], "toy", [0], reference="LightGCN"))
    pairs = [("BPR (raw)", "BPR"), ("BPR (CPMM)", "BPR"), ("BPR (CPMM)", "BPR (raw)")]
    assert notes == []
    assert [(test.row, test.reference) for test in tests] == [
        *((r, "LightGCN") for r in [*values][1:]),
        *pairs,
    ]
    raw = [stats.ttest_rel(values[one], values[other]).pvalue for one, other in pairs]
    assert min(test.p_holm for test in tests[3:]) == pytest.approx(min(1, 3 * min(raw)))


def test_what_cannot_be_paired_is_said_and_not_tested():
    rng = np.random.default_rng(3)
    base, longer = row("base", [rng.random(20)], baseline=True), row("longer", [rng.random(21)])
    twice = row("t", [rng.random(20)])
    twice.runs[0].queries["user"] = "u"
    failed = RowResult("failed", "X", errors={0: "no"})
    tests, notes = paired_tests(Comparison([base, longer, twice, failed], ["ndcg@10"], "toy", [0]))
    assert tests == []
    assert notes == [
        "t: not tested, for several queries have the same user.",
        "longer: not tested, for its queries are not those of base.",
    ]


@pytest.mark.parametrize(
    ("column", "sampled", "values", "weights"),
    [
        ("ndcg@10", False, [1, 2, 3], [1, 1, 1]),
        ("ndcg@10", True, [1, 2, 3], [5, 1, 2]),
        ("gauc", False, [0.5, np.nan, 0.7], [5, 0, 2]),
        ("meanauc", False, [0.5, np.nan, 0.7], [1, 0, 1]),
        ("sampled-9/meanauc", False, [4, 5, 6], [5, 1, 2]),
        ("sampled-9/f1@5", False, None, None),
    ],
)
def test_the_values_and_weights_of_queries_behind_a_column(column, sampled, values, weights):
    table = pd.DataFrame({
        "n_positives": [5, 1, 2], "ndcg@10": [1, 2, 3], "auc": [0.5, np.nan, 0.7], "sampled-9/auc": [4, 5, 6],
    })  # fmt: skip
    found = query_values(table, column, sampled)
    if values is None:
        assert found is None
    else:
        np.testing.assert_array_equal(found, [values, weights])


def test_of_one_query_nothing_is_tested():
    rows = [row("a", [np.array([0.5])]), row("b", [np.array([0.7])])]
    assert paired_tests(Comparison(rows, ["ndcg@10"], "toy", [0], reference="a")) == ([], [])


def test_what_is_tested_of_gauc_is_gauc():
    rng = np.random.default_rng(5)
    rows = [row(name, [rng.random(30)]) for name in "ab"]
    n_pos = rng.integers(1, 20, 30)
    for each in rows:
        each.runs[0].queries["auc"] = np.where(np.arange(30) == 4, np.nan, rng.random(30))
        each.runs[0].queries["n_positives"] = n_pos
    (found,) = paired_tests(Comparison(rows, ["gauc"], "toy", [0], reference="a"))[0]
    b, a = (gauc(each.runs[0].queries["auc"].to_numpy(), n_pos) for each in rows[::-1])
    assert (found.metric, found.row, found.queries) == ("gauc", "b", 29)
    assert found.difference == pytest.approx(b - a)


def test_rows_that_are_equal_in_every_query_are_named_together():
    rng = np.random.default_rng(4)
    values = [rng.random(20), rng.random(20)]
    rows = [
        row("complete", values),
        row("no fusion", values),
        row("a seed swapped", values[::-1]),
        row("a query differs", [values[0], values[1] + 1e-9 * (np.arange(20) == 7)]),
        row("one seed", values[:1]),
        RowResult("failed", "X", errors={0: "no"}),
    ]
    rows[1].runs[0].queries.sort_values("user", ascending=False, inplace=True)
    notes = equal_rows(Comparison(rows, ["ndcg@10"], "toy", [0, 1]))
    assert notes == ["Equal for every query: complete, no fusion. What sets them apart has no effect here."]


def test_labelled_rows_are_compared_by_user():
    rng = np.random.default_rng(4)
    user, label = np.repeat([f"u{k:03d}" for k in range(100)], 4), np.tile([1.0, 0.0, 1.0, 0.0], 100)
    found = {}
    for name, signal in (("weak", 0.3), ("strong", 1.5)):
        score = 1 / (1 + np.exp(-(signal * (label - 0.5) + rng.normal(size=400))))
        table = pd.DataFrame({"user": user, "label": label, "score": score}).sample(frac=1, random_state=5)
        record = {"best_valid_score": 0.5, "test_result": {"auc": 0.5, "logloss": 0.6}}
        found[name] = RowResult(name, name, runs={0: RunResult(record, table)}, baseline=name == "weak")
    comparison = Comparison(list(found.values()), ["auc", "logloss"], "toy", [0])
    tests, notes = paired_tests(comparison)
    assert notes == [] and [test.metric for test in tests] == ["auc", "logloss"]
    auc, loss = tests
    tables = {name: found[name].runs[0].queries for name in found}
    exact = [roc_auc_score(t["label"], t["score"]) for t in (tables["strong"], tables["weak"])]
    assert auc.difference == pytest.approx(exact[0] - exact[1])
    assert auc.queries == 100 and auc.p_t < 0.001 and auc.low < auc.difference < auc.high
    assert loss.difference < 0


def test_a_row_that_lost_the_queries_of_a_seed_is_not_tested_on_the_others():
    base, other = np.linspace(0.1, 0.9, 20), np.linspace(0.9, 0.2, 20)
    rows = [row("base", [base, base], baseline=True), row("ours", [base, other])]
    rows[1].runs[1] = RunResult(rows[1].runs[1].record)
    tests, notes = paired_tests(Comparison(rows, ["ndcg@10"], "toy", [0, 1]))
    assert tests == [] and notes == ["ours: not tested, for the table of queries of a seed is gone."]
