from __future__ import annotations

import pytest
from recbole.evaluator.register import metric_types, smaller_metrics
from recbole.utils import EvaluatorType

from recbole_mm.errors import WrongUse
from recbole_mm.evaluator.auc import OVER_QUERIES
from recbole_mm.evaluator.metrics import PER_QUERY
from recbole_mm.run.metric import METRICS, Column, check_columns, evaluation_of, metric_of, smaller_is_better


def test_the_table_agrees_with_recbole() -> None:
    # ours are registered there too, once the evaluator is imported
    assert set(METRICS) == set(metric_types)
    for name, metric in METRICS.items():
        assert metric.ranks == (metric_types[name] == EvaluatorType.RANKING), name
        assert metric.smaller_is_better == (name in smaller_metrics), name


def test_the_evaluator_computes_what_the_table_says() -> None:
    assert set(PER_QUERY) == {name for name, metric in METRICS.items() if metric.reads == "hits"}
    assert set(OVER_QUERIES) == {name for name, metric in METRICS.items() if metric.reads == "rank"}


def test_a_column_is_read_and_written() -> None:
    assert Column.read("sampled-9/NDCG@10") == Column("ndcg", 10, "sampled-9")
    for text in ("gauc", "ndcg@10", "sampled-9/meanauc"):
        assert str(Column.read(text)) == text


def test_the_direction_of_a_result() -> None:
    assert smaller_is_better("sampled-9/giniindex@10") and smaller_is_better("RMSE")
    assert not smaller_is_better("ndcg@10")
    assert metric_of("of-a-user@3") is None and not smaller_is_better("of-a-user@3")


def test_columns_ask_for_the_metrics_depths_and_protocols_they_need():
    columns = check_columns(["NDCG@10", "recall@20", "gauc", "sampled-9/meanauc"])
    assert evaluation_of(columns, {"valid_metric": "MRR@5"}) == {
        "metrics": ["ndcg", "recall", "gauc", "meanauc", "mrr"],
        "topk": [5, 10, 20],
        "protocol": ["recbole", "sampled-9"],
    }
    assert evaluation_of(["ndcg@10"], {"protocol": "mmrec", "topk": 50})["protocol"] == "mmrec"


@pytest.mark.parametrize("column", ["ndcg", "gauc@10", "ndcg@", "ndcg@0", "sampled/ndcg@10", "", "a b"])
def test_a_column_that_no_result_has_is_refused(column):
    with pytest.raises(WrongUse):
        check_columns([column])
