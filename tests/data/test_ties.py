"""Rows of one time at the boundary of a split: file order, chance or nobody decides, and the share is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recbole_mm.config import Config
from recbole_mm.data import create_dataset, data_preparation
from recbole_mm.data.ties import Ties, by_time, settle, shuffled_ties, tied_rows
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec

# user, item, time: what LS valid_and_test makes of it stands beside
ROWS = [
    ("apart", "a", 1), ("apart", "b", 2), ("apart", "c", 3), ("apart", "d", 4),
    ("last", "a", 1), ("last", "b", 2), ("last", "c", 3), ("last", "d", 3),  # validation and test
    ("middle", "a", 1), ("middle", "b", 2), ("middle", "c", 2), ("middle", "d", 3),  # training and validation
    ("early", "a", 1), ("early", "b", 1), ("early", "c", 3), ("early", "d", 4),  # within training
    ("day", "a", 5), ("day", "b", 5), ("day", "c", 5), ("day", "d", 5),  # all
]  # fmt: skip
LEAVE_ONE_OUT = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    frame = pd.DataFrame(ROWS, columns=["user_id:token", "item_id:token", "timestamp:float"])
    (tmp_path / "days").mkdir()
    frame.to_csv(tmp_path / "days" / "days.inter", sep="\t", index=False)
    return tmp_path


def settings(root: Path, **more: Any) -> dict[str, Any]:
    return {
        "data_path": str(root),
        "checkpoint_dir": str(root / "saved"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": LEAVE_ONE_OUT,
        "MAX_ITEM_LIST_LENGTH": 3,
        "epochs": 1,
        "use_gpu": False,
        "show_progress": False,
        **more,
    }


def parts(root: Path, model: str = "BPR", **more: Any) -> list[set[tuple[str, str]]]:
    """(user, items of the history and the item) of training, validation and test."""
    config = Config(model, "days", config_dict=settings(root, **more))
    dataset = create_dataset(config)
    found = []
    loaders = data_preparation(config, dataset)
    assert "_time" not in dataset.inter_feat
    for loader in loaders:
        part, feat = loader._dataset, loader._dataset.inter_feat
        assert "_time" not in feat
        users, items = (part.id2token(field, feat[field]) for field in ("user_id", "item_id"))
        if "item_id_list" in feat:
            lists = part.id2token("item_id", feat["item_id_list"])
            items = [
                "".join(item for item in row if item != "[PAD]") + last
                for row, last in zip(lists, items, strict=True)
            ]
        found.append(set(zip(users, items, strict=True)))
    return found


def rows(**items: str) -> set[tuple[str, str]]:
    return {(user, item) for user, those in items.items() for item in those.split()}


def test_the_order_of_the_file(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    train, valid, test = parts(root)
    users = ("apart", "last", "middle", "early", "day")
    assert train == rows(**dict.fromkeys(users, "a b"))
    assert (valid, test) == (rows(**dict.fromkeys(users, "c")), rows(**dict.fromkeys(users, "d")))
    assert [line.getMessage() for line in caplog.records if line.getMessage().startswith("ties")] == [
        "ties: for 3 of 5 users (60.0 %) rows of one time are on both sides of the split: the order of the file "
        "decides which row is asked (see ties: random | drop)"
    ]


@pytest.mark.parametrize("more", [{}, {"unused_col": {"inter": ["timestamp"]}}], ids=["time", "unused"])
def test_drop(root: Path, more: dict[str, Any]) -> None:
    train, valid, test = parts(root, ties="drop", **more)
    assert train == rows(apart="a b", last="a b", middle="a", early="a b")
    assert (valid, test) == (rows(apart="c", early="c"), rows(apart="d", early="d"))


def test_drop_of_sequences(root: Path) -> None:
    train, valid, test = parts(root, "SASRec", ties="drop", sequence_split="interactions")
    assert train == rows(apart="ab", last="ab", early="ab")
    assert (valid, test) == (rows(apart="abc", early="abc"), rows(apart="abcd", early="abcd"))
    train, valid, test = parts(root, "SASRec", ties="drop")
    assert train == rows(apart="ab", last="ab", early="ab")
    assert (valid, test) == (rows(apart="abc", early="abc"), rows(apart="abcd", early="abcd"))


def test_random(root: Path) -> None:
    """Only rows of one time change places; the same for every family and for one seed; each is asked as often."""
    asked = {seed: parts(root, ties="random", split_seed=seed)[2] for seed in range(16)}
    for model in ("BPR", "SASRec"):
        again = parts(root, model, ties="random", split_seed=7, sequence_split="interactions")[2]
        assert {(user, items[-1]) for user, items in again} == asked[7]
    found = {user: [dict(pairs)[user] for pairs in asked.values()] for user in dict(asked[0])}
    assert set(found["apart"]) == set(found["early"]) == set(found["middle"]) == {"d"}
    assert set(found["last"]) == {"c", "d"}
    assert set(found["day"]) == {"a", "b", "c", "d"}


def test_domains(root: Path) -> None:
    """A user's rows of one time in two domains are cut apart by no boundary."""
    frame = pd.DataFrame(ROWS, columns=["user_id:token", "item_id:token", "timestamp:float"])
    frame["kind:token"] = ["x", "y", "x", "y"] * 5
    frame = pd.concat(
        [frame, frame.assign(**{"timestamp:float": frame["timestamp:float"] - 9, "item_id:token": "e"})]
    )
    frame.to_csv(root / "days" / "days.inter", sep="\t", index=False)
    config = Config("BPR", "days", config_dict=settings(root, domain_field="kind"))
    dataset = create_dataset(config)
    data_preparation(config, dataset)
    assert dataset.ties == Ties("file", asked=10, tied=2, share=0.2)  # both domains of "day"


@pytest.mark.parametrize("seed", range(5))
def test_against_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 200
    group, time, part = rng.integers(0, 30, n), rng.integers(0, 9, n) + 1.7e9, rng.integers(0, 3, n)
    tied = np.array(
        [
            any(group[j] == group[i] and time[j] == time[i] and part[j] != part[i] for j in range(n))
            for i in range(n)
        ]
    )
    theirs = np.array([any(tied[j] and group[j] == group[i] for j in range(n)) for i in range(n)])
    found = tied_rows(group, time, part)
    assert (found[0] == tied).all() and (found[1] == theirs).all()
    order = np.argsort(part, kind="stable")
    cut = np.searchsorted(part[order], [1, 2])
    ties, kept = settle(np.split(group[order], cut), np.split(time[order], cut), "drop")
    assert (np.concatenate(kept) == ~(tied | (theirs & (part > 0)))[order]).all()
    asked = len(set(group[part > 0]))
    assert ties == Ties("drop", asked, len(set(group[tied])), len(set(group[tied])) / asked)


def test_shuffled_ties_keep_every_place_its_time() -> None:
    times = np.random.default_rng(1).integers(0, 5, 60)
    order = shuffled_ties(times, 3)
    assert (
        (times[order] == times).all() and sorted(order) == list(range(60)) and (order != np.arange(60)).any()
    )
    assert (order == shuffled_ties(times, 3)).all() and (order != shuffled_ties(times, 4)).any()


def test_no_tie_no_word(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts(root, eval_args={**LEAVE_ONE_OUT, "order": "RO"})
    parts(root, split={"random": [0.5, 0.25, 0.25]})
    frame = pd.DataFrame(
        ROWS[:4] + ROWS[12:16], columns=["user_id:token", "item_id:token", "timestamp:float"]
    )
    frame.to_csv(root / "days" / "days.inter", sep="\t", index=False)
    parts(root)
    assert not [line for line in caplog.records if line.getMessage().startswith("ties")]


@pytest.mark.parametrize(
    ("order", "split", "more", "decides"),
    [
        ("TO", {"LS": "valid_and_test"}, {}, True),
        ("RO", {"RS": [0.8, 0.1, 0.1]}, {}, False),
        ("RO", {"TS": [0.8, 0.1, 0.1]}, {}, True),
        ("TO", {"LS": "valid_and_test"}, {"split": {"field": "part"}}, False),
        ("TO", {"LS": "valid_and_test"}, {"benchmark_filename": ["train", "valid", "test"]}, False),
    ],
)
def test_when_time_decides_the_parts(
    order: str, split: dict[str, Any], more: dict[str, Any], decides: bool
) -> None:
    config = {"eval_args": {"order": order, "split": split}, "split": None, "benchmark_filename": None}
    assert bool(by_time({**config, **more})) is decides


def test_no_effect_where_time_decides_no_part(root: Path) -> None:
    config = Config(
        "BPR", "days", config_dict=settings(root, ties="drop", split={"random": [0.5, 0.25, 0.25]})
    )
    assert "ties: no effect with BPR: the order of time decides no part of the data" in config.notes


def test_the_record_holds_the_share(root: Path) -> None:
    result = Session.build(RunSpec("BPR", "days", settings(root, ties="drop"))).run()
    assert result.record["ties"] == {"settled_by": "drop", "asked": 5, "tied": 3, "share": 0.6}
    assert ", ties drop;" in result.record["evaluation"]["split"]
