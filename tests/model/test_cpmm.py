"""CPMM against its formulas, item by item, and its switches."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_mm.errors import WrongUse
from recbole_mm.testing import Built, write_toy

SMALL = {"embedding_size": 8, "input_size": 6, "train_batch_size": 8}
FIVE = torch.tensor([1, 2, 5, 9, 14])


def make(folder: Path, modalities: list[str] | None = None, **settings: Any) -> Built:
    """The model on the toy set; text is as wide as the input, image is not."""
    written = write_toy(folder, ["text", "image"] if modalities is None else modalities)
    return Built("CPMM", {**written, **SMALL, **settings})


def block(layer: Any, x: Tensor) -> Tensor:
    """Linear, ReLU, Linear, normalisation over the batch, in training mode."""
    first, _, second, norm = layer
    out = torch.relu(x @ first.weight.T + first.bias) @ second.weight.T
    out = (out - out.mean(0)) / (out.var(0, unbiased=False) + norm.eps).sqrt()
    return out * norm.weight + norm.bias


def naive_tower(tower: Any, x: Tensor) -> Tensor:
    """normalise(P2(P1(x / |x|)) + P3(x)), without noise."""
    out = block(tower.main[1], block(tower.main[0], F.normalize(x, dim=-1)))
    if tower.skip is not None:
        out = out + block(tower.skip, x)
    return F.normalize(out, dim=-1)


def naive_vectors(built: Built) -> dict[str, dict[int, Tensor]]:
    """Z of each of the five items that has it, by part."""
    model, inputs = built.model, {"t": {}, "v": {}}
    for name, part in (("text", "t"), ("image", "v")):
        for item in FIVE.tolist():
            if (
                name in model.features.names
                and model.features.present[item, model.features.names.index(name)]
            ):
                x = F.normalize(model.features(name, torch.tensor([item]))[0], dim=0)
                if name == "image":
                    x = F.normalize(model.adapters["image"].weight @ x, dim=0)
                inputs[part][item] = x
    if model.item_id is not None:
        inputs["d"] = {item: model.item_id.weight[item] for item in FIVE.tolist()}
    else:
        described = [i for i in FIVE.tolist() if any(i in inputs[part] for part in "tv")]
        inputs["d"] = {i: sum(inputs[part][i] for part in "tv" if i in inputs[part]) for i in described}
    towers = {"t": model.content, "v": model.content, "d": model.id_tower}
    found = {}
    for part, rows in inputs.items():
        if rows:
            found[part] = dict(
                zip(rows, naive_tower(towers[part], torch.stack(list(rows.values()))), strict=True)
            )
    return found


def naive_contrast(z: dict[str, dict[int, Tensor]], scale: float) -> float:
    both = [i for i in z["t"] if i in z["v"]]
    total = 0.0
    for a, b in (("v", "t"), ("t", "v")):
        for i in both:
            logits = [scale * float(z[a][i] @ z[b][j]) for j in both]
            total -= scale * float(z[a][i] @ z[b][i]) - math.log(sum(math.exp(x) for x in logits))
    return total / len(both) / 2


def naive_consistency(z: dict[str, dict[int, Tensor]]) -> float:
    means = []
    for part in ("t", "v"):
        if part in z:
            distances = [math.dist(z[part][i].tolist(), z["d"][i].tolist()) for i in z[part]]
            means.append(sum(distances) / len(distances))
    return sum(means) / len(means)


def naive_first_order(built: Built, d: dict[int, Tensor], least: int, scale: float, bias: float) -> float:
    feat = built.train_data._dataset.inter_feat
    users = {i: set(feat["user_id"][feat["item_id"] == i].tolist()) for i in d}
    losses = []
    for i in d:
        for j in d:
            logit = scale * float(d[i] @ d[j]) + bias
            linked = i == j or len(users[i] & users[j]) >= least
            losses.append(math.log1p(math.exp(-logit)) if linked else math.log1p(math.exp(logit)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("source", ["clip_sum", "table"])
@pytest.mark.parametrize("least", [1, 3])
def test_the_loss_is_the_formula(tmp_path: Path, skip: bool, source: str, least: int) -> None:
    built = make(
        tmp_path, noise_std=0.0, skip=skip, id_source=source, edge_min_count=least, logit_scale=7.0,
        lambda1=2.0, lambda2=3.0, lambda3=5.0,
    )  # fmt: skip
    model = built.model.train()
    with torch.no_grad():
        terms = model.calculate_loss({"item_id": FIVE})
        z = naive_vectors(built)
    assert {len(z["t"]), len(z["v"])} != {5} and set(z["t"]) & set(z["v"])  # some are absent
    expected = {
        "modality_contrast": 2 * naive_contrast(z, 7.0),
        "consistency": 3 * naive_consistency(z),
        "first_order": 5 * naive_first_order(built, z["d"], least, 7.0, 0.0),
    }
    found = dict(zip(terms.names, (term.item() for term in terms), strict=True))
    assert found == pytest.approx(expected, rel=1e-4)


def test_first_order_bias_is_learned_and_starts_as_siglip(tmp_path: Path) -> None:
    built = make(tmp_path, noise_std=0.0, first_order_bias=True, lambda1=0.0, lambda2=0.0)
    model = built.model.train()
    losses = model.calculate_loss({"item_id": FIVE})
    assert losses.names == ("first_order",)
    (loss,) = losses
    with torch.no_grad():
        z = naive_vectors(built)
    assert loss.item() == pytest.approx(naive_first_order(built, z["d"], 1, 10.0, -10.0), rel=1e-4)
    loss.backward()
    assert model.first_order_scale.grad and model.first_order_offset.grad


def test_noise_is_added_in_training_alone_and_not_to_the_skip(tmp_path: Path) -> None:
    built = make(tmp_path, noise_std=0.5)
    model = built.model
    x = F.normalize(torch.randn(1000, 6), dim=-1)
    torch.manual_seed(3)
    noised = model.train()._noised(x)
    torch.manual_seed(3)
    torch.testing.assert_close(noised, F.normalize(x + 0.5 * torch.randn_like(x), dim=-1))
    torch.testing.assert_close(model.eval()._noised(x), x)
    seen: list[Tensor] = []
    model.content.skip.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    text = model.features("text", FIVE[model.features.mask(FIVE)[:, 0]])
    model.train().calculate_loss({"item_id": FIVE})
    assert torch.equal(seen[0][: len(text)], text)


def test_modalities_share_a_call_of_their_tower_as_if_each_had_its_own(tmp_path: Path) -> None:
    shared = make(tmp_path).model.content.train()
    own, parts = deepcopy(shared), [torch.randn(n, 6) for n in (5, 3)]
    together = shared(torch.cat(parts), torch.cat(parts), [5, 3])
    torch.testing.assert_close(together, torch.cat([own(x, x, [len(x)]) for x in parts]))
    torch.testing.assert_close(dict(shared.named_buffers()), dict(own.named_buffers()))


def test_fused_steps_are_those_of_adam(tmp_path: Path) -> None:
    fused, plain = (make(tmp_path / name, noise_std=0.0) for name in "ab")
    for group in plain.trainer.optimizer.param_groups:
        assert group["fused"]
        group["fused"] = False
    losses = [[built.trainer._train_epoch(built.train_data, k) for k in range(3)] for built in (fused, plain)]
    assert torch.tensor(losses[0]).flatten().tolist() == pytest.approx(
        torch.tensor(losses[1]).flatten().tolist()
    )


def test_one_modality_has_no_contrast_and_the_log_says_so(tmp_path: Path) -> None:
    built = make(tmp_path, ["text"])
    assert built.model.calculate_loss({"item_id": FIVE}).names == ("consistency", "first_order")
    assert built.session.model.without_effect() == [
        "CPMM: with text alone lambda1 (the contrast of modalities) does not apply"
    ]
    assert built.fit().trainer.history[0]["terms"].keys() == {"consistency", "first_order"}


def test_what_it_hands_over_are_unit_vectors_of_what_exists(tmp_path: Path) -> None:
    built = make(tmp_path)
    model = built.model.eval()
    with torch.no_grad():
        (kind, parts), *rest = model.pretrained().items()
    assert (kind, rest) == ("items", []) and list(parts) == ["d", "t", "v"]
    for k, part in enumerate(("t", "v")):
        values, present = parts[part]
        assert torch.equal(present, model.features.present[:, k])
        torch.testing.assert_close(values.norm(dim=1), present.float())
    assert torch.equal(parts["d"][1], model.features.present.any(dim=1))
    with torch.no_grad():
        total = F.normalize(sum(values for values, _ in parts.values()), dim=-1)
        torch.testing.assert_close(model.encode_items(torch.arange(model.n_items)), total)


def test_as_a_recommender_it_ranks_by_the_users_training_items(tmp_path: Path) -> None:
    built = make(tmp_path)
    scores, feat = built.scores(), built.train_data._dataset.inter_feat
    with torch.no_grad():
        vectors = built.model.encode_items(torch.arange(built.model.n_items))
    for user in (1, 7):
        taken = feat["item_id"][feat["user_id"] == user].unique()
        expected = torch.stack([vectors[i] @ vectors[1:].T for i in taken]).mean(0)
        torch.testing.assert_close(scores[user - 1], expected)


def test_it_trains_on_all_items_of_training_rows_but_those_held_out(tmp_path: Path) -> None:
    built = make(tmp_path, pretrain_hold_out=0.2)
    trained = torch.cat([batch["item_id"] for batch in built.train_data]).tolist()
    held = torch.cat([batch["item_id"] for batch in built.train_data.held_out(None)]).tolist()
    items = set(built.train_data._dataset.inter_feat["item_id"].tolist())
    assert len(held) == round(0.2 * len(items)) and len(trained) == len(set(trained))
    assert set(trained) | set(held) == items and not set(trained) & set(held)
    again = make(tmp_path / "b", pretrain_hold_out=0.2, seed=7)
    assert torch.cat([b["item_id"] for b in again.train_data.held_out(None)]).tolist() == held


@pytest.mark.parametrize("valid", ["loss", "probe"])
def test_it_is_validated_by_its_own_loss_or_by_the_probe(tmp_path: Path, valid: str) -> None:
    built = make(tmp_path, pretrain_valid=valid, pretrain_hold_out=0.3, epochs=3)
    history = built.fit().trainer.history
    found = history[-1]
    if valid == "probe":
        assert found["valid_score"] == found["valid"]["mrr@10"] and not built.trainer._own_loss
        return
    batches, model = built.train_data.held_out(None), built.model.eval()
    with torch.no_grad():
        losses = [(len(b), [float(x) for x in model.calculate_loss(b)]) for b in batches]
    rows = sum(n for n, _ in losses)
    terms = [sum(n * values[k] for n, values in losses) / rows for k in range(3)]
    assert list(found["valid"]) == ["held_out_loss", "modality_contrast", "consistency", "first_order"]
    assert list(found["valid"].values()) == pytest.approx([sum(terms), *terms], rel=1e-5)
    scores = [record["valid_score"] for record in history]
    assert built.trainer.best_valid_score == min(scores) and found["valid_score"] == pytest.approx(sum(terms))
    best = [record["epoch"] for record in history if record["best"]]
    assert best[-1] == scores.index(min(scores))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"modalities": []}, "CPMM: no vectors of the items of toy, and it learns from them"),
        (
            {"lambda1": 0.0, "lambda2": 0.0, "lambda3": 0.0},
            "CPMM: no term of the loss is left; see lambda1, lambda2 and lambda3",
        ),
        (
            {"pretrain_hold_out": 1.0},
            "pretrain_hold_out: 1.0 leaves no item to train on",
        ),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongUse) as said:
        make(tmp_path, **settings)
    assert str(said.value) == message


def test_a_loss_needs_something_held_out(tmp_path: Path) -> None:
    built = make(tmp_path, pretrain_hold_out=0.0)
    with pytest.raises(WrongUse) as said:
        built.fit()
    assert str(said.value) == (
        "pretrain_valid: loss needs something that is not trained on: raise pretrain_hold_out, or give the split a "
        "validation part"
    )
