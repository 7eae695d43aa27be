"""uniN and popN: what is drawn, when, and for whom; labelled rows where labels are not read."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.data import data_preparation as recbole_loaders
from recbole.data.dataloader import NegSampleEvalDataLoader

from recbole_mm.config import Config
from recbole_mm.data import create_dataset, data_preparation
from recbole_mm.data.draws import FixedDraws
from recbole_mm.errors import Failure, WrongUse
from recbole_mm.evaluator import Evaluator
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec

SPLIT = {"split": {"RS": [0.6, 0.2, 0.2]}, "order": "TO", "group_by": "user"}
COLUMNS = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class"]}
MODELS = {
    "BPR": {},
    "SASRec": {"n_layers": 1},
    "SASRecF": {"n_layers": 1, "selected_features": ["class"], "load_col": COLUMNS},
    "DIN": {"load_col": COLUMNS},
    "DeepFM": {"load_col": COLUMNS},
    "CFKG": {
        "load_col": {**COLUMNS, "kg": ["head_id", "relation_id", "tail_id"], "link": ["item_id", "entity_id"]}
    },
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """20 users with 5 to 9 rows of 12 items with rising popularity, 20 more items without a row, a graph."""
    rng = np.random.default_rng(5)
    weight = np.arange(1, 13) / 78
    rows = [
        (f"u{u}", f"i{i}", int(rng.integers(1, 6)), n, u % 2)
        for u in range(20)
        for n, i in enumerate(rng.choice(12, 5 + u % 5, replace=False, p=weight))
    ]
    columns = ["user_id:token", "item_id:token", "rating:float", "timestamp:float", "label:float"]
    folder = tmp_path / "shop"
    folder.mkdir()
    pd.DataFrame(rows, columns=columns).to_csv(folder / "shop.inter", sep="\t", index=False)
    items = pd.DataFrame({"item_id:token": [f"i{i}" for i in reversed(range(32))], "class:token_seq": "a b"})
    items.to_csv(folder / "shop.item", sep="\t", index=False)
    linked = pd.DataFrame(
        {"item_id:token": items["item_id:token"], "entity_id:token": [f"e{n}" for n in range(32)]}
    )
    linked.to_csv(folder / "shop.link", sep="\t", index=False)
    graph = pd.DataFrame(
        {"head_id:token": linked["entity_id:token"], "relation_id:token": "r", "tail_id:token": "e0"}
    )
    graph.to_csv(folder / "shop.kg", sep="\t", index=False)
    return tmp_path


def settings(root: Path, **more: Any) -> dict[str, Any]:
    mode = more.pop("mode", "uni4")
    return {
        "data_path": str(root),
        "checkpoint_dir": str(root / "saved"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {**SPLIT, "mode": mode},
        "sequence_split": "interactions",
        "mask_seen": "train+valid",
        "metrics": ["NDCG"],
        "topk": [3],
        "valid_metric": "NDCG@3",
        "metric_decimal_place": 8,
        "MAX_ITEM_LIST_LENGTH": 10,
        "use_gpu": False,
        "show_progress": False,
        "epochs": 1,
        **more,
    }


def session(root: Path, model: str, **more: Any) -> Session:
    return Session.build(RunSpec(model, "shop", settings(root, **{**MODELS[model], **more}), seed=1))


def drawn(loader: Any) -> dict[str, list[str]]:
    """Sorted tokens of what a loader ranks beside the positives, by user."""
    dataset, found = loader._dataset, {}
    for interaction, row, positive_u, _ in loader:
        row = row.numpy()
        users = dataset.id2token("user_id", interaction["user_id"].numpy())
        items = dataset.id2token("item_id", interaction["item_id"].numpy())
        negative = interaction[dataset.label_field].numpy() == 0
        assert (~negative).sum() == len(positive_u)
        for user in np.unique(users[negative]):
            found[str(user)] = sorted(items[negative & (users == user)])
        assert (np.bincount(row) > 0).all()
    return found


@pytest.mark.parametrize("mode", ["uni4", "pop4"])
def test_the_draws_are_the_same_for_every_model_and_evaluation(shop: Path, mode: str) -> None:
    found, questions = {}, set()
    for model in MODELS:
        made = session(shop, model, mode=mode)
        found[model] = [drawn(loader) for loader in (made.valid_data, made.test_data)]
        np.random.seed(len(model))  # another draw of anybody else changes nothing
        assert [drawn(loader) for loader in (made.valid_data, made.test_data)] == found[model]
        made.evaluate()
        questions.add(str(made.trainer.eval_result.question))
    assert all(each == found["BPR"] for each in found.values())
    valid, test = found["BPR"]
    assert valid != test and len(test) == 20 and len(questions) == 1


@pytest.mark.parametrize("mode", ["uni1", "pop4"])
@pytest.mark.parametrize("model", MODELS)
def test_batches_are_those_of_recboles_loader(shop: Path, model: str, mode: str) -> None:
    made = session(shop, model, mode=mode, eval_batch_size=30).test_data
    theirs = NegSampleEvalDataLoader(made.config, made._dataset, made._sampler)
    assert len(made) == len(theirs) > 1
    for (batch, *places), (expected, *others) in zip(made, theirs, strict=True):
        assert set(batch.interaction) == set(expected.interaction)
        assert all(torch.equal(batch[field], expected[field]) for field in batch.interaction)
        assert all(torch.equal(ours, other) for ours, other in zip(places, others, strict=True))


def test_sampled_lists_are_the_same_for_every_family(shop: Path) -> None:
    questions = set()
    for model in ("BPR", "SASRec", "SASRecF", "CFKG"):
        made = session(shop, model, mode="full", protocol=["recbole", "sampled-3"])
        made.evaluate()
        questions.add(str(made.trainer.eval_result.question))
    assert len(questions) == 1 and "'candidates': 72" in questions.pop()  # 20 lists of 3, 12 items


def test_the_numbering_of_ids_does_not_matter(shop: Path) -> None:
    found = [drawn(session(shop, "BPR").test_data)]
    file = shop / "shop" / "shop.inter"
    pd.read_csv(file, sep="\t")[::-1].to_csv(file, sep="\t", index=False)
    again = session(shop, "BPR").test_data
    assert again._dataset.field2id_token["user_id"][1] == "u19"
    assert [*found, drawn(again)] == found * 2


def test_one_model_gets_one_value(shop: Path) -> None:
    made = session(shop, "BPR")
    assert len({made.evaluate()["ndcg@3"] for _ in range(4)}) == 1
    anew = session(shop, "BPR", resample_eval=True)
    assert len({anew.evaluate()["ndcg@3"] for _ in range(4)}) > 1
    assert drawn(session(shop, "BPR", split_seed=7).test_data) != drawn(made.test_data)


@pytest.mark.parametrize("mode", ["uni4", "pop4"])
@pytest.mark.parametrize("model", ["BPR", "SASRec"])
def test_drawn_anew_they_are_recboles(shop: Path, model: str, mode: str) -> None:
    given = settings(shop, mode=mode, resample_eval=True, sequence_split="prefixes", mask_seen="protocol")
    config = Config(model, "shop", config_dict={**given, **MODELS[model]})
    found = []
    for loaders in (data_preparation, recbole_loaders):
        made = loaders(config, create_dataset(config))
        np.random.seed(3)
        found.append([drawn(loader) for loader in made[1:]])
    assert found[0] == found[1]


def test_what_is_drawn_is_what_mask_seen_leaves(shop: Path) -> None:
    file = pd.read_csv(shop / "shop" / "shop.inter", sep="\t")
    items = set(file["item_id:token"])
    for mask, parts in (("train+valid", 3), ("train", 2), ("none", 1)):
        made = session(shop, "BPR", mask_seen=mask, mode="uni200")
        pairs = made.test_data._dataset.pairs
        phases = {3: ("train", "valid", "test"), 2: ("train", "test"), 1: ("test",)}[parts]
        dataset = made.test_data._dataset
        for user, negatives in drawn(made.test_data).items():
            number = dataset.field2token_id["user_id"][user]
            touched = {
                str(token)
                for phase in phases
                for token in dataset.id2token("item_id", pairs[phase][1][pairs[phase][0] == number])
            }
            assert set(negatives) == items - touched  # 200 draws of at most 12 find them all


def test_popularity_is_that_of_the_rows(shop: Path) -> None:
    made = session(shop, "BPR", mode="pop20000", mask_seen="none")
    dataset = made.test_data._dataset
    counts = pd.read_csv(shop / "shop" / "shop.inter", sep="\t")["item_id:token"].value_counts()
    user, negatives = next(iter(drawn(made.test_data).items()))
    test_users, test_items = dataset.pairs["test"]
    own = dataset.id2token("item_id", test_items[test_users == dataset.field2token_id["user_id"][user]])
    left = counts.drop(list(own))
    share = pd.Series(negatives).value_counts(normalize=True).reindex(left.index).fillna(0)
    assert share.to_numpy() == pytest.approx((left / left.sum()).to_numpy(), abs=0.02)


def test_uniform_draws_reach_all_alike(shop: Path) -> None:
    made = session(shop, "BPR", mode="uni20000")
    share = pd.Series(next(iter(drawn(made.test_data).values()))).value_counts(normalize=True)
    assert share.to_numpy() == pytest.approx(np.full(len(share), 1 / len(share)), abs=0.02)


def test_a_user_with_every_candidate_is_named(shop: Path) -> None:
    part = session(shop, "BPR").test_data._dataset
    user = part.field2token_id["user_id"]["u3"]
    everything = np.flatnonzero(part.interacted)
    part.pairs = {**part.pairs, "train": (np.full(len(everything), user), everything)}
    draws = FixedDraws(Config("BPR", "shop", config_dict=settings(shop)), part, "uniform")
    with pytest.raises(Failure) as caught:
        draws.sample_by_user_ids([user], [everything[0]], 2)
    assert str(caught.value) == (
        f"1 user has interacted with all {len(everything)} items that can be drawn, so no negative can be drawn: u3; "
        "filter such users with user_inter_num_interval"
    )


LABELLED = {"threshold": {"rating": 4}, "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]}}


@pytest.mark.parametrize("mode", ["uni4", "pop4", "full"])
@pytest.mark.parametrize("model", ["DeepFM", "BPR", "DIN"])
def test_rows_of_label_0_are_not_ranked_as_positives(shop: Path, model: str, mode: Any) -> None:
    with pytest.raises(WrongUse) as caught:
        session(shop, model, mode=mode, **LABELLED)
    rows = pd.read_csv(shop / "shop" / "shop.inter", sep="\t")["rating:float"]
    assert str(caught.value) == (
        f"threshold: {{'rating': 4}}: {(rows < 4).sum()} of {len(rows)} rows have label 0, and eval_args.mode {mode} "
        "ranks them as positives; use mode: labeled with AUC and LogLoss, or keep the other rows alone (val_interval)"
    )


def test_a_field_of_labels_is_one_too(shop: Path) -> None:
    columns = {"inter": ["user_id", "item_id", "timestamp", "label"]}
    with pytest.raises(
        WrongUse, match=r"^LABEL_FIELD: label: \d+ of \d+ rows have label 0, and eval_args.mode uni4"
    ):
        session(shop, "DeepFM", load_col=columns)
    kept = session(shop, "DeepFM", load_col=columns, val_interval={"label": "[1,1]"})
    assert len(drawn(kept.test_data)) == 10


def test_positives_alone_may_be_ranked_and_labels_read(shop: Path) -> None:
    assert drawn(session(shop, "DeepFM", **LABELLED, val_interval={"rating": "[4,inf)"}).test_data)
    read = session(shop, "DeepFM", **LABELLED, mode="labeled", metrics=["AUC"], valid_metric="AUC")
    assert 0 < read.evaluate()["auc"] < 1


def test_recboles_scripts_are_warned(shop: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "recbole_mm"):
        made = session(shop, "DeepFM", **LABELLED, strict_config=False)
    assert made.test_data is not None and any("have label 0" in line for line in caplog.messages)


def test_an_evaluator_of_either_kind_gets_the_draws(shop: Path) -> None:
    found = [
        session(shop, "BPR", evaluator=each, mask_seen="protocol").evaluate() for each in ("mm", "recbole")
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-7)
    made = session(shop, "BPR")
    assert dict(Evaluator(made.config).evaluate(made.model, made.test_data).metrics) == made.evaluate()
