"""Data that comes in files of parts, two or three, and data without a validation part."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recbole_mm.config import Config
from recbole_mm.data import data_preparation
from recbole_mm.errors import WrongUse
from recbole_mm.quick_start.compare import compare
from recbole_mm.quick_start.session import Session, load_dataset
from recbole_mm.quick_start.tune import tune
from recbole_mm.run.spec import RunSpec

NO_VALIDATION = (
    "no validation part: no early stopping, the last epoch is tested, and nothing may be chosen by its result"
)
# user, item, time: in the order of the file, u2's times backwards
TRAIN = [
    ("u1", "a", 1),
    ("u1", "b", 2),
    ("u1", "c", 3),
    ("u2", "d", 9),
    ("u2", "e", 5),
    ("u3", "a", 4),
    ("u1", "f", 7),
]
VALID = [("u1", "d", 8), ("u2", "a", 10)]
TEST = [("u1", "e", 9), ("u1", "g", 10), ("u3", "b", 9), ("u4", "c", 11), ("u4", "h", 12)]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """`full` and `rest` are VALID beside TRAIN, and the same without times."""
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, rows in {"train": TRAIN, "valid": VALID, "test": TEST}.items():
        frame = pd.DataFrame(rows, columns=["user_id:token", "item_id:token", "timestamp:float"])
        frame.to_csv(folder / f"shop.{name}.inter", sep="\t", index=False)
        frame.drop(columns="timestamp:float").to_csv(folder / f"shop.{name}0.inter", sep="\t", index=False)
    pd.DataFrame(
        [("u1", "a b", "c"), ("u2", "d", "a"), ("u3", "b c a", "d")],
        columns=["user_id:token", "item_id_list:token_seq", "item_id:token"],
    ).to_csv(folder / "shop.seq.inter", sep="\t", index=False)
    return tmp_path


def settings(root: Path, files: list[str] | None, **more: Any) -> dict[str, Any]:
    return {
        "data_path": str(root),
        "checkpoint_dir": str(root / "saved"),
        "benchmark_filename": files,
        "MAX_ITEM_LIST_LENGTH": 3,
        "use_gpu": False,
        "show_progress": False,
        "epochs": 2,
        "topk": [2],
        "valid_metric": "NDCG@2",
        "metrics": ["NDCG"],
        **more,
    }


def parts(root: Path, model: str, files: list[str], **more: Any) -> list[list[tuple[str, ...]] | None]:
    """(user, item) of each row of the parts; sequential: with the history as one word."""
    config = Config(model, "shop", config_dict=settings(root, files, **more))
    found: list[list[tuple[str, ...]] | None] = []
    for loader in data_preparation(config, load_dataset(config)):
        if loader is None:
            found.append(None)
            continue
        part, feat = loader._dataset, loader._dataset.inter_feat
        users, items = (part.id2token(field, feat[field].numpy()) for field in ("user_id", "item_id"))
        rows = [(str(u), str(i)) for u, i in zip(users, items, strict=True)]
        if "item_id_list" in feat:
            token = part.field2id_token["item_id"]
            history = [
                "".join(token[row[:n]])
                for row, n in zip(feat["item_id_list"].numpy(), feat["item_length"], strict=True)
            ]
            rows = [(*row, each) for row, each in zip(rows, history, strict=True)]
        found.append(sorted(rows))
    return found


def pairs(rows: list[tuple[str, str, int]]) -> list[tuple[str, str]]:
    return sorted((user, item) for user, item, _ in rows)


LAST = {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"}}
NONE = {"eval_args": {"split": {"LS": "test_only"}, "order": "TO", "group_by": "user"}}


def test_three_files_are_the_parts(shop: Path) -> None:
    assert parts(shop, "BPR", ["train", "valid", "test"]) == [pairs(TRAIN), pairs(VALID), pairs(TEST)]


def test_a_sequential_model_reads_histories_from_the_files_before(shop: Path) -> None:
    train, valid, test = parts(shop, "GRU4Rec", ["train", "valid", "test"])
    assert train == [("u1", "b", "a"), ("u1", "c", "ab"), ("u1", "f", "abc"), ("u2", "d", "e")]
    assert valid == [("u1", "d", "bcf"), ("u2", "a", "ed")]
    assert test == [
        ("u1", "e", "cfd"),
        ("u1", "g", "cfd"),
        ("u3", "b", "a"),
        ("u4", "c", "[PAD]"),
        ("u4", "h", "[PAD]"),
    ]


def test_without_times_the_order_is_that_of_the_rows(shop: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "recbole_mm"):
        train, valid, _ = parts(shop, "GRU4Rec", ["train0", "valid0", "test0"])
    assert ("u2", "e", "d") in train and ("u2", "a", "de") in valid
    assert "no field 'timestamp': histories are in the order of the rows" in caplog.messages


@pytest.mark.parametrize(
    ("more", "valid"),
    [
        (LAST, [("u1", "f"), ("u2", "d")]),
        ({"eval_args": {"split": {"RS": [0.5, 0.25, 0.25]}, "order": "TO", "group_by": "user"}},
         [("u1", "f"), ("u2", "d")]),
        ({"eval_args": {"split": {"RS": [5, 2, 3]}, "order": "TO", "group_by": None}}, [("u1", "f"), ("u2", "d")]),
        ({"eval_args": {"split": {"TS": [0.4, 0.4, 0.2]}, "order": "TO", "group_by": "user"}},
         [("u1", "c"), ("u1", "f"), ("u2", "d"), ("u3", "a")]),
    ],
)  # fmt: skip
def test_of_two_files_validation_is_cut_from_training(
    shop: Path, more: dict[str, Any], valid: list[tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "recbole_mm"):
        found = parts(shop, "BPR", ["train", "test"], **more)
    rule = f"eval_args.split {more['eval_args']['split']}"
    assert found == [sorted(set(pairs(TRAIN)) - set(valid)), valid, pairs(TEST)]
    assert (
        f"['train', 'test'] is training and test: validation is {len(valid)} of the 7 rows of the first, "
        f"cut from it by {rule}"
    ) in caplog.messages


def test_of_two_files_our_split_cuts_validation(shop: Path) -> None:
    more = {"split": {"random": [0.5, 0.3, 0.2], "by": ["user"]}}
    train, valid, test = parts(shop, "BPR", ["train", "test"], **more)
    assert valid and {user for user, _ in valid} == {"u1", "u2"}  # one of three rows, of one row none
    assert sorted(train + valid) == pairs(TRAIN) and test == pairs(TEST)


@pytest.mark.parametrize("files", [["train", "test"], ["train0", "test0"]])
def test_sequences_of_two_files(shop: Path, files: list[str]) -> None:
    train, valid, test = parts(shop, "GRU4Rec", files, **LAST)
    later, first = ("d", "e") if files[0] == "train" else ("e", "d")
    assert train == [("u1", "b", "a"), ("u1", "c", "ab")]
    assert valid == [("u1", "f", "abc"), ("u2", later, first)]
    assert test[0] == ("u1", "e", "bcf") and test[-1] == ("u4", "h", "[PAD]")


@pytest.mark.parametrize("model", ["BPR", "GRU4Rec"])
def test_two_files_without_validation_say_so(
    shop: Path, model: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop)
    session = Session.build(RunSpec(model, "shop", settings(shop, ["train", "test"], **NONE), seed=1))
    assert session.valid_data is None and caplog.messages.count(NO_VALIDATION) == 1
    run = session.run()
    record = run.record
    assert (record["best_valid_score"], record["best_valid_result"], record["epochs_run"]) == (None, None, 2)
    assert len(run.queries) == 3
    trained = {name: value.clone() for name, value in session.model.state_dict().items()}
    opened = Session.open(session.trainer.folder.path)
    assert opened.evaluate() == record["test_result"]  # of the last epoch
    assert all((value == trained[name]).all() for name, value in opened.model.state_dict().items())
    with pytest.raises(WrongUse, match="evaluate: the split leaves no row to valid"):
        session.evaluate("valid")


@pytest.fixture
def one_file(shop: Path) -> Callable[..., dict[str, Any]]:
    pd.concat(
        pd.read_csv(shop / "shop" / f"shop.{part}.inter", sep="\t") for part in ("train", "valid", "test")
    ).to_csv(shop / "shop" / "shop.inter", sep="\t", index=False)
    return lambda **more: settings(shop, None, **more)


@pytest.mark.parametrize(
    "more",
    [NONE, {"eval_args": {"split": {"RS": [0.8, 0, 0.2]}, "order": "RO", "group_by": "user"}},
     {"split": {"random": [0.8, 0, 0.2]}}],
)  # fmt: skip
def test_a_search_refuses_a_split_without_validation(
    one_file: Callable[..., dict[str, Any]], more: dict[str, Any], tmp_path: Path
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("learning_rate: [.1, .01]\n")
    given = {
        key: value for key, value in one_file(**more).items() if key not in ("checkpoint_dir", "valid_metric")
    }
    with pytest.raises(WrongUse) as caught:
        tune(
            "BPR", "shop", space=space, out=tmp_path / "out", config_dict={**given, "valid_metric": "NDCG@2"}
        )
    key = "split" if "split" in more else "eval_args.split"
    shown = more[key] if key == "split" else more["eval_args"]["split"]
    words = f"split: {shown}" if key == "split" else f"{key} {shown}"
    assert str(caught.value) == f"tune chooses by validation, and {words} takes no row for it"


def test_a_table_may_be_made_without_validation_and_not_without_test(
    one_file: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    given = {
        key: value for key, value in one_file(**NONE).items() if key not in ("checkpoint_dir", "metrics")
    }
    table = compare(
        ["BPR", "GRU4Rec"], "shop", 1, metrics=["ndcg@2"], out=tmp_path / "out", config_dict=given
    )
    assert not table.failed and all(row.values("ndcg@2") for row in table.rows)
    given["eval_args"] = {"split": {"LS": "valid_only"}, "order": "TO"}
    table = compare(["BPR"], "shop", 1, metrics=["ndcg@2"], out=tmp_path / "none", config_dict=given)
    assert [row.errors for row in table.rows] == [
        {2020: "the split leaves no test row; see eval_args, split and benchmark_filename"}
    ]


@pytest.mark.parametrize(
    ("files", "more", "words"),
    [
        (["train"], {}, "benchmark_filename: expected [train, valid, test] or [train, test], got ['train'] (the names "
         "between shop. and .inter)"),
        (["train", "valid", "test"], {"split": {"random": [0.8, 0.1, 0.1]}}, "split: {'random': [0.8, 0.1, 0.1]} "
         "beside benchmark_filename: ['train', 'valid', 'test'], which is a split already; leave one of them out"),
        (["train0", "test0"], LAST, "benchmark_filename: validation is cut from 'train0' in the order of time, and "
         "there is no field 'timestamp'; set eval_args.order to RO, eval_args.split to {LS: test_only} (no "
         "validation), or name three files"),
    ],
)  # fmt: skip
def test_files_that_are_no_split_are_one_line(
    shop: Path, files: list[str], more: dict[str, Any], words: str
) -> None:
    with pytest.raises(WrongUse) as caught:
        parts(shop, "BPR", files, **more)
    assert str(caught.value) == words


def test_files_with_sequences_are_taken_as_they_are(shop: Path) -> None:
    """RecBole wants load_col and alias_of_item_id; without the alias it numbers histories apart from items."""
    rows = [("u1", "c", "ab"), ("u2", "a", "d"), ("u3", "d", "bca")]
    assert parts(shop, "GRU4Rec", ["seq", "seq", "seq"]) == [rows, rows, rows]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"load_col": {"inter": ["user_id", "item_id"]}},
         "load_col: the rows of {}.*.inter come with their sequences (item_id_list), which it leaves out; "
         "add item_id_list"),
        ({"alias_of_item_id": ["other"]}, "alias_of_item_id: item_id_list holds items too; add it"),
    ],
)  # fmt: skip
def test_sequences_that_are_not_asked_for_are_one_line(shop: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongUse) as caught:
        parts(shop, "GRU4Rec", ["seq", "seq", "seq"], **more)
    assert str(caught.value) == words.format(shop / "shop" / "shop")
