"""UniSRec against its formulas, item by item, and from a pre-training to fine-tuning."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_mm.errors import WrongUse
from recbole_mm.layer.loss import in_batch_info_nce
from recbole_mm.layer.whitening import NOISE, WhiteningExperts
from recbole_mm.model.unisrec import drop_items
from recbole_mm.testing import Built, write_toy
from recbole_mm.trainer.shifted import output_at_positions

SMALL = {
    "hidden_size": 8, "n_layers": 1, "inner_size": 8, "n_experts": 3, "sequence_split": "interactions",
    "MAX_ITEM_LIST_LENGTH": 6,
}  # fmt: skip


def make(folder: Path, modalities: tuple[str, ...] = ("text",), domains: int = 1, **settings: Any) -> Built:
    return Built("UniSRec", {**write_toy(folder, modalities, domains=domains), **SMALL, **settings})


def naive_vector(adaptor: WhiteningExperts, x: Tensor, noise: Tensor | None = None) -> Tensor:
    """Expert by expert."""
    logits = x @ adaptor.gate
    if noise is not None:
        logits = logits + noise * (torch.log1p(torch.exp(x @ adaptor.noise)) + NOISE)
    weights = torch.exp(logits) / torch.exp(logits).sum()
    return sum(g * (x - b) @ w for g, b, w in zip(weights, adaptor.shift, adaptor.maps, strict=True))


@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_experts_whiten_and_are_mixed(training: bool) -> None:
    adaptor = WhiteningExperts(5, 4, 3, dropout=0.0).train(training)
    for parameter in adaptor.parameters():
        parameter.normal_()
    x = torch.randn(6, 5)
    torch.manual_seed(1)
    found = adaptor(x)
    torch.manual_seed(1)
    noise = torch.randn(6, 3) if training else [None] * 6
    torch.testing.assert_close(
        found, torch.stack([naive_vector(adaptor, *row) for row in zip(x, noise, strict=True)])
    )


def naive_in_batch(left: Tensor, right: Tensor, ids: list[int], temperature: float) -> float:
    total = 0.0
    for j, own in enumerate(ids):
        cosine = [float(F.cosine_similarity(left[j], each, dim=0)) / temperature for each in right]
        others = [c for k, c in enumerate(cosine) if k == j or ids[k] != own]
        total -= cosine[j] - math.log(sum(math.exp(c) for c in others))
    return total / len(ids)


@torch.no_grad()
def test_the_loss_of_pre_training_is_the_formula(tmp_path: Path) -> None:
    built = make(tmp_path, ("text", "image"), temperature=0.3, cl_weight=0.5, item_drop_ratio=0.5)
    model = built.model.eval()  # no dropout, no noise; the items that a sequence lacks are drawn all the same
    batch = built.batch()
    torch.manual_seed(2)
    losses = model.calculate_loss(batch)
    terms = dict(zip(losses.names, losses, strict=True))
    torch.manual_seed(2)
    shorter = drop_items(batch["item_id_list"], batch["item_length"], 0.5)
    vectors = torch.zeros(model.n_items, 8)
    for item in range(1, model.n_items):
        for k, name in enumerate(("text", "image")):
            if model.features.present[item, k]:
                x = model.features(name, torch.tensor([item]))[0]
                vectors[item] += naive_vector(model.item_embedding.projections[name], x)
    torch.testing.assert_close(model.item_embedding.weight, vectors)
    s, other = (model.forward(*args) for args in ((batch["item_id_list"], batch["item_length"]), shorter))
    ids = batch["item_id"].tolist()
    assert len(set(ids)) < len(ids)
    assert terms["sequence_item"].item() == pytest.approx(naive_in_batch(s, vectors[ids], ids, 0.3), rel=1e-4)
    expected = 0.5 * naive_in_batch(s, other, ids, 0.3)
    assert terms["sequence_sequence"].item() == pytest.approx(expected, rel=1e-4)


def test_rows_of_one_target_are_no_negatives_of_each_other() -> None:
    left, right, ids = torch.randn(4, 3), torch.randn(4, 3), [7, 2, 7, 5]
    found = in_batch_info_nce(left, right, torch.tensor(ids), 0.2)
    assert found.item() == pytest.approx(naive_in_batch(left, right, ids, 0.2), rel=1e-5)


def test_a_share_of_the_items_is_dropped_and_the_order_stays() -> None:
    sequences = torch.arange(1, 7).repeat(2000, 1)
    length = torch.tensor([6, 1]).repeat(1000)
    sequences[1::2, 1:] = 0
    shorter, left = drop_items(sequences, length, 0.4)
    assert (left[1::2] == 1).all() and torch.equal(shorter[1::2], sequences[1::2])
    assert float(left[::2].float().mean()) == pytest.approx(6 * 0.6, abs=0.15) and left.min() == 1
    for row, n in zip(shorter[::2].tolist(), left[::2].tolist(), strict=True):
        assert row[:n] == sorted(row[:n]) and all(row[:n]) and not any(row[n:])
    assert torch.equal(drop_items(sequences, length, 1.0)[1], torch.ones(2000, dtype=torch.long))


@pytest.mark.parametrize("stage", ["inductive", "transductive"])
@torch.no_grad()
def test_fine_tuning_is_a_softmax_over_all_items(tmp_path: Path, stage: str) -> None:
    built = make(tmp_path, train_stage=stage, temperature=0.3)
    model, batch = built.model.eval(), built.batch()
    vectors = model.item_embedding.weight
    adapted = vectors - model.item_embedding.ids.weight if stage == "transductive" else vectors
    has = model.features.present[:, 0]
    own = [naive_vector(model.item_embedding.projections["text"], x) for x in model.features("text")[has]]
    torch.testing.assert_close(adapted[has], torch.stack(own), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(adapted[~has], torch.zeros_like(adapted[~has]))
    s = model.forward(batch["item_id_list"], batch["item_length"])
    losses = []
    for row, target in zip(s, batch["item_id"].tolist(), strict=True):
        scores = [float(F.cosine_similarity(row, v, dim=0)) / 0.3 for v in vectors]
        losses.append(math.log(sum(math.exp(x) for x in scores)) - scores[target])
    assert model.calculate_loss(batch).item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)


@pytest.mark.parametrize("stage", ["inductive", "transductive"])
def test_fine_tuning_takes_up_the_weights_and_leaves_the_encoder(tmp_path: Path, stage: str) -> None:
    first = make(tmp_path / "a", domains=2, epochs=1).fit()
    other = {"modalities": ["text"], "train_stage": stage, "epochs": 1}
    before, path = first.model.state_dict(), str(first.trainer.folder.path)
    (Path(path) / "trained_on.npy").unlink()  # both sets name their users and items alike
    built = make(tmp_path / "b", init_from=path, **other)
    start = {name: value.clone() for name, value in built.model.state_dict().items()}
    assert all(torch.equal(start[name], before[name]) for name in start if ".ids." not in name)
    after = built.fit().model.state_dict()
    learned = {name for name, value in after.items() if not torch.equal(value, start[name])}
    adaptor = {f"item_embedding.projections.text.{part}" for part in ("shift", "maps", "gate", "noise")}
    assert learned == adaptor | ({"item_embedding.ids.weight"} if stage == "transductive" else set())


def test_nothing_is_frozen_that_was_not_learned(tmp_path: Path) -> None:
    model = make(tmp_path, train_stage="inductive").model
    assert model.without_effect() == [
        "UniSRec: freeze_encoder has no effect: there are no weights of a pre-training (init_from)"
    ]
    assert all(p.requires_grad for name, p in model.named_parameters() if ".ids." not in name)


@torch.no_grad()
def test_it_hands_over_the_vectors_of_what_has_any_modality(tmp_path: Path) -> None:
    model = make(tmp_path, ("text", "image")).model.eval()
    values, there = model.pretrained()["items"]["v"]
    present = model.features.present
    assert torch.equal(there, present[:, 0] | present[:, 1]) and (there & ~present.all(dim=1)).any()
    assert torch.equal(values.abs().sum(dim=1) > 0, there)


def test_it_needs_vectors(tmp_path: Path) -> None:
    with pytest.raises(WrongUse) as said:
        make(tmp_path, ())
    assert str(said.value) == "UniSRec: no vectors of the items of toy, and it knows them by nothing else"


@pytest.mark.parametrize("given", [{"train_sequences": "shifted"}, {"loader": "fast"}])
def test_pre_training_takes_whole_batches(tmp_path: Path, given: dict[str, str]) -> None:
    with pytest.raises(WrongUse, match=r"^UniSRec: train_stage: pretrain compares the rows of a batch"):
        make(tmp_path, **given)


@torch.no_grad()
def test_every_position_is_the_query_of_what_comes_before(tmp_path: Path) -> None:
    built = make(tmp_path, train_stage="transductive", train_sequences="shifted")
    model = built.model.eval()
    sequences = torch.tensor([[3, 1, 4, 2], [2, 5, 0, 0]])
    found = output_at_positions(model, sequences, torch.tensor([4, 2]))
    for row, length in ((0, 4), (1, 2)):
        for n in range(1, length + 1):
            alone = model.forward(sequences[row : row + 1, :n], torch.tensor([n]))
            torch.testing.assert_close(found[row, n - 1], alone[0])
    torch.testing.assert_close(model.item_rows(sequences[0]), model.item_table()[sequences[0]])
