from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from recbole_mm.config import Config
from recbole_mm.data import create_dataset, data_preparation
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec
from recbole_mm.testing import Built, write_toy


def test_cold_items_are_in_the_test_part_alone_with_all_interactions(tmp_path: Path) -> None:
    settings = write_toy(tmp_path)
    plain, cold = Built("CMC", settings), Built("CMC", {**settings, "cold_items": 0.2})
    items = [
        [
            loader._dataset.inter_feat["item_id"].numpy()
            for loader in (b.train_data, b.valid_data, b.test_data)
        ]
        for b in (plain, cold)
    ]
    held = cold.test_data._dataset.cold_items
    assert len(held) == 6
    assert not np.isin(items[1][0], held).any() and not np.isin(items[1][1], held).any()
    assert sorted(np.concatenate(items[0])) == sorted(np.concatenate(items[1]))
    assert np.isin(items[1][2], held).sum() == np.isin(np.concatenate(items[0]), held).sum()


@pytest.mark.parametrize(("model", "scored"), [("CMC", True), ("BPR", False)])
def test_only_models_with_features_are_given_a_cold_score(
    tmp_path: Path, model: str, scored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {**write_toy(tmp_path), "cold_items": 0.2}
    groups = Session.build(RunSpec(model, "toy", settings)).run().groups
    assert groups is not None
    row = groups.iloc[-1]
    assert row["group"] == "cold start"
    assert (row["ndcg@10"] > 0) if scored else np.isnan(row["ndcg@10"])
    assert scored or "not applicable" in row["value"]


@pytest.mark.parametrize("model", ["BPR", "SASRec"])
def test_users_and_items_without_a_training_row_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, model: str
) -> None:
    """A split at one time: whoever comes later is cold. A user's first row trains, too."""
    rows = [
        ("a", "x"),
        ("b", "y"),
        ("a", "y"),
        ("b", "x"),
        ("a", "z"),
        ("c", "x"),
        ("a", "w"),
        ("d", "v"),
        ("c", "v"),
    ]
    (tmp_path / "shop").mkdir()
    lines = [
        "user_id:token\titem_id:token\ttimestamp:float",
        *(f"{u}\t{i}\t{k}" for k, (u, i) in enumerate(rows)),
    ]
    (tmp_path / "shop" / "shop.inter").write_text("\n".join(lines) + "\n")
    split = {"split": {"RS": [4, 2, 3]}, "order": "TO", "group_by": "none", "mode": "full"}
    load = {"inter": ["user_id", "item_id", "timestamp"]}
    settings = {
        "data_path": str(tmp_path),
        "eval_args": split,
        "load_col": load,
        "sequence_split": "interactions",
    }
    config = Config(model, "shop", config_dict=settings)
    with caplog.at_level(logging.INFO, "recbole_mm.data"):
        data_preparation(config, create_dataset(config))
    assert [line for line in caplog.messages if "cold" in line] == [
        "validation: 1 users and 1 items have no training row (cold)",
        "test: 2 users and 2 items have no training row (cold)",
    ]
