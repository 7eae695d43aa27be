"""Candidates and masked items of any family of models, against plain pandas and sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_mm.config import Config
from recbole_mm.data import create_dataset, data_preparation
from recbole_mm.errors import WrongUse
from recbole_mm.evaluator import Evaluator
from recbole_mm.testing.shop import ITEMS, write_shop

LEAVE_ONE_OUT = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
RATIO = {**LEAVE_ONE_OUT, "split": {"RS": [0.4, 0.2, 0.4]}}
MASKS = {"train+valid": ("train", "valid"), "train": ("train",), "none": ()}


def built(model: str, settings: dict[str, Any]) -> tuple[Config, Any]:
    config = Config(model, "shop", config_dict=settings)
    return config, data_preparation(config, create_dataset(config))


class Scores(torch.nn.Module):
    """Distinct scores [users, items]."""

    def __init__(self, users: int, items: int) -> None:
        super().__init__()
        order = torch.randperm(users * items, generator=torch.Generator().manual_seed(1))
        self.scores = order.float().view(users, items)

    def full_sort_predict(self, interaction: Any) -> torch.Tensor:
        return self.scores[interaction["user_id"]].clone()


def rows_of(folder: Path) -> dict[str, list[str]]:
    """Per user the items in the order of time."""
    frame = pd.read_csv(folder / "shop/shop.inter", sep="\t").sort_values("timestamp:float", kind="stable")
    return {user: rows["item_id:token"].tolist() for user, rows in frame.groupby("user_id:token")}


def naive(
    dataset: Any, scores: torch.Tensor, asked: list[tuple[str, list[str], set[str]]], pool: list[str]
) -> float:
    """Mean NDCG@5 of queries (user, positives, masked items), every candidate looked at."""
    user_id, item_id = dataset.field2token_id["user_id"], dataset.field2token_id["item_id"]
    found = []
    for user, positives, masked in asked:
        row = scores[user_id[user]]
        open_items = [i for i in pool if i in positives or i not in masked]
        best = sorted(open_items, key=lambda i: -row[item_id[i]])[:5]
        gain = sum(1 / np.log2(k + 2) for k, item in enumerate(best) if item in positives)
        found.append(gain / sum(1 / np.log2(k + 2) for k in range(min(5, len(positives)))))
    return float(np.mean(found))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("model", ["BPR", "SASRec", "SASRecF"])
@pytest.mark.parametrize("candidates", ["interacted", "catalogue"])
def test_ndcg_by_a_loop(tmp_path: Path, model: str, mask: str, candidates: str) -> None:
    settings = {
        **write_shop(tmp_path),
        "mask_seen": mask,
        "candidates": candidates,
        "eval_args": LEAVE_ONE_OUT,
        "sequence_split": "interactions",
    }
    config, (_, valid, test) = built(model, settings)
    dataset = test._dataset
    model_ = Scores(dataset.user_num, dataset.item_num)
    rows = rows_of(tmp_path)
    pool = sorted({item for items in rows.values() for item in items})
    if candidates == "catalogue":
        pool = [f"i{k}" for k in range(ITEMS)]
    for loader, place in ((valid, -2), (test, -1)):
        asked = []
        for user, items in rows.items():
            last = min(2, len(items) - 1)  # a row stays in training
            if -place > last:
                continue
            part = {"train": items[:-last], "valid": items[-last:-1] if place == -1 else []}
            asked.append((user, [items[place]], {i for name in MASKS[mask] for i in part[name]}))
        found = Evaluator(config).evaluate(model_, loader)
        assert len(found.queries) == len(asked)
        assert found.metrics["ndcg@5"] == pytest.approx(naive(dataset, model_.scores, asked, pool), abs=1e-6)


@pytest.mark.parametrize(("domains", "length"), [(1, 50), (2, 50), (1, 1)])
def test_a_user_with_several_queries_is_masked_in_each(tmp_path: Path, domains: int, length: int) -> None:
    """Whatever is left of the histories."""
    config, (_, _, test) = built(
        "SASRec",
        {
            **write_shop(tmp_path),
            "mask_seen": "train+valid",
            "eval_args": RATIO,
            "MAX_ITEM_LIST_LENGTH": length,
        },
    )
    dataset = test._dataset
    model = Scores(dataset.user_num, dataset.item_num)
    pairs = pd.DataFrame({name: test._dataset.inter_feat[name].numpy() for name in ("user_id", "item_id")})
    assert pairs["user_id"].duplicated().any()
    rows = rows_of(tmp_path)
    users, items = dataset.field2id_token["user_id"], dataset.field2id_token["item_id"]
    asked = []
    for user, item in pairs.to_numpy():
        own = rows[users[user]]
        tested = {items[i] for i in pairs.loc[pairs["user_id"] == user, "item_id"]}
        asked.append((users[user], [items[item]], set(own) - tested))
    domain = {token: number % domains for number, token in enumerate(items)}
    if domains > 1:
        dataset.item_domain = torch.tensor([-1, *list(domain.values())[1:]])
        dataset.domain_names = ["even", "odd"]
    pool = sorted({item for items in rows.values() for item in items})
    expected = [
        naive(dataset, model.scores, [query], [i for i in pool if domain[i] == domain[query[1][0]]])
        for query in asked
    ]
    found = Evaluator(config).evaluate(model, test).metrics["ndcg@5"]
    assert found == pytest.approx(np.mean(expected), abs=1e-6)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("BPR", {"protocol": "mmrec", "mask_seen": "none"}, "^mask_seen: none, but protocol: mmrec is mask_seen"),
        ("BPR", {"evaluator": "recbole", "mask_seen": "train"}, "^mask_seen: RecBole's evaluator does train.valid"),
        ("SASRec", {"evaluator": "recbole", "mask_seen": "train"}, "^mask_seen: RecBole's evaluator does none"),
        ("SASRec", {"repeatable": False}, r"^repeatable: .* are not ranked, set mask_seen: train\+valid$"),
        (
            "BPR",
            {"candidates": "catalogue", "load_col": {"inter": ["user_id", "item_id"]}},
            r"^load_col: candidates: catalogue needs item: \[item_id\]$",
        ),
        ("BPR", {"mask_seen": "valid"}, r"^mask_seen: expected one of protocol, train\+valid, train, none, got "),
    ],
)  # fmt: skip
def test_what_is_at_odds_is_refused(
    tmp_path: Path, model: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(WrongUse, match=message):
        Config(model, "shop", config_dict={**write_shop(tmp_path), **settings})


def test_a_catalogue_needs_a_table_of_items(tmp_path: Path) -> None:
    settings = {**write_shop(tmp_path), "candidates": "catalogue"}
    (tmp_path / "shop/shop.item").unlink()
    with pytest.raises(WrongUse, match=r"^candidates: catalogue is .*shop\.item has no field 'item_id'$"):
        Config("BPR", "shop", config_dict=settings)


@pytest.mark.parametrize(
    ("model", "protocol", "mask"),
    [
        ("BPR", "recbole", "train+valid"),
        ("SASRec", "recbole", "none"),
        ("SASRec", "mmrec", "train"),
        ("CMC", ["sampled-9", "mmrec"], "train"),
    ],
)
def test_the_protocol_names_a_mask(tmp_path: Path, model: str, protocol: Any, mask: str) -> None:
    config = Config(model, "shop", config_dict={**write_shop(tmp_path), "protocol": protocol})
    assert config["mask_seen"] == mask
