"""Queries, masks, protocols and groups against plain loops over Python sets."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from recbole_mm.errors import WrongUse
from recbole_mm.evaluator import Evaluator
from recbole_mm.evaluator.group import TrainStats, groups_of, popularity_class

METRICS = ("ndcg@5", "recall@5", "auc")


def pairs(loader, index: int) -> set[tuple[int, int]]:
    feat = loader._sampler.datasets[index].inter_feat
    return set(zip(feat["user_id"].tolist(), feat["item_id"].tolist(), strict=True))


def naive(scores, positives: set[int], candidates: list[int], k: int = 5) -> tuple[float, float, float]:
    """ndcg@k, recall@k and AUC of one query, every item looked at."""
    order = sorted(candidates, key=lambda i: -scores[i])
    places = [j for j, i in enumerate(order[:k]) if i in positives]
    gain = [1 / np.log2(j + 2) for j in range(k)]
    ndcg = sum(gain[j] for j in places) / sum(gain[: min(len(positives), k)])
    negatives = [i for i in candidates if i not in positives]
    beaten = [(scores[p] > scores[n]) + (scores[p] == scores[n]) / 2 for p in positives for n in negatives]
    return ndcg, len(places) / len(positives), float(np.mean(beaten))


def expected(loader, scores, *, domains=None, masked: tuple[int, ...] = (0, 1)) -> pd.DataFrame:
    """All queries by loops: one for each user, or for each user and domain."""
    history = set().union(*(pairs(loader, m) for m in masked))
    test, rows = pairs(loader, 2), []
    dataset = loader._dataset
    for user in sorted({u for u, _ in test}):
        for domain in [None] if domains is None else [0, 1]:
            pool = [i for i in range(1, dataset.item_num) if domain is None or domains[i] == domain]
            positives = {i for i in pool if (user, i) in test}
            if positives:
                candidates = [i for i in pool if i in positives or (user, i) not in history]
                values = naive(scores[user].tolist(), positives, candidates)
                name = {} if domain is None else {"domain": ["even", "odd"][domain]}
                token = dataset.field2id_token["user_id"][user]
                rows.append(
                    {
                        "user": token,
                        **name,
                        "n_positives": len(positives),
                        **dict(zip(METRICS, values, strict=True)),
                    }
                )
    return pd.DataFrame(rows)


def without_ties(model):
    """Distinct scores, so that a list has one order; the ties are tested apart."""
    flat = model.scores.view(-1)
    model.scores = flat.argsort().argsort().float().view_as(model.scores)
    return model


def same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    keys = [c for c in ("user", "domain") if c in wanted]
    assert list(found.columns) == [*keys, "n_positives", *METRICS]
    found, wanted = (t.sort_values(keys).reset_index(drop=True) for t in (found, wanted))
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False, atol=1e-9)


def two_domains(loader):
    dataset = loader._dataset
    dataset.item_domain, dataset.domain_names = dataset.toy_domain, ["even", "odd"]
    return dataset.toy_domain.tolist()


@pytest.mark.parametrize("mib", [16, 1e-6, 4 * 31 * 7 / 2**20])
@pytest.mark.parametrize("protocol", ["recbole", "mmrec"])
def test_users_as_queries(toy, protocol: str, mib: float) -> None:
    config, (_, _, test), model = toy(protocol=protocol)
    config["eval_memory_mib"] = mib
    result = Evaluator(config).evaluate(without_ties(model), test)
    wanted = expected(test, model.scores, masked=(0,) if protocol == "mmrec" else (0, 1))
    same(result.queries, wanted)
    assert result.protocol == [protocol]
    assert "u19" not in set(result.queries["user"])  # no positives, no query
    assert result.metrics["ndcg@5"] == pytest.approx(wanted["ndcg@5"].mean())
    assert result.metrics["meanauc"] == pytest.approx(wanted["auc"].mean())
    assert result.metrics["gauc"] == pytest.approx(np.average(wanted["auc"], weights=wanted["n_positives"]))


def test_the_protocols_differ(toy) -> None:
    values = set()
    for name in ("recbole", "mmrec"):
        config, (_, _, test), model = toy(protocol=name)
        values.add(Evaluator(config).evaluate(without_ties(model), test).metrics["meanauc"])
    assert len(values) == 2


def test_ties_count_one_half(toy) -> None:
    config, (_, _, test), model = toy()
    found = Evaluator(config).evaluate(model, test).queries
    wanted = expected(test, model.scores)
    assert found["auc"].tolist() == pytest.approx(wanted["auc"].tolist())


@pytest.mark.parametrize("mib", [16, 1e-6])
def test_user_and_domain_as_queries(toy, mib: float) -> None:
    config, (_, _, test), model = toy()
    config["eval_groups"], config["eval_memory_mib"] = ["domain"], mib
    domains = two_domains(test)
    result = Evaluator(config).evaluate(without_ties(model), test)
    wanted = expected(test, model.scores, domains=domains)
    same(result.queries, wanted)
    assert len(wanted) > wanted["user"].nunique()
    groups = result.groups.set_index("value")
    for name in ("even", "odd"):
        part = wanted[wanted["domain"] == name]
        assert groups.loc[name, "n_queries"] == len(part)
        assert groups.loc[name, "ndcg@5"] == pytest.approx(part["ndcg@5"].mean())
    single = wanted[wanted["user"] == "u20"]
    assert groups.loc["single-domain users", "n_queries"] == len(single)
    assert groups.loc["single-domain users", "recall@5"] == pytest.approx(single["recall@5"].mean())
    config["eval_candidates"] = "all"
    same(Evaluator(config).evaluate(model, test).queries, expected(test, model.scores))


def test_lists_of_a_domain_are_of_its_items(toy) -> None:
    config, (_, _, test), model = toy(metrics=["ItemCoverage"], topk=[2], valid_metric="ItemCoverage@2")
    domains, history = two_domains(test), pairs(test, 0) | pairs(test, 1)
    scores, shown = without_ties(model).scores, set()
    for user, domain in {(u, domains[i]) for u, i in pairs(test, 2)}:
        pool = [i for i in range(1, 31) if domains[i] == domain and (user, i) not in history - pairs(test, 2)]
        shown |= set(sorted(pool, key=lambda i: -scores[user, i])[:2])
    found = Evaluator(config).evaluate(model, test).metrics["itemcoverage@2"]
    assert found == pytest.approx(len(shown) / 31)


def test_pooled_auc_over_all_queries(toy) -> None:
    config, (_, _, test), model = toy()
    config["metrics"], config["eval_memory_mib"] = ["NDCG", "AUC"], 1e-3
    history, positive = pairs(test, 0) | pairs(test, 1), pairs(test, 2)
    users = sorted({u for u, _ in positive})
    above = [model.scores[u, i].item() for u, i in positive]
    below = [
        model.scores[u, i].item()
        for u in users
        for i in range(1, test._dataset.item_num)
        if (u, i) not in history | positive
    ]
    wanted = np.mean([(a > b) + (a == b) / 2 for a in above for b in below])
    assert Evaluator(config).evaluate(model, test).metrics["auc"] == pytest.approx(wanted)


def test_k_beyond_the_catalogue(toy) -> None:
    config, (_, _, test), model = toy(
        topk=[5, 500], metrics=["Recall", "ItemCoverage", "Precision"], valid_metric="Recall@5"
    )
    result = Evaluator(config).evaluate(model, test)
    assert result.metrics["recall@500"] == 1
    assert result.metrics["precision@500"] == pytest.approx(result.queries["n_positives"].mean() / 500)


def test_item_groups_keep_their_positives_only(toy) -> None:
    config, (_, _, test), model = toy()
    config["eval_groups"], config["cold_threshold"] = ["cold", "popularity", "history"], 4
    without_ties(model)
    result = Evaluator(config).evaluate(model, test)
    table = result.groups.set_index(["group", "value"])
    train, positive = pairs(test, 0), pairs(test, 2)
    count = np.bincount(test._sampler.datasets[0].inter_feat["item_id"].numpy(), minlength=31)
    history = train | pairs(test, 1)
    for value, below in (("none", 1), ("cold (<4)", 4)):
        rows, sizes = [], []
        for user in sorted({u for u, i in positive if count[i] < below}):
            own = {i for u, i in positive if u == user}
            group = {i for i in own if count[i] < below}
            open_items = [i for i in range(1, 31) if i in own or (user, i) not in history]
            negatives = [i for i in open_items if i not in own]
            order = sorted(open_items, key=lambda i: -model.scores[user, i])
            hits = [j for j, i in enumerate(order[:5]) if i in group]
            beaten = [
                (model.scores[user, p] > model.scores[user, n]).item() for p in group for n in negatives
            ]
            gain = [1 / np.log2(j + 2) for j in range(5)]
            ndcg = sum(gain[j] for j in hits) / sum(gain[: len(group)])
            rows.append((ndcg, len(hits) / len(group), np.mean(beaten)))
            sizes.append(len(group))
        found = table.loc["cold", value]
        assert found["n_queries"] == len(rows) and (len(rows) == 4 or len(set(sizes)) > 1)
        means = np.mean(rows, axis=0).tolist()
        assert found[["ndcg@5", "recall@5", "meanauc"]].tolist() == pytest.approx(means)
        assert found["gauc"] == pytest.approx(np.average([auc for *_, auc in rows], weights=sizes))
    assert table.loc["cold"]["n_positives"].tolist()[1:] == [
        sum(count[i] < 4 for _, i in positive),
        sum(count[i] >= 4 for _, i in positive),
    ]
    assert table.loc["popularity"]["n_positives"].sum() == len(positive)
    assert table.loc["history"]["n_queries"].sum() == len(result.queries)


def test_groups_of_sampled_lists_are_those_of_their_positives(toy) -> None:
    config, (_, _, test), model = toy()
    config["eval_groups"], config["protocol"] = ["popularity"], ["recbole", "sampled-9"]
    result = Evaluator(config).evaluate(model, test)
    table = result.groups
    mean = np.average(table["sampled-9/recall@5"], weights=table["n_positives"])
    assert mean == pytest.approx(result.metrics["sampled-9/recall@5"])
    assert table["sampled-9/recall@5"].nunique() == 3


def test_popularity_by_hand() -> None:
    # of 20 interactions: before the items are 0, .5, .75, .9 of them
    assert popularity_class(np.array([0, 3, 10, 0, 2, 5])).tolist() == [2, 1, 0, 2, 2, 1]


def test_histories_by_hand() -> None:
    length = {1: 0, 2: 4, 3: 5, 4: 9, 5: 10, 6: 19, 7: 20, 8: 49, 9: 50}
    rows = [(user, item) for user, n in length.items() for item in range(1, n + 1)] * 2  # a pair counts once
    stats = TrainStats(np.zeros(51, int), *np.array(rows).T)
    asked = np.array([*length])
    groups = groups_of(["history"], SimpleNamespace(user_num=10), asked, None, stats, 5)
    found = {group.value: asked[group.queries].tolist() for group in groups}
    assert found == {"0-4": [1, 2], "5-9": [3, 4], "10-19": [5, 6], "20-49": [7, 8], "50+": [9]}


def test_modality_groups(toy) -> None:
    config, (_, _, test), model = toy()
    config["eval_groups"] = ["modality"]
    present = np.ones((31, 2), bool)
    present[[0, 5, 6], 0] = False
    test._dataset.modality = type("Modality", (), {"present": present, "names": ["text", "image"]})()
    table = Evaluator(config).evaluate(model, test).groups.set_index("value")
    assert table.loc["text: missing", "n_positives"] == sum(i in (5, 6) for _, i in pairs(test, 2))
    assert table.loc["image: missing", "n_queries"] == 0
    assert np.isnan(table.loc["image: missing", "ndcg@5"])


def test_held_out_items_are_not_applicable_to_a_model_of_ids(toy) -> None:
    config, (_, _, test), model = toy()
    config["cold_items"] = 0.1
    result = Evaluator(config).evaluate(model, test)
    assert result.groups["value"].tolist() == ["held-out items: not applicable"]
    assert result.groups["ndcg@5"].isna().all()
    assert "not applicable" in result.notes[0]
    model.scores_from_features = True
    assert Evaluator(config).evaluate(model, test).groups["ndcg@5"].notna().all()
    test._dataset.cold_items = np.array([3, 4, 5])  # and not what no training row has
    found = Evaluator(config).evaluate(model, test).groups
    assert found["n_positives"].tolist() == [sum(item in (3, 4, 5) for _, item in pairs(test, 2))] != [4]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("protocol", "sampled9", "did you mean 'sampled-N'"),
        ("protocol", ["recbole", "mmrec"], "cannot share one run"),
        ("eval_groups", ["dmain"], "did you mean 'domain'"),
        ("eval_groups", ["domain"], "cross-domain"),
        ("eval_candidates", "dom", "expected one of domain, all, got 'dom'"),
    ],
)
def test_wrong_use_says_what(toy, key: str, value: object, message: str) -> None:
    with pytest.raises(WrongUse, match=message):
        config, (_, _, test), model = toy(**{key: value})
        _ = Evaluator(config).evaluate(model, test).groups
