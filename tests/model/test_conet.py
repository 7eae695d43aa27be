"""CoNet against its formula, unit by unit for one pair at a time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_mm.testing import Built, write_toy

SIZES = {"embedding_size": 4, "mlp_hidden_size": [6, 3]}


def make(folder: Path, domains: int, **settings: Any) -> Built:
    built = Built("CoNet", {**write_toy(folder, [], domains=domains), **SIZES, **settings})
    generator = torch.Generator().manual_seed(2)
    for p in built.model.parameters():
        p.data = torch.randn(p.shape, generator=generator)
    return built


def history(built: Built) -> dict[tuple[int, int], set[int]]:
    """Items by user and domain."""
    model, rows = built.model, built.train_data._dataset.inter_feat
    taken: dict[tuple[int, int], set[int]] = {}
    for u, i in zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True):
        taken.setdefault((u, int(model.item_domain[i])), set()).add(i)
    return taken


def naive_score(built: Built, taken: dict[tuple[int, int], set[int]], u: int, i: int) -> float:
    model, d = built.model, int(built.model.item_domain[i])
    weight = {name: p.numpy().astype(float) for name, p in model.named_parameters()}
    user, item = weight["user_id.weight"], weight["item_id.weight"]
    there = [e for e in range(model.n_domains) if e == d or (u, e) in taken]
    read = {e: item[i] if e == d else item[sorted(taken[u, e])].mean(axis=0) for e in there}
    hidden = {e: np.concatenate([user[u], read[e]]) for e in there}
    for layer in range(2):
        following = {}
        for e in there:
            out = weight[f"own.{layer}.{e}.weight"] @ hidden[e] + weight[f"own.{layer}.{e}.bias"]
            heard = [weight[f"cross.{layer}.weight"] @ hidden[o] for o in there if o != e]
            following[e] = np.maximum(out + sum(heard) / max(len(heard), 1), 0)
        hidden = following
    return float((weight[f"out.{d}.weight"] @ hidden[d] + weight[f"out.{d}.bias"])[0])


@torch.no_grad()
@pytest.mark.parametrize("domains", [1, 2, 3])
def test_scores_are_the_formula(tmp_path: Path, domains: int) -> None:
    built = make(tmp_path, domains)
    taken, n_users = history(built), built.model.n_users
    absent = [u for u in range(1, n_users) if not all((u, d) in taken for d in range(domains))]
    assert domains == 1 or absent  # somebody is not in every domain
    users = [*range(1, 6), *absent[:2]]
    expected = [[naive_score(built, taken, u, i) for i in range(1, built.model.n_items)] for u in users]
    torch.testing.assert_close(
        built.scores(torch.tensor(users)), torch.tensor(expected, dtype=torch.float), rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
@pytest.mark.parametrize("reg_weight", [0.0, 0.2])
def test_loss_is_cross_entropy_and_the_length_of_the_connections(tmp_path: Path, reg_weight: float) -> None:
    sampling = {"distribution": "uniform", "sample_num": 2}
    built = make(tmp_path, 2, reg_weight=reg_weight, train_neg_sample_args=sampling)
    taken, batch, total = history(built), built.batch(10), 0.0
    rows = zip(*(batch[f].tolist() for f in ("user_id", "item_id", "neg_item_id")), strict=True)
    for u, i, negatives in rows:
        total += math.log1p(math.exp(-naive_score(built, taken, u, i)))
        total += sum(math.log1p(math.exp(naive_score(built, taken, u, n))) for n in negatives)
    length = sum(abs(x) for p in built.model.cross.parameters() for x in p.flatten().tolist())
    assert built.loss(batch).item() == pytest.approx(total / 30 + reg_weight * length, rel=1e-4)


def test_with_one_domain_it_is_an_mlp(tmp_path: Path) -> None:
    names = {name.split(".")[0] for name, _ in make(tmp_path, 1).model.named_parameters()}
    assert names == {"user_id", "item_id", "own", "out"}


def test_one_domain_has_nothing_to_transfer(tmp_path: Path) -> None:
    said = ["CoNet: no user has training rows in several domains, so nothing is transferred between them"]
    assert make(tmp_path / "a", 1).model.without_effect() == said
    assert make(tmp_path / "b", 2).model.without_effect() == []
