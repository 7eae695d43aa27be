"""Sequences without prefixes: the pairs of history and target that are trained, batches, refusals."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.model.sequential_recommender.sasrec import SASRec

from recbole_mm.config import Config
from recbole_mm.data import create_dataset, data_preparation
from recbole_mm.data.sequence import prefixes, windows
from recbole_mm.data.shifted import TargetBatches
from recbole_mm.errors import WrongUse
from recbole_mm.testing import write_toy
from recbole_mm.testing.shop import write_shop

Pair = tuple[int, tuple[int, ...], int]  # user, history, target


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_shop(tmp_path_factory.mktemp("shop"))


def train_loader(shop: dict[str, Any], model: str = "SASRec", **more: Any) -> Any:
    given = {"sequence_split": "interactions", "train_batch_size": 32, **shop, **more}
    config = Config(model, "shop", config_dict=given)
    return data_preparation(config, create_dataset(config))[0]


def pairs_of_prefixes(loader: Any) -> list[Pair]:
    feat = loader._dataset.inter_feat
    columns = (feat[f].tolist() for f in ("user_id", "item_id_list", "item_length", "item_id"))
    return [(user, tuple(row[:n]), item) for user, row, n, item in zip(*columns, strict=True)]


def pairs_of_positions(batch: Any) -> list[Pair]:
    found = []
    for user, row, n, targets in zip(
        *(batch[f].tolist() for f in ("user_id", "item_id_list", "item_length", "item_id")), strict=True
    ):
        assert not any(row[n:]) and all(row[:n]) and not any(targets[n:])
        found += [(user, tuple(row[: k + 1]), item) for k, item in enumerate(targets) if item]
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_every_row_but_the_first_is_to_follow_once_from_half_of_the_history_at_least(size: int) -> None:
    counts = np.arange(1, 31)
    users = np.repeat(np.arange(len(counts)) + 5, counts)
    cut = windows(users, size)
    followed: dict[int, int] = {}
    for start, stop, fresh in zip(cut.start, cut.stop, cut.fresh, strict=True):
        assert stop - start <= size + 1 and len(set(users[start:stop])) == 1
        followed |= {
            row: row - start for row in range(fresh, stop) if row not in followed or pytest.fail("twice")
        }
    target, history = prefixes(users, np.arange(len(users)), size)
    known = dict(zip(target.tolist(), (history >= 0).sum(axis=1).tolist(), strict=True))
    assert followed.keys() == known.keys()
    short = np.isin(users, np.flatnonzero(counts <= size + 1) + 5)
    for row, length in followed.items():
        assert length == known[row] if short[row] else known[row] >= length >= min(known[row], size / 2)


@pytest.mark.parametrize(("size", "same"), [(50, True), (5, True), (4, True), (3, False)])
def test_the_pairs_are_those_of_prefixes(shop: dict[str, Any], size: int, same: bool) -> None:
    """All users but the first have 6 rows in training: with 4 a second window has one target behind 4 rows."""
    wanted = pairs_of_prefixes(train_loader(shop, MAX_ITEM_LIST_LENGTH=size))
    loader = train_loader(shop, MAX_ITEM_LIST_LENGTH=size, train_sequences="shifted")
    found = [pair for batch in loader for pair in pairs_of_positions(batch)]
    assert (Counter(found) == Counter(wanted)) is same
    assert Counter((user, item) for user, _, item in found) == Counter(
        (user, item) for user, _, item in wanted
    )


def test_a_batch_has_about_so_many_targets_and_is_as_wide_as_its_longest() -> None:
    targets = np.random.default_rng(0).integers(1, 50, size=400)
    batches = TargetBatches(targets, 200, torch.Generator().manual_seed(1))
    first, second = list(batches), list(batches)
    assert first != second and len(first) == len(second) == len(batches) == -(-targets.sum() // 200)
    assert sorted(number for batch in first for number in batch) == list(range(400))
    sums = [targets[batch].sum() for batch in first]
    assert max(sums) < 250 and min(sums[:-1]) > 150
    assert (
        len(TargetBatches(np.array([3, 9, 3]), 2, None))
        == len(list(TargetBatches(np.array([3, 9, 3]), 2, None)))
        == 2
    )


def test_the_same_seed_gives_the_same_batches(shop: dict[str, Any]) -> None:
    given = {"train_sequences": "shifted", "sequence_loss": "gbce", "sequence_negatives": 100}
    runs = [list(train_loader(shop, **given, seed=seed)) for seed in (1, 1, 2)]
    flat = [[value.tolist() for batch in run for value in batch.interaction.values()] for run in runs]
    assert flat[0] == flat[1] != flat[2]
    for batch in runs[0]:
        assert batch["item_id_list"].shape[1] == batch["item_length"].max()
        assert batch["neg_item_id"].numel() >= 100 and batch["neg_item_id"].shape[0] == len(
            batch["item_length"]
        )


def test_shared_negatives_are_drawn_as_often_as_items_are_bought(shop: dict[str, Any]) -> None:
    loader = train_loader(
        shop, train_sequences="shifted", sequence_loss="sampled_softmax", sequence_negatives=4000,
        sequence_negatives_by="popularity",
    )  # fmt: skip
    drawn = np.concatenate([batch["neg_item_id"].numpy().ravel() for batch in loader])
    bought = np.bincount(loader._dataset.inter_feat["item_id"].numpy(), minlength=loader._dataset.item_num)
    share = np.bincount(drawn, minlength=len(bought)) / len(drawn)
    np.testing.assert_allclose(share, bought / bought.sum(), atol=0.01)
    np.testing.assert_allclose(loader.log_q.exp(), bought / bought.sum(), rtol=1e-6)


def test_own_negatives_are_those_of_recboles_sampler(shop: dict[str, Any]) -> None:
    negatives = {"distribution": "uniform", "sample_num": 3}
    loader = train_loader(shop, train_sequences="shifted", loss_type="BPR", train_neg_sample_args=negatives)
    for batch in loader:
        target, drawn = batch["item_id"], batch["neg_item_id"]
        assert drawn.shape == (*target.shape, 3)
        assert (drawn[target > 0] > 0).all() and (drawn[target == 0] == 0).all()
        assert (drawn != target.unsqueeze(2))[target > 0].all()


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (
        "BERT4Rec",
        {},
        "train_sequences: shifted needs a model whose output at a position depends on the items up to it alone, which "
        "BERT4Rec does not say of itself; FDSA, GRU4Rec, GRU4RecF, GRU4RecKG, SASRec, SASRecF, SASRecMM and UniSRec "
        "do, a model of your own with causal = True",
    ),
    (
        "SASRec",
        {"sequence_split": "prefixes"},
        "train_sequences: shifted cuts sequences from interactions, so leave out sequence_split: prefixes",
    ),
    (
        "SASRec",
        {"transform": "crop_itemseq"},
        "train_sequences: shifted trains on each position, so transform: crop_itemseq has no place",
    ),
    (
        "SASRec",
        {
            "loss_type": "BPR",
            "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1, "dynamic": True},
        },
        "train_sequences: shifted draws no dynamic negatives; see train_neg_sample_args",
    ),
]


@pytest.mark.parametrize(("model", "given", "line"), REFUSED)
def test_what_cannot_be_is_one_line(
    shop: dict[str, Any], model: str, given: dict[str, Any], line: str
) -> None:
    with pytest.raises(WrongUse) as raised:
        Config(model, "shop", config_dict={**shop, "train_sequences": "shifted", **given})
    assert str(raised.value) == line


def test_what_comes_with_sequences_is_not_cut_again(tmp_path: Path) -> None:
    (tmp_path / "cut").mkdir()
    head = "user_id:token\titem_id:token\titem_id_list:token_seq\n"
    for part in ("train", "valid", "test"):
        (tmp_path / f"cut/cut.{part}.inter").write_text(head + "u\ta\tb c\n")
    given = {"data_path": str(tmp_path), "benchmark_filename": ["train", "valid", "test"], "use_gpu": False}
    with pytest.raises(WrongUse) as raised:
        Config("SASRec", "cut", config_dict={**given, "train_sequences": "shifted"})
    assert (
        str(raised.value)
        == "train_sequences: shifted cuts sequences from interactions, and cut comes with its own"
    )


class Mine(SASRec):
    """A person's own."""


class Causal(SASRec):
    """Says so of itself."""

    causal = True


def test_a_model_of_ones_own_says_that_it_is_causal(shop: dict[str, Any]) -> None:
    given = {**shop, "train_sequences": "shifted"}
    with pytest.raises(WrongUse, match="which Mine does not say of itself"):
        Config(Mine, "shop", config_dict=given)
    assert Config(Causal, "shop", config_dict=given)["sequence_split"] == "interactions"


def test_several_processes_are_refused(shop: dict[str, Any]) -> None:
    config = Config("SASRec", "shop", config_dict={**shop, "train_sequences": "shifted"})
    dataset = create_dataset(config)
    config["single_spec"] = False
    with pytest.raises(WrongUse) as raised:
        data_preparation(config, dataset)
    assert str(raised.value) == "train_sequences: shifted trains in one process; see nproc"


def test_of_several_domains_sequences_run_through_all(tmp_path: Path) -> None:
    toy = {**write_toy(tmp_path, [], domains=2), "sequence_split": "interactions"}
    configs = [
        Config("SASRec", "toy", config_dict={**toy, "train_sequences": f}) for f in ("prefix", "shifted")
    ]
    prefix, shifted = (data_preparation(config, create_dataset(config))[0] for config in configs)
    found = [pair for batch in shifted for pair in pairs_of_positions(batch)]
    assert Counter(found) == Counter(pairs_of_prefixes(prefix))
    assert torch.equal(shifted._dataset.item_domain, prefix._dataset.item_domain)


def test_the_split_follows_and_is_said(shop: dict[str, Any]) -> None:
    made = Config("GRU4Rec", "shop", config_dict={**shop, "train_sequences": "shifted"})
    assert made["sequence_split"] == "interactions"
    assert "GRU4Rec: sequence_split: interactions (train_sequences: shifted)" in made.notes


def test_users_of_one_event_teach_nothing(shop: dict[str, Any]) -> None:
    with pytest.raises(WrongUse) as raised:
        train_loader({**shop, "user_inter_num_interval": "[2,2]"}, train_sequences="shifted", eval_args={
            "split": {"LS": "valid_only"}, "order": "TO", "mode": "full"})  # fmt: skip
    assert str(raised.value) == "the training part of shop has no user with two events; see the split"
