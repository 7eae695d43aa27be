"""sampled-N against a loop, and against what theory says of a Gaussian scorer (docs/evaluation.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from recbole_mm.data.split import cold_rows, hold_out_cold_items
from recbole_mm.evaluator import Evaluator
from recbole_mm.evaluator.sampled import ListRanks, rank_lists
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec
from recbole_mm.testing import write_toy


def task_of(config, loader, model):
    evaluator = Evaluator(config)
    return evaluator, evaluator.evaluate(model, loader), *evaluator._tasks[loader]


@pytest.mark.parametrize("n", [3, 9, 17])
@pytest.mark.parametrize("by_domain", [False, True])
def test_against_a_loop(toy, n: int, by_domain: bool) -> None:
    config, (_, _, test), model = toy(metrics=["NDCG", "Recall", "Hit", "MRR", "MeanAUC"])
    name = f"sampled-{n}"
    config["protocol"] = ["recbole", name]
    domains = test._dataset.toy_domain.tolist()
    if by_domain:
        test._dataset.item_domain, test._dataset.domain_names = test._dataset.toy_domain, ["even", "odd"]
    _, result, task, lists = task_of(config, test, model)
    touched = set()
    for dataset in test._sampler.datasets:
        touched |= set(
            zip(dataset.inter_feat["user_id"].tolist(), dataset.inter_feat["item_id"].tolist(), strict=True)
        )
    auc, ndcg, hit = [], [], []
    for query, item, negatives in zip(task.pos_query, task.pos_item, lists[name], strict=True):
        user = task.user[query]
        free = [
            i
            for i in range(1, 31)
            if (user, i) not in touched and (not by_domain or domains[i] == domains[item])
        ]
        negatives = [i for i in negatives if i >= 0]
        assert len(set(negatives)) == len(negatives) == min(n, len(free))
        assert set(negatives) <= set(free)
        scores = model.scores[user]
        above = sum((scores[i] > scores[item]).item() for i in negatives)
        equal = sum((scores[i] == scores[item]).item() for i in negatives)
        auc.append(1 - (above + equal / 2) / len(negatives))
        places = [above + t for t in range(equal + 1)]  # every place that the tie may give
        ndcg.append(np.mean([1 / np.log2(p + 2) if p < 5 else 0 for p in places]))
        hit.append(np.mean([p < 5 for p in places]))
    assert result.metrics[f"{name}/meanauc"] == pytest.approx(np.mean(auc))
    assert result.metrics[f"{name}/ndcg@5"] == pytest.approx(np.mean(ndcg))
    assert (
        result.metrics[f"{name}/hit@5"] == result.metrics[f"{name}/recall@5"] == pytest.approx(np.mean(hit))
    )
    by_query = result.queries[f"{name}/ndcg@5"] * result.queries["n_positives"]
    assert by_query.sum() == pytest.approx(np.sum(ndcg))
    assert "ndcg@5" in result.metrics


def test_alone_it_has_the_plain_keys_and_the_same_values(toy) -> None:
    config, (_, _, test), model = toy()
    config["protocol"] = ["recbole", "sampled-9"]
    both = Evaluator(config).evaluate(model, test).metrics
    config["protocol"] = "sampled-9"
    alone = Evaluator(config).evaluate(model, test)
    assert list(alone.metrics) == ["ndcg@5", "recall@5", "meanauc", "gauc"]
    assert alone.metrics["ndcg@5"] == both["sampled-9/ndcg@5"]
    assert list(alone.queries.columns) == ["user", "n_positives", "ndcg@5", "recall@5", "auc"]


def test_split_seed_alone_decides_the_lists(toy) -> None:
    config, (_, _, test), model = toy()
    config["protocol"] = "sampled-9"
    first = task_of(config, test, model)[3]["sampled-9"]
    np.random.seed(99)
    config["seed"] = 5
    assert np.array_equal(task_of(config, test, model)[3]["sampled-9"], first)
    config["split_seed"] = 1
    assert not np.array_equal(task_of(config, test, model)[3]["sampled-9"], first)


def test_validation_and_test_have_lists_of_their_own(tmp_path: Path) -> None:
    made = Session.build(RunSpec("BPR", "toy", {**write_toy(tmp_path), "protocol": ["recbole", "sampled-9"]}))
    evaluator = Evaluator(made.config)
    valid, test = (
        evaluator._task(each, torch.device("cpu"))[1]["sampled-9"]
        for each in (made.valid_data, made.test_data)
    )
    assert valid.shape == test.shape == (40, 9)  # one positive each, of the same users in the same order
    same = [len({*a} & {*b}) / 9 for a, b in zip(valid.tolist(), test.tolist(), strict=True)]
    assert np.mean(same) < 0.7  # 9 of some 20; one stream for both makes it 1


def test_negatives_are_uniform(toy) -> None:
    config, (_, _, test), model = toy()
    seen = np.zeros(31)
    free = np.zeros(31)
    for seed in range(150):
        config["protocol"], config["split_seed"] = "sampled-3", seed
        _, _, task, lists = task_of(config, test, model)
        user_is = task.user[task.pos_query] == task.user[0]
        seen += np.bincount(lists["sampled-3"][user_is].ravel(), minlength=31)
    touched = np.concatenate(
        [
            d.inter_feat["item_id"][d.inter_feat["user_id"] == int(task.user[0])].numpy()
            for d in test._sampler.datasets
        ]
    )
    free[1:] = 1
    free[touched] = 0
    assert (seen[free == 0] == 0).all()
    share = seen[free == 1] / seen.sum() * free.sum()
    assert share == pytest.approx(np.ones(int(free.sum())), abs=0.35)


@pytest.mark.parametrize("n", [9, 99])
def test_a_gaussian_scorer(n: int) -> None:
    """Equal variances and AUC .826: a shift of √2 · Φ⁻¹(.826); the positive loses to a binomial number of negatives.

    The integral gives NDCG@10 .7195 on 1 + 9 at this AUC.
    """
    shift = np.sqrt(2) * stats.norm.ppf(0.826)
    gain = 1 / np.log2(np.arange(10) + 2)

    def density(x: float) -> float:
        lost = stats.binom.pmf(np.arange(10), n, stats.norm.sf(x))
        return stats.norm.pdf(x - shift) * (lost * gain).sum()

    exact = integrate.quad(density, -8, 10)[0]
    rng = np.random.default_rng(0)
    size = 40_000
    ranks = rank_lists(rng.normal(shift, 1, size), rng.normal(0, 1, (size, n)), np.ones((size, n), bool))
    assert ranks.auc.mean() == pytest.approx(0.826, abs=0.004)
    assert ranks.metric("ndcg", 10).mean() == pytest.approx(exact, abs=0.005)
    if n == 9:
        assert exact == pytest.approx(0.7195, abs=1e-4)


def test_a_full_tie_by_hand() -> None:
    ranks = ListRanks(np.array([0]), np.array([3]), np.array([3]))
    assert ranks.auc.tolist() == [0.5]
    assert ranks.metric("hit", 1).tolist() == [1 / 4]
    assert ranks.metric("mrr", 4).tolist() == pytest.approx([(1 + 1 / 2 + 1 / 3 + 1 / 4) / 4])
    assert ranks.metric("precision", 2).tolist() == [(1 / 2) * 2 / 4]


def test_cold_items_by_split_seed() -> None:
    items = np.repeat(np.arange(100, 150), 3)
    cold = hold_out_cold_items(items, 0.1, 7)
    assert len(cold) == 5
    assert np.array_equal(cold, hold_out_cold_items(items[::-1], 0.1, 7))
    assert not np.array_equal(cold, hold_out_cold_items(items, 0.1, 8))
    assert cold_rows(items, cold).sum() == 15
