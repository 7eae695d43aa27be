"""Users who have everything: nobody is refused before a negative is drawn, and then all are named."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from recbole.sampler import Sampler
from recbole.utils import init_seed

from recbole_mm.config import Config
from recbole_mm.data.phase_sampler import NamingKGSampler, PhaseSampler
from recbole_mm.errors import Failure
from recbole_mm.quick_start.session import Session

ITEMS = [f"i{k}" for k in range(10)]
GREEDY = [f"u{k}" for k in range(8)]
SETTINGS = {
    "epochs": 1,
    "use_gpu": False,
    "show_progress": False,
    "metrics": ["NDCG"],
    "topk": 3,
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
}


def write(folder: Path, rows: list[tuple[str, str]]) -> None:
    (folder / "full").mkdir()
    frame = pd.DataFrame(rows, columns=["user_id:token", "item_id:token"])
    frame["timestamp:float"] = np.arange(len(frame), dtype=float)
    frame.to_csv(folder / "full" / "full.inter", sep="\t", index=False)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Eight users with all ten items, and twelve with five each."""
    monkeypatch.chdir(tmp_path)
    rows = [(user, item) for user in GREEDY for item in ITEMS]
    rows += [(f"v{k}", ITEMS[(k + j) % 10]) for k in range(12) for j in range(5)]
    write(tmp_path, rows)
    return {**SETTINGS, "data_path": str(tmp_path)}


def session(model: str, settings: dict[str, Any], **more: Any) -> Session:
    return Session.build(Config(model, "full", config_dict={**settings, **more}).spec)


@pytest.mark.parametrize("model", ["ItemKNN", "EASE", "Pop", "MultiDAE", "SASRec", "BPR", "CMC"])
def test_a_model_that_draws_nothing_for_them_runs(model: str, data: dict[str, Any]) -> None:
    """BPR and CMC draw for training rows alone, and there everybody lacks two items."""
    result = session(model, data).run(saved=False).record["test_result"]
    assert 0 <= result["ndcg@3"] <= 1


def parts(data: dict[str, Any], rows: list[tuple[str, str, str]]) -> dict[str, Any]:
    """The settings for rows (user, item, part)."""
    frame = pd.DataFrame(rows, columns=["user_id:token", "item_id:token", "part:token"])
    frame.to_csv(Path(data["data_path"]) / "full" / "full.inter", sep="\t", index=False)
    own = {"split": {"field": "part"}, "load_col": {"inter": ["user_id", "item_id", "part"]}}
    return {key: value for key, value in data.items() if key != "eval_args"} | own


def test_the_refusal_counts_and_names_them(data: dict[str, Any]) -> None:
    rows = [(user, item, "train") for user in GREEDY for item in ITEMS]
    rows += [(f"v{k}", ITEMS[k], part) for k in range(3) for part in ("train", "valid", "test")]
    settings = parts(data, rows)
    for model in ("BPR", "LightGCN", "CMC"):  # two of RecBole, one of ours
        with pytest.raises(Failure) as caught:
            session(model, settings)
        assert str(caught.value) == (
            "8 users have interacted with all 10 items that can be drawn, so no negative can be drawn: "
            "u0, u1, u2, u3, u4, …; filter such users with user_inter_num_interval"
        )
    assert session("EASE", settings).run(saved=False).record["test_result"]


@pytest.mark.parametrize("mode", ["uni5", "pop5"])
def test_a_sampled_list_is_refused_before_any_training(data: dict[str, Any], mode: str) -> None:
    args = {**SETTINGS["eval_args"], "mode": mode}
    with pytest.raises(Failure, match=r"8 users have interacted with all 10 items .*: u0, u1, u2, u3, u4, …"):
        session("EASE", data, eval_args=args)


def test_what_popularity_cannot_draw_is_not_waited_for(data: dict[str, Any]) -> None:
    """An item without a training row is never drawn by popularity, so RecBole would look for it for ever."""
    rows = [("u0", item, "train") for item in ITEMS[:4]]
    rows += [("v0", ITEMS[0], "train"), ("v0", ITEMS[5], "valid"), ("v0", ITEMS[6], "test")]
    args = {"distribution": "popularity", "sample_num": 1}
    with pytest.raises(Failure, match=r"^1 user has interacted with all 4 items that can be drawn, .*: u0;"):
        session("BPR", parts(data, rows), train_neg_sample_args=args)


def test_one_item_alone_has_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, [(user, "only") for user in GREEDY for _ in range(5)])
    settings = {**SETTINGS, "data_path": str(tmp_path)}
    # DIEN draws while the data are read, FPMC (`repeatable`) in the loader
    for model, more in (("DIEN", {"metrics": ["AUC"]}), ("FPMC", {})):
        with pytest.raises(Failure, match=r"^full: no negative can be drawn, only is the only item$"):
            session(model, {**settings, **more})


def pairs_drawn(settings: dict[str, Any], model: str, **more: Any) -> tuple[Any, list[tuple[int, int, int]]]:
    """The training part, and (user, target, negative) of two epochs."""
    loader = session(model, {"MAX_ITEM_LIST_LENGTH": 4, **settings}, **more).train_data
    found: list[tuple[int, int, int]] = []
    for batch in (batch for _ in range(2) for batch in loader):
        users, targets, negatives = (batch[f].numpy() for f in ("user_id", "item_id", "neg_item_id"))
        if targets.ndim == 2:  # windows
            there = targets > 0
            users, targets, negatives = users[there.nonzero()[0]], targets[there], negatives[there][:, 0]
        found += zip(users.tolist(), targets.tolist(), negatives.tolist(), strict=True)
    return loader._dataset, found


@pytest.mark.parametrize("distribution", ["uniform", "popularity"])
@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("FPMC", {}),
        ("FPMC", {"loader": "fast"}),
        ("SASRec", {"loss_type": "BPR", "train_sequences": "shifted"}),
    ],
)
def test_a_sequences_negatives_are_other_items_of_the_targets_domain(
    data: dict[str, Any], model: str, more: dict[str, Any], distribution: str
) -> None:
    """They were drawn from all domains; by popularity what the user has was none of them, as of other models."""
    kinds = pd.DataFrame({"item_id:token": ITEMS, "kind:token": ["a" if k < 6 else "b" for k in range(10)]})
    kinds.to_csv(Path(data["data_path"]) / "full" / "full.item", sep="\t", index=False)
    args = {"distribution": distribution, "sample_num": 1}
    part, drawn = pairs_drawn(data, model, domain_field="kind", train_neg_sample_args=args, **more)
    domain = part.item_domain.tolist()
    assert all(domain[target] == domain[negative] > -1 for _, target, negative in drawn)
    assert all(target != negative for _, target, negative in drawn)
    assert {(user, negative) for user, _, negative in drawn} & {(user, target) for user, target, _ in drawn}
    assert len({negative for *_, negative in drawn}) == len(ITEMS)


def test_an_item_alone_in_its_domain_has_no_other(data: dict[str, Any]) -> None:
    kinds = pd.DataFrame({"item_id:token": ITEMS, "kind:token": ["a"] * 9 + ["b"]})
    kinds.to_csv(Path(data["data_path"]) / "full" / "full.item", sep="\t", index=False)
    with pytest.raises(Failure) as caught:
        session("FPMC", data, domain_field="kind")
    assert str(caught.value) == (
        "1 item has no other item of the domain that can be drawn, so no negative can be drawn: i9; "
        "filter such items with item_inter_num_interval, or leave the domain out"
    )


def test_by_popularity_a_sequences_negative_may_be_an_item_of_the_user(data: dict[str, Any]) -> None:
    """As RecBole's, and as uniformly drawn ones: users who have everything were refused, by popularity alone."""
    rows = [(user, item, "train") for user in GREEDY for item in ITEMS]
    rows += [("v0", ITEMS[0], "train"), ("v0", ITEMS[1], "valid"), ("v0", ITEMS[2], "test")]
    for kept in (part := parts(data, rows))["load_col"].values():
        kept.append("timestamp")
    file = Path(data["data_path"]) / "full" / "full.inter"
    frame = pd.read_csv(file, sep="\t")
    frame.assign(**{"timestamp:float": np.arange(len(frame))}).to_csv(file, sep="\t", index=False)
    args = {"distribution": "popularity", "sample_num": 1}
    _, drawn = pairs_drawn(part, "FPMC", sequence_split="interactions", train_neg_sample_args=args)
    assert len(drawn) == 2 * 9 * len(GREEDY) and all(target != negative for _, target, negative in drawn)


@pytest.mark.parametrize(("distribution", "drawable"), [("uniform", 3), ("popularity", 2)])
def test_an_entity_with_all_relations_is_named(distribution: str, drawable: int) -> None:
    tails = [2, 3, 1][:drawable]
    graph = SimpleNamespace(
        head_entity_field="head_id",
        tail_entity_field="tail_id",
        entity_field="entity_id",
        head_entities=[tails[0]] * drawable,
        tail_entities=tails,
        entity_num=4,
        field2id_token={"entity_id": np.array(["[PAD]", "film", "director", "city"])},
    )
    with pytest.raises(Failure) as caught:
        NamingKGSampler(graph, distribution)
    assert str(caught.value) == (
        f"1 head has relations with all {drawable} entities that can be drawn, so no negative can be drawn: "
        "director; filter with entity_kg_num_interval"
    )
    graph.tail_entities = [1] * drawable  # the head and one more can be drawn
    assert NamingKGSampler(graph, distribution).sample_by_entity_ids([2, 2], 3).tolist()


def test_draws_are_those_of_recbole(data: dict[str, Any]) -> None:
    built = session("BPR", data)
    train = built.test_data._sampler.datasets[0]
    users = train.inter_feat["user_id"].numpy()
    for distribution in ("uniform", "popularity"):
        drawn = []
        for kind in (Sampler, PhaseSampler):
            # RecBole's refuses the last phase as soon as it is made, so it is made for training alone
            sampler = kind(["train"], [train], distribution, 0.5).set_phase("train")
            init_seed(7, True)
            drawn.append(sampler.sample_by_user_ids(users, None, 3))
        assert drawn[0].equal(drawn[1])


@pytest.mark.parametrize("distribution", ["uniform", "popularity"])
@pytest.mark.parametrize("model", ["BPR", "FPMC"])
def test_negatives_are_recboles_to_the_digit(model: str, distribution: str, data: dict[str, Any]) -> None:
    """All rows are tested at once, with the random numbers of RecBole, which tests row by row."""
    args = {"distribution": distribution, "sample_num": 2, "alpha": 0.5}
    settings = {**data, "train_neg_sample_args": args, "repeatable": model == "FPMC"}
    ours = session(model, settings).train_data._sampler
    theirs = object.__new__(type(ours).__mro__[2])  # RecBole's class
    theirs.__dict__.update(vars(ours))
    users, items = np.array([9, 10, 11, 9, 12] * 8), np.array([1, 2, 3, 4, 5] * 8)
    for rows in (
        slice(None),
        slice(1),
        slice(0, None, 5),
    ):  # one row, and one user in many: cases of RecBole's own
        drawn = []
        for sampler in (ours, theirs):
            np.random.seed(3)
            drawn.append(sampler.sample_by_user_ids(users[rows], items[rows], 2))
        assert drawn[0].tolist() == drawn[1].tolist() and drawn[0].dtype == drawn[1].dtype
