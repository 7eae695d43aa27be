"""Sequences cut from the parts of a split: the queries of all families, histories against a plain loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recbole_mm.config import Config
from recbole_mm.data import create_dataset, data_preparation
from recbole_mm.data import sequence as cutting
from recbole_mm.errors import WrongUse
from recbole_mm.evaluator.query import build_task
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec

SIZE = 4  # of a history: some users have more
SPLITS: dict[str, dict[str, Any]] = {
    "leave one out": {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"}},
    "ratio by user": {"eval_args": {"split": {"RS": [0.6, 0.2, 0.2]}, "order": "TO", "group_by": "user"}},
    "ratio": {"eval_args": {"split": {"RS": [0.6, 0.2, 0.2]}, "order": "TO", "group_by": "none"}},
    "random": {"eval_args": {"split": {"RS": [0.6, 0.2, 0.2]}, "order": "RO", "group_by": "user"}},
    "random ratio": {"eval_args": {"split": {"RS": [0.6, 0.2, 0.2]}, "order": "RO", "group_by": "none"}},
    "time": {"eval_args": {"split": {"TS": [0.6, 0.2, 0.2]}, "order": "TO", "group_by": "user"}},
    "ours": {"split": {"random": [0.6, 0.2, 0.2], "by": ["user"]}},
    "field": {"split": {"field": "part"}},
    "cold": {"split": {"random": [0.6, 0.2, 0.2], "by": ["user"]}, "cold_items": 0.1},
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 users with 1 to 8 rows of 14 items in any order, some at the same time; `part` is a fixed split."""
    rng = np.random.default_rng(3)
    rows = [
        (f"u{u}", f"i{i}", int(rng.integers(12)), rng.choice(["train", "train", "valid", "test"]), u % 2)
        for u in range(24)
        for i in rng.permutation(14)[: 1 + u % 8]
    ]
    frame = pd.DataFrame(
        rows, columns=["user_id:token", "item_id:token", "timestamp:float", "part:token", "label:float"]
    )
    root = tmp_path_factory.mktemp("data")
    (root / "shop").mkdir()
    frame = frame.sample(frac=1, random_state=1)
    frame.to_csv(root / "shop" / "shop.inter", sep="\t", index=False)
    frame[["item_id:token"]].drop_duplicates().assign(**{"class:token_seq": "a b"}).to_csv(
        root / "shop" / "shop.item", sep="\t", index=False
    )
    return root


def settings(root: Path, **more: Any) -> dict[str, Any]:
    return {
        "data_path": str(root),
        "checkpoint_dir": str(root / "saved"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp", "part"]},
        "sequence_split": "interactions",
        "MAX_ITEM_LIST_LENGTH": SIZE,
        "use_gpu": False,
        "show_progress": False,
        "epochs": 1,
        **more,
    }


def loaders(root: Path, model: str, **more: Any) -> tuple[Any, Any, Any]:
    config = Config(model, "shop", config_dict=settings(root, **more))
    return data_preparation(config, create_dataset(config))


def questions(loader: Any) -> list[tuple[str, tuple[str, ...]]]:
    """(user token, tokens of the positives) of each query, as the evaluator asks."""
    task, dataset = build_task(loader, loader.config, budget=10**6), loader._dataset
    items = dataset.id2token("item_id", task.pos_item)
    found = []
    for query, user in enumerate(dataset.id2token("user_id", task.user)):
        found.append((user, tuple(sorted(items[task.pos_query == query]))))
    return sorted(found)


def rows_of(part: Any) -> pd.DataFrame:
    """The interactions of a part of a general model, as tokens."""
    feat = part.inter_feat
    return pd.DataFrame(
        {
            "user": part.id2token("user_id", feat["user_id"].numpy()),
            "item": part.id2token("item_id", feat["item_id"].numpy()),
            "time": feat["timestamp"].numpy(),
        }
    )


def sequences_of(part: Any) -> list[tuple[str, str, list[str]]]:
    """(user, target, history) of each row of a sequential part, sorted."""
    feat = part.inter_feat
    token = part.field2id_token["item_id"]
    lengths = feat["item_length"].tolist()
    return sorted(
        (part.field2id_token["user_id"][u], token[i], token[row[:n]].tolist())
        for u, i, row, n in zip(
            feat["user_id"].tolist(),
            feat["item_id"].tolist(),
            feat["item_id_list"].numpy(),
            lengths,
            strict=True,
        )
    )


def naive(shop: Path, parts: list[pd.DataFrame]) -> list[list[tuple[str, str, list[str]]]]:
    """Sequences of the three parts by plain loops, in the order of time and then of the file."""
    file = pd.read_csv(shop / "shop" / "shop.inter", sep="\t")
    order = file.sort_values("timestamp:float", kind="stable")
    place = {(row[1], row[2]): n for n, row in enumerate(order.itertuples())}

    def history(rows: pd.DataFrame, user: str, before: int = 10**6) -> list[str]:
        items = [item for item in rows[rows["user"] == user]["item"] if place[user, item] < before]
        return sorted(items, key=lambda item: place[user, item])[-SIZE:]

    train, valid, test = parts
    found = [[(u, i, history(train, u, place[u, i])) for u, i in train[["user", "item"]].to_numpy()]]
    found[0] = [each for each in found[0] if each[2]]
    for known, asked in ((train, valid), (pd.concat([train, valid]), test)):
        found.append([(u, i, history(known, u) or ["[PAD]"]) for u, i in asked[["user", "item"]].to_numpy()])
    return [sorted(each) for each in found]


@pytest.mark.parametrize("split", SPLITS)
def test_all_families_are_asked_the_same(shop: Path, split: str) -> None:
    general, sequential = (loaders(shop, model, **SPLITS[split]) for model in ("BPR", "SASRec"))
    for ours, theirs in zip(general[1:], sequential[1:], strict=True):
        assert questions(theirs) == questions(ours)


@pytest.mark.parametrize("split", SPLITS)
def test_histories_are_those_of_a_plain_loop(shop: Path, split: str) -> None:
    parts = [rows_of(loader._dataset) for loader in loaders(shop, "BPR", **SPLITS[split])]
    made = [sequences_of(loader._dataset) for loader in loaders(shop, "SASRec", **SPLITS[split])]
    assert made == naive(shop, parts)
    assert sum(map(len, parts)) == 108 and len(made[1]) == len(parts[1]) and len(made[2]) == len(parts[2])


@pytest.mark.parametrize("split", ["leave one out", "random", "ratio"])
def test_no_test_row_is_in_a_training_sequence(shop: Path, split: str) -> None:
    train, valid, test = (loader._dataset for loader in loaders(shop, "SASRec", **SPLITS[split]))
    asked = [{(u, i) for u, i, _ in sequences_of(part)} for part in (valid, test)]
    seen = {(u, item) for u, target, history in sequences_of(train) for item in [target, *history]}
    assert not seen & (asked[0] | asked[1])
    seen = {(u, item) for u, _, history in sequences_of(valid) for item in history}
    assert not seen & (asked[0] | asked[1])
    assert not {(u, item) for u, _, history in sequences_of(test) for item in history} & asked[1]


def test_the_checks_fail_on_a_planted_fault(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [rows_of(loader._dataset) for loader in loaders(shop, "BPR", **SPLITS["random"])]
    windows = cutting._windows
    monkeypatch.setattr(
        cutting, "_windows", lambda order, start, stop, size: windows(order, start, stop + 1, size)
    )
    with pytest.raises((AssertionError, IndexError)):
        made = [sequences_of(loader._dataset) for loader in loaders(shop, "SASRec", **SPLITS["random"])]
        assert made == naive(shop, parts)


def test_training_sequences_are_recboles_where_no_user_is_short(shop: Path) -> None:
    """Of users with three rows or more, leave-one-out gives the same sequences, cut before or after."""
    more = {**SPLITS["leave one out"], "user_inter_num_interval": "[4,inf)"}
    ours = loaders(shop, "SASRec", **more)
    recboles = loaders(shop, "SASRec", **more, **{"sequence_split": "prefixes"})
    for one, other in zip(ours, recboles, strict=True):
        assert sequences_of(one._dataset) == sequences_of(other._dataset)
        mine, theirs = one._dataset.inter_feat, other._dataset.inter_feat
        assert set(mine.columns) == set(theirs.columns)
        for field in mine.columns:
            assert mine[field].dtype == theirs[field].dtype and mine[field].shape == theirs[field].shape


def test_prefixes_do_not_ask_a_user_with_two_rows(shop: Path) -> None:
    asked = []
    for how in ("interactions", "prefixes"):
        *_, test = loaders(shop, "SASRec", **SPLITS["leave one out"], **{"sequence_split": how})
        asked.append({user for user, _ in questions(test)})
    assert asked[0] - asked[1] == {"u1", "u9", "u17"}


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("BPR", {}),
        ("SASRec", {"n_layers": 1}),
        ("SASRecF", {"n_layers": 1, "selected_features": ["class"]}),
        ("BERT4Rec", {"n_layers": 1}),
        (
            "S3Rec",
            {"n_layers": 1, "train_stage": "pretrain", "item_attribute": "class", "pretrain_epochs": 1},
        ),
        ("DIN", {}),
        ("DIEN", {}),
        ("FPMC", {}),
    ],
)
def test_families_train_and_are_asked_one_query_a_user(shop: Path, model: str, more: dict[str, Any]) -> None:
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class"]}
    ranked = {"metrics": ["NDCG"], "topk": [5], "valid_metric": "NDCG@5", "load_col": columns}
    given = settings(shop, **SPLITS["ratio by user"], **ranked, **more) | {"MAX_ITEM_LIST_LENGTH": 10}
    given["eval_args"] = {**given["eval_args"], "mode": "uni5" if model in ("DIN", "DIEN") else "full"}
    run = Session.build(RunSpec(model, "shop", given, seed=1)).run()
    assert run.queries is not None and len(run.queries) == 21
    assert set(run.queries["n_positives"]) == {1}
    assert 0 <= run.record["test_result"]["ndcg@5"] <= 1
    assert run.record["sequence_split"] == (None if model == "BPR" else "interactions")


def test_recboles_evaluator_asks_the_same(shop: Path) -> None:
    found = []
    for evaluator in ("mm", "recbole"):
        more = {**SPLITS["random"], "evaluator": evaluator, "topk": [3], "valid_metric": "NDCG@3"}
        session = Session.build(RunSpec("GRU4Rec", "shop", settings(shop, **more), seed=1))
        found.append(session.evaluate())
    assert found[0] == pytest.approx(found[1], abs=1e-4)


@pytest.mark.parametrize("key", [{"split": {"field": "part"}}, {"cold_items": 0.1}])
def test_own_splits_need_sequences_cut_from_parts(shop: Path, key: dict[str, Any]) -> None:
    with pytest.raises(WrongUse) as caught:
        loaders(shop, "SASRec", **key, **{"sequence_split": "prefixes"})
    name = next(iter(key))
    assert str(caught.value) == (
        f"{name}: it splits interactions, and sequence_split is prefixes; set sequence_split: interactions"
    )
