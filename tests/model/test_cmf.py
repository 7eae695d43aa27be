"""CMF against its formula, pair by pair."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_mm.errors import WrongUse
from recbole_mm.testing import Built, write_toy


def make(folder: Path, domains: int = 2, **settings: Any) -> Built:
    built = Built("CMF", {**write_toy(folder, [], domains=domains), "embedding_size": 8, **settings})
    for p in built.model.parameters():
        p.data = torch.randn(p.shape, generator=torch.Generator().manual_seed(2))
    return built


def dot(built: Built, user: int, item: int) -> float:
    p, q = built.model.user_id.weight[user].tolist(), built.model.item_id.weight[item].tolist()
    return sum(a * b for a, b in zip(p, q, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("domains", [1, 3])
def test_scores_are_products(tmp_path: Path, domains: int) -> None:
    built = make(tmp_path, domains)
    scores = built.scores(torch.arange(1, 6))
    expected = [[dot(built, u, i) for i in range(1, built.model.n_items)] for u in range(1, 6)]
    torch.testing.assert_close(scores, torch.tensor(expected), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ("weights", "reg_weight"), [(None, 0.0), ({"d1": 0.25}, 0.0), ({"d0": 2.0, "d1": 0.5}, 0.3)]
)
def test_loss_weighs_each_row_by_its_domain(
    tmp_path: Path, weights: dict[str, float] | None, reg_weight: float
) -> None:
    sampling = {"distribution": "uniform", "sample_num": 2}
    built = make(tmp_path, reg_weight=reg_weight, domain_weights=weights, train_neg_sample_args=sampling)
    model, batch, total, squares = built.model, built.batch(10), 0.0, 0.0
    rows = list(zip(*(batch[f].tolist() for f in ("user_id", "item_id", "neg_item_id")), strict=True))
    for u, i, negatives in rows:
        name = model.domain_names[model.item_domain[i]]
        terms = [-math.log(1 / (1 + math.exp(-dot(built, u, i))))]
        terms += [-math.log(1 - 1 / (1 + math.exp(-dot(built, u, n)))) for n in negatives]
        total += (weights or {}).get(name, 1.0) * sum(terms) / 3
        for vector in (model.user_id.weight[u], model.item_id.weight[i]):
            squares += sum(x * x for x in vector.tolist())
        squares += sum(x * x for n in negatives for x in model.item_id.weight[n].tolist()) / len(negatives)
    assert built.loss(batch).item() == pytest.approx((total + reg_weight * squares / 2) / 10, rel=1e-4)


def test_weights_are_of_domains_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(WrongUse) as error:
        make(tmp_path, domain_weights={"d7": 1.0})
    assert str(error.value) == "domain_weights: no domain 'd7'; there are d0, d1"
