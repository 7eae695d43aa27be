"""Metrics against fractions worked by hand."""

from __future__ import annotations

from fractions import Fraction
from math import log2

import numpy as np
import pytest

from recbole_mm.evaluator.auc import gauc, mean_auc, pooled_auc, positive_auc, query_auc
from recbole_mm.evaluator.metrics import PER_QUERY, hit_matrix, item_metric, tail_items

# Query 0: 3 positives at places 1 and 3 and outside. Query 1: 1 positive, outside. Query 2: 6 positives, place 2.
QUERY = np.array([0, 0, 0, 1, 2, 2, 2, 2, 2, 2])
PLACE = np.array([0, 2, -1, -1, 1, -1, -1, -1, -1, -1])
N_POS = np.array([3, 1, 6])
HITS = hit_matrix(QUERY, PLACE, 3, 4)
F = Fraction

BY_HAND = {
    ("recall", 4): [F(2, 3), 0, F(1, 6)],
    ("recall", 1): [F(1, 3), 0, 0],
    ("precision", 4): [F(2, 4), 0, F(1, 4)],
    ("f1", 4): [2 * F(1, 2) * F(2, 3) / (F(1, 2) + F(2, 3)), 0, 2 * F(1, 4) * F(1, 6) / (F(1, 4) + F(1, 6))],
    ("hit", 1): [1, 0, 0],
    ("hit", 2): [1, 0, 1],
    ("mrr", 4): [1, 0, F(1, 2)],
    ("mrr", 1): [1, 0, 0],
    ("map", 4): [(1 + F(2, 3)) / 3, 0, F(1, 2) / 4],
    ("map", 2): [F(1, 2), 0, F(1, 4)],
    ("ndcg", 4): [
        (1 + 1 / 2) / (1 + 1 / log2(3) + 1 / 2),
        0,
        (1 / log2(3)) / (1 + 1 / log2(3) + 1 / 2 + 1 / log2(5)),
    ],
    ("ndcg", 2): [1 / (1 + 1 / log2(3)), 0, (1 / log2(3)) / (1 + 1 / log2(3))],
}


@pytest.mark.parametrize(("name", "k"), BY_HAND)
def test_by_hand(name: str, k: int) -> None:
    expected = [float(value) for value in BY_HAND[name, k]]
    assert PER_QUERY[name](HITS, N_POS, k).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", PER_QUERY)
def test_a_query_without_positives_is_zero(name: str) -> None:
    hits = np.zeros((1, 3), bool)
    assert PER_QUERY[name](hits, np.array([0]), 3).tolist() == [0.0]


def test_k_beyond_the_list_counts_no_hits_there() -> None:
    hits = np.array([[True, False]])  # a catalogue of two items
    n_pos = np.array([1])
    assert PER_QUERY["precision"](hits, n_pos, 5).tolist() == [1 / 5]
    assert PER_QUERY["ndcg"](hits, n_pos, 5).tolist() == [1.0]
    assert PER_QUERY["map"](hits, n_pos, 5).tolist() == [1.0]


LISTS = np.array([[1, 2], [1, 3], [1, 2]])
COUNT = np.array([0, 6, 3, 1, 0])  # PAD and item 4 were never seen


def test_item_metrics_by_hand() -> None:
    def value(name: str, k: int = 2, ratio: float | None = None) -> float:
        return item_metric(name, LISTS, k, COUNT, ratio)

    assert value("itemcoverage") == 3 / 5
    assert value("itemcoverage", 1) == 1 / 5
    assert value("averagepopularity") == pytest.approx((4.5 + 3.5 + 4.5) / 3)
    # shown 1, 2, 3 times: places 3, 4, 5 of 5 items
    assert value("giniindex") == pytest.approx(((6 - 6) * 1 + (8 - 6) * 2 + (10 - 6) * 3) / 6 / 5)
    shares = np.array([3, 2, 1]) / 6
    assert value("shannonentropy") == pytest.approx(-(shares * np.log(shares)).sum() / 3)
    assert value("tailpercentage", 2, 0.4) == pytest.approx((0 + 0.5 + 0) / 3)  # the tail is item 3


def test_tail_by_count_and_default() -> None:
    assert np.flatnonzero(tail_items(COUNT, 3)).tolist() == [2, 3]
    assert np.flatnonzero(tail_items(COUNT, None)).tolist() == [3]


def test_a_short_list_has_no_ghost_items() -> None:
    lists = np.array([[1, -1], [2, 3]])
    assert item_metric("itemcoverage", lists, 2, COUNT, None) == 3 / 5
    assert item_metric("averagepopularity", lists, 2, COUNT, None) == (6 + 2) / 2


def test_aucs_by_hand() -> None:
    # Query 0, scores high to low: + - + -, one pair of four wrong. Query 1: its positive ties with its one negative.
    # Query 2 has no negatives.
    query = np.array([0, 0, 1, 2])
    rank = np.array([1, 3, 1.5, 1])
    n_pos, candidates = np.array([2, 1, 1]), np.array([4, 2, 1])
    auc = query_auc(query, rank, n_pos, candidates)
    assert auc[:2].tolist() == [3 / 4, 1 / 2]
    assert np.isnan(auc[2])
    assert gauc(auc, n_pos) == pytest.approx((2 * 3 / 4 + 1 / 2) / 3)
    assert mean_auc(auc) == pytest.approx((3 / 4 + 1 / 2) / 2)
    score = np.array([0.9, 0.5, 0.3, 0.2])
    share = positive_auc(query, rank, score, n_pos, candidates)
    assert share[:3].tolist() == [1, 1 / 2, 1 / 2]


def test_positives_that_tie_share_their_rank() -> None:
    # scores 3 3 2, the first two positive: both above the negative
    share = positive_auc(
        np.array([0, 0]), np.array([1.5, 1.5]), np.array([3.0, 3.0]), np.array([2]), np.array([3])
    )
    assert share.tolist() == [1, 1]


def test_pooled_auc_counts_pairs_over_queries() -> None:
    parts = [np.array([0.1, 0.5]), np.array([0.7])]
    # 0.5 beats .1 and ties .5; 0.9 beats all three
    assert pooled_auc(np.array([0.5, 0.9]), parts) == pytest.approx((1 + 0.5 + 0 + 3) / 6)
