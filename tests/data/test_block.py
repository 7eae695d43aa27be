"""``loader: fast``: RecBole's batches, with negatives drawn block by block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.data.dataloader import TrainDataLoader
from recbole.data.interaction import Interaction
from recbole.utils import init_seed

from recbole_mm.data import block
from recbole_mm.data.dataloader import RowsDataLoader
from recbole_mm.data.rows import Rows
from recbole_mm.testing import Built, write_toy

MODELS: list[tuple[str, dict[str, Any]]] = [
    ("BPR", {}),
    ("BPR", {"train_neg_sample_args": {"sample_num": 3}}),
    ("NeuMF", {"train_neg_sample_args": {"sample_num": 2}}),
    ("DeepFM", {"embedding_size": 4}),
    ("VBPR", {"train_neg_sample_args": {"sample_num": 3}}),
    ("SASRec", {"loss_type": "BPR", "train_neg_sample_args": {"sample_num": 2}}),
    ("SASRec", {}),
]


@pytest.fixture
def toy(tmp_path: Path) -> dict[str, Any]:
    given = write_toy(tmp_path, domains=2)
    lines = [f"item{i:02d}\t{'ab'[i % 2]}\t{i}" for i in range(30)]
    text = "item_id:token\tkind:token\tprice:float\n" + "\n".join(lines) + "\n"
    (tmp_path / "toy" / "toy.item").write_text(text)
    lines = [f"u{u}\t{'xyz'[u % 3]}" for u in range(40)]
    (tmp_path / "toy" / "toy.user").write_text("user_id:token\tgroup:token\n" + "\n".join(lines) + "\n")
    columns = {"item": ["item_id", "kind", "price"], "user": ["user_id", "group"]}
    given["load_col"] = {**given["load_col"], **columns}
    return given | {
        "eval_args": {"mode": "full"},
        "metrics": ["NDCG"],
        "valid_metric": "NDCG@10",
        "sequence_split": "interactions",
    }


def build(toy: dict[str, Any], model: str, loader: str = "fast", **settings: Any) -> Built:
    modal = {} if model == "VBPR" else {"modalities": None, "modality_path": "modality/"}
    return Built(model, {**toy, **modal, "loader": loader, **settings})


def epoch(built: Built) -> list[Interaction]:
    return list(built.train_data)


def equal(one: list[Interaction], other: list[Interaction]) -> bool:
    return len(one) == len(other) and all(
        a.columns == b.columns and all(torch.equal(a[f], b[f]) for f in a)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("numbers", [block.BLOCK_NUMBERS, 1500])
@pytest.mark.parametrize(("model", "settings"), MODELS)
def test_batches_are_recboles_but_for_the_negatives(
    toy: dict[str, Any], model: str, settings: dict[str, Any], numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "BLOCK_NUMBERS", numbers)
    built = build(toy, model, shuffle=False, **settings)
    plain = build(toy, model, "recbole", shuffle=False, **settings)
    data, found, expected = built.train_data._dataset, epoch(built), epoch(plain)
    assert len(built.train_data) == len(found) == len(expected) > 1
    for one, other in zip(found, expected, strict=True):
        assert set(one.columns) == set(other.columns) and len(one) == len(other)
        positive = one["label"] == 1 if "label" in one else torch.ones(len(one), dtype=torch.bool)
        for field in one:
            assert one[field].dtype == other[field].dtype and one[field].shape == other[field].shape
            if field.startswith("neg_"):
                if field != "neg_item_id":
                    of_item = data.item_feat[field.removeprefix("neg_")][one["neg_item_id"]]
                    assert torch.equal(one[field], of_item)
            elif field in data.item_feat and "label" in one:
                assert torch.equal(one[field], data.item_feat[field][one["item_id"]])
                assert torch.equal(one[field][positive], other[field][positive])
            else:
                assert torch.equal(one[field], other[field])


def drawn(batches: list[Interaction]) -> Iterator[tuple[int, int, int]]:
    """(user, positive, negative) of the batches; of points the positives come first."""
    for batch in batches:
        user, item = batch["user_id"], batch["item_id"]
        if "label" in batch:
            n = int(batch["label"].sum())
            rows = torch.arange(n).repeat(len(batch) // n)[n:]
            yield from zip(user[n:].tolist(), item[rows].tolist(), item[n:].tolist(), strict=True)
        else:
            negatives = batch["neg_item_id"].view(len(user), -1)
            for column in negatives.T:
                yield from zip(user.tolist(), item.tolist(), column.tolist(), strict=True)


@pytest.mark.parametrize("loader", ["recbole", "fast"])
@pytest.mark.parametrize("distribution", ["uniform", "popularity"])
@pytest.mark.parametrize(("model", "settings"), MODELS[:5])
def test_negatives_are_unseen_and_of_the_positives_domain(
    toy: dict[str, Any], model: str, settings: dict[str, Any], distribution: str, loader: str
) -> None:
    args = {**settings.get("train_neg_sample_args", {}), "distribution": distribution}
    built = build(toy, model, loader, **{**settings, "train_neg_sample_args": args})
    data = built.train_data._dataset
    seen = set(zip(*(data.inter_feat[f].tolist() for f in ("user_id", "item_id")), strict=True))
    domain, triples = data.item_domain.tolist(), list(drawn(epoch(built)))
    assert len(triples) == len(data) * args.get("sample_num", 1)
    assert {(u, i) for u, i, _ in triples} == seen
    assert not seen & {(u, j) for u, _, j in triples}
    assert all(domain[i] == domain[j] > -1 for _, i, j in triples)
    assert len({j for *_, j in triples}) > 10


@pytest.mark.parametrize(("model", "settings"), [MODELS[0], MODELS[4], MODELS[5]])
def test_the_seed_decides(toy: dict[str, Any], model: str, settings: dict[str, Any]) -> None:
    first, second, third = (build(toy, model, seed=seed, **settings) for seed in (1, 1, 2))
    epochs = []
    for built in (first, second, third):
        init_seed(built.config["seed"], True)
        epochs.append([epoch(built), epoch(built)])
    assert all(equal(a, b) for a, b in zip(epochs[0], epochs[1], strict=True))
    assert not equal(epochs[0][0], epochs[0][1]) and not equal(epochs[0][0], epochs[2][0])
    rows = [torch.cat([b["item_id"] for b in batches]).sort().values for batches in epochs[0]]
    assert torch.equal(*rows)  # each row once an epoch


@pytest.mark.parametrize("shuffle", [True, False])
def test_under_recbole_an_epoch_is_recboles_to_the_digit(toy: dict[str, Any], shuffle: bool) -> None:
    built = build(toy, "BPR", "recbole", shuffle=shuffle)
    ours, data = built.train_data, built.train_data._dataset
    theirs = TrainDataLoader(built.config, data, ours._sampler, shuffle=shuffle)
    epochs = []
    for loader in (ours, theirs):
        init_seed(1, True)
        epochs.append([list(loader) for _ in range(3)])
    assert type(ours) is RowsDataLoader
    assert all(equal(a, b) for a, b in zip(*epochs, strict=True))


def test_rows_are_picked_as_recbole_picks_them() -> None:
    values = {"a": torch.arange(6), "b": torch.rand(6, 2)}
    ours, theirs = Rows(values), Interaction(values)
    mask = np.array([True, False] * 3)
    picks: list[Any] = [
        np.array([3, 1, 1]), torch.tensor([-1, 2]), mask, torch.from_numpy(mask), np.array([]), slice(1, 4), [2, 0], 5,
        np.array(4), torch.tensor(4),
    ]  # fmt: skip
    for pick in picks:
        assert equal([ours[pick]], [theirs[pick]]) and type(ours[pick]) is Rows
    assert torch.equal(ours["a"], theirs["a"])
