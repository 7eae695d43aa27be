"""AUC and log-loss by user: their mean is the metric, their spread that of the metric."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from recbole.evaluator.register import metrics_dict

from recbole_mm.evaluator.pseudo_values import PARTS, pseudo_values


def rows(rng: np.random.Generator, users: int, each: int) -> pd.DataFrame:
    """Users differ in how often they click and in how well that is known; scores have ties."""
    taste, known = rng.normal(size=users), rng.uniform(0, 2, size=users)
    user = np.repeat(np.arange(users), each)
    label = (rng.random(len(user)) < 1 / (1 + np.exp(-taste[user]))).astype(float)
    score = 1 / (1 + np.exp(-(known[user] * (label - 0.5) + rng.normal(size=len(user)))))
    return pd.DataFrame({"user": [f"u{u:03d}" for u in user], "label": label, "score": score.round(2)})


@pytest.mark.parametrize("metric", sorted(PARTS))
def test_their_mean_is_recboles_metric(metric: str) -> None:
    table = rows(np.random.default_rng(1), 40, 6)
    config = {"metrics": [metric], "topk": [10], "metric_decimal_place": 9}
    expected = metrics_dict[metric](config).metric_info(table["score"].to_numpy(), table["label"].to_numpy())
    found = pseudo_values(table)
    assert len(found) == 40 and found["user"].is_monotonic_increasing
    assert found[metric].mean() == pytest.approx(expected, rel=1e-9)


def test_placements_by_hand() -> None:
    table = pd.DataFrame({"user": list("abba"), "label": [1.0, 1.0, 0.0, 0.0], "score": [0.8, 0.5, 0.5, 0.1]})
    # a positive beats, with ½ for a tie, of the negatives: 1 and ¾; negatives are beaten by ¾ and 1: an AUC of ⅞
    influence = {"a": (1 - 0.875) / 2 + (1 - 0.875) / 2, "b": (0.75 - 0.875) / 2 + (0.75 - 0.875) / 2}
    assert pseudo_values(table)["auc"].tolist() == pytest.approx(
        [0.875 + 2 * influence["a"], 0.875 + 2 * influence["b"]]
    )


@pytest.mark.parametrize("metric", sorted(PARTS))
def test_their_spread_is_that_of_users_drawn_anew(metric: str) -> None:
    rng = np.random.default_rng(2)
    table = rows(rng, 150, 8)
    groups = [part for _, part in table.groupby("user")]
    drawn = []
    for _ in range(300):
        again = pd.concat([groups[k] for k in rng.integers(150, size=150)])
        drawn.append(PARTS[metric](again["label"].to_numpy(), again["score"].to_numpy())[0])
    values = pseudo_values(table)[metric]
    assert values.std() / np.sqrt(150) == pytest.approx(np.std(drawn), rel=0.15)


def test_without_negatives_there_is_no_auc() -> None:
    table = rows(np.random.default_rng(3), 5, 2).assign(label=1.0)
    assert pseudo_values(table)["auc"].isna().all() and pseudo_values(table)["mae"].notna().all()
