"""DTCDR against its formula, one pair at a time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_mm.testing import Built, write_toy

SIZES = {"embedding_size": 4, "mlp_hidden_size": [6, 3], "dropout_prob": 0.0}


def make(folder: Path, domains: int, **settings: Any) -> Built:
    built = Built("DTCDR", {**write_toy(folder, [], domains=domains), **SIZES, **settings})
    generator = torch.Generator().manual_seed(2)
    for p in built.model.parameters():
        p.data = torch.randn(p.shape, generator=generator)
    return built


def present(built: Built) -> set[tuple[int, int]]:
    """(user, domain) with a training row."""
    rows, domain = built.train_data._dataset.inter_feat, built.model.item_domain.tolist()
    pairs = zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True)
    return {(u, domain[i]) for u, i in pairs}


def naive_score(built: Built, seen: set[tuple[int, int]], combination: str, u: int, i: int) -> float:
    model, d = built.model, int(built.model.item_domain[i])
    weight = {name: p.numpy().astype(float) for name, p in model.named_parameters()}
    k = model.n_domains
    there = [e for e in range(k) if (u, e) in seen]
    vectors = [weight["user_id.weight"][u * k + e] for e in range(k)]
    if combination == "concat":
        user = np.concatenate([v if e in there else 0 * v for e, v in enumerate(vectors)])
    else:
        own = [vectors[e] for e in there]
        user = np.max(own, axis=0) if combination == "max" else sum(own) / len(own)
    hidden = np.concatenate([user, weight["item_id.weight"][i]])
    layers = sorted(name.removesuffix(".weight") for name in weight if name.startswith(f"networks.{d}.0"))
    for name in dict.fromkeys(layer.removesuffix(".bias") for layer in layers):
        hidden = np.maximum(weight[f"{name}.weight"] @ hidden + weight[f"{name}.bias"], 0)
    return float((weight[f"networks.{d}.1.weight"] @ hidden + weight[f"networks.{d}.1.bias"])[0])


@torch.no_grad()
@pytest.mark.parametrize(
    ("domains", "combination"), [(1, "max"), (2, "max"), (3, "max"), (3, "mean"), (3, "concat")]
)
def test_scores_are_the_formula(tmp_path: Path, domains: int, combination: str) -> None:
    built = make(tmp_path, domains, combination=combination)
    seen, n_users = present(built), built.model.n_users
    absent = [u for u in range(1, n_users) if not all((u, d) in seen for d in range(domains))]
    assert domains == 1 or absent  # somebody is not in every domain
    users = [*range(1, 4), *absent[:2]]
    every = range(1, built.model.n_items)
    expected = [[naive_score(built, seen, combination, u, i) for i in every] for u in users]
    torch.testing.assert_close(
        built.scores(torch.tensor(users)), torch.tensor(expected, dtype=torch.float), rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
@pytest.mark.parametrize("combination", ["max", "mean", "concat"])
def test_a_user_without_rows_has_all_vectors(tmp_path: Path, combination: str) -> None:
    model = make(tmp_path, 2, combination=combination).model
    model.seen[3] = False
    own = model.user_id.weight[6:8]
    expected = {"max": own.amax(0), "mean": own.mean(0), "concat": own.flatten()}[combination]
    torch.testing.assert_close(model.combined(torch.tensor([3]))[0], expected)


@torch.no_grad()
def test_loss_is_cross_entropy(tmp_path: Path) -> None:
    built = make(tmp_path, 2, train_neg_sample_args={"distribution": "uniform", "sample_num": 2})
    seen, batch, total = present(built), built.batch(10), 0.0
    rows = zip(*(batch[f].tolist() for f in ("user_id", "item_id", "neg_item_id")), strict=True)
    for u, i, negatives in rows:
        total += math.log1p(math.exp(-naive_score(built, seen, "max", u, i)))
        total += sum(math.log1p(math.exp(naive_score(built, seen, "max", u, n))) for n in negatives)
    assert built.loss(batch).item() == pytest.approx(total / 30, rel=1e-4)


def test_dropout_is_of_training_alone(tmp_path: Path) -> None:
    built = make(tmp_path, 2, dropout_prob=0.5)
    batch = built.batch(10)
    assert built.loss(batch).item() != built.loss(batch).item()
    assert torch.equal(built.scores(), built.scores())
