"""``recbole-mm check``: hand-made rows, of which every figure can be counted by eye."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_mm.cli import main
from recbole_mm.modality import ModalityStore

DAY = 86_400
ROWS = [
    # user, item, day, part, kind
    ("u1", "a", 1, "train", "x"), ("u1", "b", 2, "train", "x"), ("u1", "a", 3, "test", "x"),  # a again
    ("u2", "a", 1, "train", "x"), ("u2", "c", 4, "train", "y"), ("u2", "d", 4, "test", "y"),  # tied; d in the test only
    ("u3", "c", 2, "train", "y"), ("u3", "a", 3, "valid", "x"), ("u3", "b", 5, "test", "x"),
    ("u4", "b", 9, "test", "x"),  # in the test only
]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    names = ["user_id:token", "item_id:token", "timestamp:float", "part:token", "kind:token"]
    frame = pd.DataFrame(ROWS, columns=names)
    frame["timestamp:float"] = 1_300_000_000 + DAY * frame["timestamp:float"]
    frame.loc[frame.index[-1], "timestamp:float"] = 40_000_000_000  # of another unit, it seems
    frame.loc[0, "timestamp:float"] = 0
    (tmp_path / "shop").mkdir()
    frame.to_csv(tmp_path / "shop" / "shop.inter", sep="\t", index=False)
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    path = tmp_path / "modality" / "shop" / "text"
    ModalityStore.write(path, vectors, ["a", "b", "c"], modality="text", encoder="by hand")
    return tmp_path


def found(root: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    args = ["check", "--dataset=shop", f"--data_path={root}", f"--modality_path={root / 'modality'}", *more]
    assert main(args) == 0
    return capsys.readouterr().out


def test_figures(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load = "--load_col={inter: [user_id, item_id, part, kind]}"
    told = json.loads(found(root, capsys, "--split={field: part}", "--domain_field=kind", load, "--json"))
    assert told == {
        "dataset": "shop",
        "rows": 10,
        "users": 4,
        "items": 4,
        "repeated_pairs": 1,
        "times": {
            "unit": "s",
            "range": [0, 40_000_000_000],
            "dates": None,
            "not_after_1970": 1,
            "in_the_future": 1,
        },
        "last_two_tied": {"users": 1, "of": 3},
        "domains": {"domains": 2, "users": 2, "items": 0},
        "stores": {"text": {"items": 3, "of": 4, "equal": 2}},
        "parts": [5, 1, 4],
        "boundary_tied": None,
        "test_pairs_in_training": {"pairs": 1, "of": 4},
        "in_the_test_only": {"users": 1, "items": 1},
    }


def test_words(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_time = "--eval_args={split: {LS: test_only}, order: TO, group_by: user}"
    assert found(root, capsys, by_time).splitlines() == [
        "data      4 users, 4 items, 10 rows after the filters",
        "repeats   1 rows repeat a pair of user and item",
        "times     0 to 4e+10, in s since 1970; 1 not after 1970, 1 in the future",
        "ties      1 of 3 (33.3 %) users have their last two rows at one time",
        "split     7 / 0 / 3 rows of training, validation, test",
        "boundary  1 of 3 (33.3 %) users have rows of one time on both sides (ties)",
        "seen      1 of 3 (33.3 %) test pairs are in training, too",
        "cold      0 users and 1 items are in the test only",
        "text      vectors of 3 of 4 (75.0 %) items, 2 of them like another's",
    ]


def test_numbers_are_those_of_the_file(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(found(root, capsys, "--normalize_all=True", "--json"))
    assert told["times"]["range"] == [0, 40_000_000_000]


def test_a_run_says_what_matters(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    by_time = "--eval_args={split: {LS: test_only}, order: TO, group_by: user}"
    args = [
        "run",
        "--model=Pop",
        "--dataset=shop",
        f"--data_path={root}",
        f"--checkpoint_dir={root}",
        "--epochs=1",
    ]
    main([*args, by_time, "--show_progress=False", "--quiet"])
    said = [line.getMessage() for line in caplog.records if line.levelname == "WARNING"]
    assert said[:2] == [
        "ties: for 1 of 3 users (33.3 %) rows of one time are on both sides of the split: the order of the file "
        "decides which row is asked (see ties: random | drop)",
        "1 of 3 test pairs (33.3 %) are in training, too: a model that remembers them is rewarded "
        "(rm_dup_inter: first leaves one of each)",
    ]


def test_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 2
    assert capsys.readouterr().err == "error: name a data set: recbole-mm check --dataset=ml-100k\n"
