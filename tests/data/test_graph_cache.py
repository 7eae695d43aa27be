"""Graphs are taken from disk only where all that made them is the same."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recbole_mm.data import graph_cache
from recbole_mm.data.seen import seen_pairs
from recbole_mm.layer.graph import co_interaction_graph
from recbole_mm.testing import Built, write_toy


def graph_of(built: Built, *arguments: Any) -> Any:
    return built.train_data._dataset.co_interactions(*arguments)


def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with each graph that is built."""
    calls: list[int] = []

    def counting(*arguments: Any) -> Any:
        calls.append(1)
        return co_interaction_graph(*arguments)

    monkeypatch.setattr(graph_cache, "co_interaction_graph", counting)
    return calls


def test_it_is_built_once_for_the_same_rows_ids_and_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, settings = made(monkeypatch), write_toy(tmp_path)
    built = Built("BPR", settings)
    first = graph_of(built, "item", 3, 1)
    second = graph_of(Built("BPR", {**settings, "seed": 3}), "item", 3, 1)
    assert len(calls) == 1 and (first != second).nnz == 0
    feat = built.train_data._dataset.inter_feat
    users, items = feat["user_id"].numpy(), feat["item_id"].numpy()
    plain = co_interaction_graph(items, users, built.train_data._dataset.item_num, 3, 1)
    np.testing.assert_array_equal(first.toarray(), plain.toarray())
    for others in [("user", 3, 1), ("item", 4, 1), ("item", 3, 2), ("item", None, 1)]:
        graph_of(built, *others)
    assert len(calls) == 5
    random = Built("BPR", {**settings, "split": {"random": [0.8, 0.1, 0.1]}})
    graph_of(random, "item", 3, 1)
    assert len(calls) == 6
    monkeypatch.setattr(graph_cache.graph, "__file__", __file__)  # other code
    graph_of(built, "item", 3, 1)
    assert len(calls) == 7
    built.train_data._dataset.field2id_token["item_id"] = np.roll(
        built.train_data._dataset.field2id_token["item_id"], 1
    )
    graph_of(built, "item", 3, 1)
    assert len(calls) == 8


def test_the_rows_of_a_pre_training_that_count_belong_to_the_key(tmp_path: Path) -> None:
    graphs = {}
    for least in (2, 5, 2):
        settings = {
            **write_toy(tmp_path / f"{len(graphs)}{least}"),
            "checkpoint_dir": str(tmp_path / "saved"),
        }
        inter = tmp_path / f"{len(graphs)}{least}" / "toy" / "toy.inter"
        frame = pd.read_csv(inter, sep="\t")
        frame["rating:float"] = np.arange(len(frame)) % 5 + 1
        frame.to_csv(inter, sep="\t", index=False)
        built = Built("CPMM", {**settings, "pretrain_valid": "loss", "threshold": {"rating": least}})
        graph = graph_of(built, "item", None, 1)
        assert (graphs.setdefault(least, graph) != graph).nnz == 0
    assert graphs[5].nnz < graphs[2].nnz
    part = built.valid_data._dataset
    assert len(part) < len(part.pairs["valid"][0])
    for masked, own in zip(seen_pairs(part, "train+valid"), part.pairs["train"], strict=True):
        np.testing.assert_array_equal(masked, own)  # what is disliked in validation is not


def test_it_is_of_training_rows_alone(tmp_path: Path) -> None:
    graphs = [
        graph_of(Built("BPR", write_toy(tmp_path / name, swap_test=swap)), "item", None, 1).toarray()
        for name, swap in (("a", False), ("b", True))
    ]
    np.testing.assert_array_equal(*graphs)


def test_a_broken_file_is_built_again_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls, built = made(monkeypatch), Built("BPR", write_toy(tmp_path))
    whole = graph_of(built, "user", 2, 1)
    (file,) = (tmp_path / "saved/graphs").iterdir()
    file.write_bytes(file.read_bytes()[:50])
    with caplog.at_level(logging.WARNING):
        again = graph_of(built, "user", 2, 1)
    assert len(calls) == 2 and (whole != again).nnz == 0
    assert f"{file.name} cannot be read" in caplog.text and "is built again" in caplog.text
    assert (graph_of(built, "user", 2, 1) != whole).nnz == 0 and len(calls) == 2
    assert [path.name for path in file.parent.iterdir()] == [file.name]
