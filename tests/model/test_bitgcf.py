"""BiTGCF against its formulas, user by user and row by row."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_mm.testing import Built, write_toy


def make(folder: Path, domains: int, **settings: Any) -> Built:
    given = {"embedding_size": 4, "dropout_prob": 0.0, **settings}
    built = Built("BiTGCF", {**write_toy(folder, [], domains=domains), **given})
    for p in built.model.parameters():
        p.data = torch.randn(p.shape, generator=torch.Generator().manual_seed(2))
    return built


class Naive:
    """Vectors by (user, domain) and by item."""

    def __init__(self, built: Built, own_share: float, n_layers: int, concat: bool):
        model, rows = built.model, built.train_data._dataset.inter_feat
        self.k, self.domain = model.n_domains, model.item_domain.tolist()
        pairs = set(zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True))
        self.taken = {(u, d): [] for u in range(model.n_users) for d in range(self.k)}
        self.takers: dict[int, list[int]] = {i: [] for i in range(model.n_items)}
        for u, i in sorted(pairs):
            self.taken[u, self.domain[i]].append(i)
            self.takers[i].append(u)
        table = model.user_id.weight.numpy().astype(float)
        user = {key: table[key[0] * self.k + key[1]] * bool(self.taken[key]) for key in self.taken}
        item = dict(enumerate(model.item_id.weight.numpy().astype(float)))
        self.users, self.items = [user], [item]
        for _ in range(n_layers):
            user, item = self.propagated(user, item)
            user = {key: self.transferred(user, *key, own_share) for key in user}
            self.users.append({key: unit(v) for key, v in user.items()})
            self.items.append({key: unit(v) for key, v in item.items()})
        self.join = np.concatenate if concat else lambda layers: sum(layers) / len(layers)

    def propagated(self, user: dict, item: dict) -> tuple[dict, dict]:
        users, items = {}, {}
        for (u, d), own in user.items():
            norm = [math.sqrt(len(self.taken[u, d]) * len(self.takers[i])) for i in self.taken[u, d]]
            told = [(item[i] + own * item[i]) / n for i, n in zip(self.taken[u, d], norm, strict=True)]
            users[u, d] = own + sum(told)
        for i, own in item.items():
            d = self.domain[i]
            norm = [math.sqrt(len(self.taken[u, d]) * len(self.takers[i])) for u in self.takers[i]]
            told = [(user[u, d] + own * user[u, d]) / n for u, n in zip(self.takers[i], norm, strict=True)]
            items[i] = own + sum(told)
        return users, items

    def transferred(self, user: dict, u: int, d: int, own_share: float) -> Any:
        there = [e for e in range(self.k) if self.taken[u, e]]
        if not there:
            return user[u, d] / 2
        degree = [len(self.taken[u, e]) for e in there]
        common = sum(n * user[u, e] for n, e in zip(degree, there, strict=True)) / sum(degree)
        others = [user[u, e] for e in there if e != d]
        if d not in there:
            own = sum(others) / len(others)
        elif others:
            own = own_share * user[u, d] + (1 - own_share) * sum(others) / len(others)
        else:
            own = user[u, d]
        return (common + own) / 2

    def score(self, u: int, i: int) -> float:
        user = self.join([layer[u, self.domain[i]] for layer in self.users])
        return float(user @ self.join([layer[i] for layer in self.items]))


def unit(v: Any) -> Any:
    return v / max(np.linalg.norm(v), 1e-12)


@torch.no_grad()
@pytest.mark.parametrize(
    ("domains", "own_share", "n_layers", "connect_way"),
    [(1, 0.8, 2, "concat"), (2, 0.8, 2, "concat"), (3, 0.6, 1, "mean"), (2, 0.8, 0, "concat")],
)
def test_scores_are_the_formula(
    tmp_path: Path, domains: int, own_share: float, n_layers: int, connect_way: str
) -> None:
    settings = {"lambda": own_share, "n_layers": n_layers, "connect_way": connect_way}
    built = make(tmp_path, domains, **settings)
    naive = Naive(built, own_share, n_layers, connect_way == "concat")
    absent = [u for u in range(1, built.model.n_users) if not all(naive.taken[u, d] for d in range(domains))]
    assert domains == 1 or absent  # somebody is not in every domain
    users = [*range(1, 6), *absent[:2]]
    expected = [[naive.score(u, i) for i in range(1, built.model.n_items)] for u in users]
    torch.testing.assert_close(
        built.scores(torch.tensor(users)), torch.tensor(expected, dtype=torch.float), rtol=1e-4, atol=1e-5
    )


@torch.no_grad()
def test_loss_is_cross_entropy_and_half_the_squares(tmp_path: Path) -> None:
    sampling = {"distribution": "uniform", "sample_num": 2}
    built = make(tmp_path, 2, reg_weight=0.3, train_neg_sample_args=sampling)
    naive, batch, total, squares = Naive(built, 0.8, 2, True), built.batch(10), 0.0, 0.0
    rows = zip(*(batch[f].tolist() for f in ("user_id", "item_id", "neg_item_id")), strict=True)
    for u, i, negatives in rows:
        total += math.log1p(math.exp(-naive.score(u, i)))
        total += sum(math.log1p(math.exp(naive.score(u, n))) for n in negatives)
        squares += sum(float(v @ v) for v in (naive.users[0][u, naive.domain[i]], naive.items[0][i]))
        squares += sum(float(naive.items[0][n] @ naive.items[0][n]) for n in negatives) / len(negatives)
    assert built.loss(batch).item() == pytest.approx(total / 30 + 0.3 * squares / 2 / 10, rel=1e-4)


def test_dropout_is_of_training_alone(tmp_path: Path) -> None:
    built = make(tmp_path, 2, dropout_prob=0.5)
    batch = built.batch(10)
    assert built.loss(batch).item() != built.loss(batch).item()
    assert torch.equal(built.scores(), built.scores())


def test_one_domain_has_nothing_to_transfer(tmp_path: Path) -> None:
    said = ["BiTGCF: no user has training rows in several domains, so nothing is transferred between them"]
    assert make(tmp_path / "a", 1).model.without_effect() == said
    assert make(tmp_path / "b", 2).model.without_effect() == []
