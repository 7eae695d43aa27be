"""Times stay as they are in the file: the order of the rows is that of pandas' stable sort, whatever the clock."""

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

SIZE = 5  # of a history
CLOCKS = {
    "seconds": lambda rng, n: 1_700_000_000 + rng.integers(0, 400, n),
    "milliseconds": lambda rng, n: 1_700_000_000_000 + rng.integers(0, 400, n),
    "microseconds": lambda rng, n: 1_700_000_000_000_000 + rng.integers(0, 400, n),
    "parts of a second": lambda rng, n: np.round(1_700_000_000 + rng.random(n), 2),
    "before 1970": lambda rng, n: -100_000_000 - rng.integers(0, 40, n),
    "days": lambda rng, n: rng.integers(15_000, 15_100, n),
}
LEAVE_ONE_OUT = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"}


def write(root: Path, frame: pd.DataFrame) -> Path:
    (root / "clock").mkdir()
    frame.to_csv(root / "clock" / "clock.inter", sep="\t", index=False)
    return root


def events(rng: np.random.Generator, times: Any, users: int = 20, each: int = 12) -> pd.DataFrame:
    """``users`` with ``each`` events of different items, in any order of lines."""
    frame = pd.DataFrame(
        {
            "user_id:token": np.repeat([f"u{u}" for u in range(users)], each),
            "item_id:token": [f"i{i}" for _ in range(users) for i in rng.permutation(each + 8)[:each]],
            "timestamp:float": times(rng, users * each),
        }
    )
    return frame.sample(frac=1, random_state=int(rng.integers(2**31)))


def parts(root: Path, model: str, **more: Any) -> list[Any]:
    """The data sets of training, validation and test."""
    given = {
        "data_path": str(root),
        "checkpoint_dir": str(root / "saved"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": LEAVE_ONE_OUT,
        "MAX_ITEM_LIST_LENGTH": SIZE,
        "use_gpu": False,
        **more,
    }
    config = Config(model, "clock", config_dict=given)
    return [loader._dataset for loader in data_preparation(config, create_dataset(config))]


def tokens(part: Any) -> dict[str, list[tuple[str, ...]]]:
    """User token -> for each of its rows the tokens of the history and of the item, in the order of the part."""
    feat, found = part.inter_feat, {}
    items = part.id2token("item_id", feat["item_id"])[:, None]
    if "item_id_list" in feat.columns:
        items = np.concatenate([part.id2token("item_id", feat["item_id_list"]), items], axis=1)
    for user, row in zip(part.id2token("user_id", feat["user_id"]), items, strict=True):
        found.setdefault(user, []).append(tuple(item for item in row if item != "[PAD]"))
    return found


def pairs(part: Any) -> set[tuple[str, str]]:
    columns = (part.id2token(field, part.inter_feat[field]) for field in ("user_id", "item_id"))
    return set(zip(*columns, strict=True))


def in_order(frame: pd.DataFrame) -> dict[str, list[str]]:
    """The items of each user by pandas: sorted by time, equal times in the order of the file."""
    ordered = frame.sort_values("timestamp:float", kind="stable")
    return ordered.groupby("user_id:token")["item_id:token"].agg(list).to_dict()


@pytest.fixture(params=CLOCKS)
def clock(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    rng = np.random.default_rng(len(request.param))
    frame = events(rng, CLOCKS[request.param])
    return write(tmp_path, frame), frame


def test_leave_one_out(clock: tuple[Path, pd.DataFrame]) -> None:
    root, frame = clock
    found = [tokens(part) for part in parts(root, "BPR")]
    for user, items in in_order(frame).items():
        asked = [[item for (item,) in part[user]] for part in found]
        assert asked == [items[:-2], [items[-2]], [items[-1]]]


def test_ratio_over_all_rows(clock: tuple[Path, pd.DataFrame]) -> None:
    root, frame = clock
    args = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "TO", "group_by": "none"}
    ordered = frame.sort_values("timestamp:float", kind="stable")
    expected = ordered[:192], ordered[192:216], ordered[216:]
    for part, rows in zip(parts(root, "BPR", eval_args=args), expected, strict=True):
        assert pairs(part) == set(rows[["user_id:token", "item_id:token"]].itertuples(index=False, name=None))


def test_one_time_for_all(clock: tuple[Path, pd.DataFrame]) -> None:
    root, frame = clock
    args = {"split": {"TS": [0.8, 0.1, 0.1]}, "order": "TO", "group_by": "user"}
    boundary = np.percentile(frame["timestamp:float"], 90)
    late = frame[frame["timestamp:float"] > boundary]
    found = parts(root, "BPR", eval_args=args)[2]
    assert pairs(found) == set(late[["user_id:token", "item_id:token"]].itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("model", "more"),
    [("GRU4Rec", {}), ("DIEN", {"numerical_features": ["timestamp"]})],
    ids=["time", "feature"],
)
def test_prefixes(clock: tuple[Path, pd.DataFrame], model: str, more: dict[str, Any]) -> None:
    root, frame = clock
    found = [tokens(part) for part in parts(root, model, **more)]
    for user, items in in_order(frame).items():
        rows = [tuple(items[max(0, n - SIZE) : n + 1]) for n in range(1, len(items))]
        assert [part[user] for part in found] == [rows[:-2], [rows[-2]], [rows[-1]]]


@pytest.mark.parametrize("more", [{}, {"numerical_features": ["timestamp"]}], ids=["time", "feature"])
def test_sequences_cut_from_parts(clock: tuple[Path, pd.DataFrame], more: dict[str, Any]) -> None:
    root, frame = clock
    found = [tokens(part) for part in parts(root, "SASRec", sequence_split="interactions", **more)]
    for user, items in in_order(frame).items():
        rows = [tuple(items[max(0, n - SIZE) : n + 1]) for n in range(1, len(items))]
        assert [part[user] for part in found] == [rows[:-2], [rows[-2]], [rows[-1]]]


def test_three_seconds_apart(tmp_path: Path) -> None:
    """The trial of the issue: float32 took another item out for 50 of the 60 users, and another history for all."""
    start = 1_700_000_000 + np.arange(60) * 7919
    frame = events(
        np.random.default_rng(1), lambda rng, n: (start[:, None] + 3 * np.arange(12)).ravel(), users=60
    )
    expected = in_order(frame)
    test = tokens(parts(write(tmp_path, frame), "SASRec", sequence_split="interactions")[2])
    assert test == {user: [tuple(items[-1 - SIZE :])] for user, items in expected.items()}


def test_batches_hold_what_the_file_holds(tmp_path: Path) -> None:
    frame = events(np.random.default_rng(2), CLOCKS["milliseconds"])
    frame["views:float"] = 2**24 + 1 + np.arange(len(frame))
    frame["price:float"] = 0.1
    root = write(tmp_path, frame)
    load = {"inter": ["user_id", "item_id", "timestamp", "views", "price"]}
    of = dict(zip(frame["item_id:token"] + frame["user_id:token"], frame["timestamp:float"], strict=True))
    train = parts(root, "BPR", load_col=load)[0]
    batch = train[:]
    assert {name: batch[name].dtype for name in ("timestamp", "views", "price")} == {
        "timestamp": torch.float64,
        "views": torch.float64,
        "price": torch.float32,
    }
    names = [train.id2token(f, batch[f]) for f in ("item_id", "user_id")]
    assert batch["timestamp"].tolist() == [of[item + user] for item, user in zip(*names, strict=True)]
    assert set(batch["views"].tolist()) <= set(frame["views:float"])


def test_what_a_model_computes_with_is_float32(tmp_path: Path) -> None:
    root = write(tmp_path, events(np.random.default_rng(2), CLOCKS["milliseconds"]))
    for model, field in (("DIEN", "timestamp_list"), ("SASRec", "timestamp"), ("DeepFM", "timestamp")):
        more = {
            "numerical_features": ["timestamp"],
            "unused_col": {"inter": []},
        }  # DeepFM would not see the time
        part = parts(root, model, **more, LABEL_FIELD="label")[0]
        assert part[:][field].dtype == torch.float32, model
        assert part.inter_feat[field].dtype == torch.float64, model


def test_repeated_pairs_are_kept_by_time_and_line(tmp_path: Path) -> None:
    """``rm_dup_inter`` sorts by time: rows of one time stay in the order of the file."""
    rng = np.random.default_rng(5)
    frame = events(rng, lambda rng, n: rng.integers(0, 3, n), users=30)
    frame = pd.concat([frame, frame.sample(frac=0.5, random_state=1)])
    root = write(tmp_path, frame)
    ordered = frame.sort_values("timestamp:float", kind="stable").drop_duplicates(
        ["user_id:token", "item_id:token"], keep="last"
    )
    config = Config(
        "BPR",
        "clock",
        config_dict={
            "data_path": str(root),
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "rm_dup_inter": "last",
            "use_gpu": False,
        },
    )
    dataset = create_dataset(config)
    columns = [dataset.id2token(field, dataset.inter_feat[field].values) for field in ("user_id", "item_id")]
    expected = ordered[["user_id:token", "item_id:token"]].itertuples(index=False, name=None)
    assert list(zip(*columns, strict=True)) == list(expected)


@pytest.mark.parametrize(
    ("split", "more", "words"),
    [
        ("LS", {"discretization": {"timestamp": {"method": "ED", "bucket": 5}}},
         "discretization: the order of time needs 'timestamp' as it is, not in buckets; leave it out"),
        ("TS", {}, "numerical_features: eval_args.split TS cuts by 'timestamp', which may be none; leave it out"),
    ],
)  # fmt: skip
def test_times_without_order_are_refused(
    tmp_path: Path, split: str, more: dict[str, Any], words: str
) -> None:
    root = write(tmp_path, events(np.random.default_rng(2), CLOCKS["seconds"]))
    args = {**LEAVE_ONE_OUT, "split": {split: {"LS": "valid_and_test", "TS": [0.8, 0.1, 0.1]}[split]}}
    with pytest.raises(WrongUse) as caught:
        parts(root, "BPR", eval_args=args, numerical_features=["timestamp"], **more)
    assert str(caught.value) == words
