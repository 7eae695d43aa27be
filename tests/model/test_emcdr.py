"""EMCDR against its formulas, user by user."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_mm.testing import Built, write_toy


def make(folder: Path, domains: int, **settings: Any) -> Built:
    sizes = {"embedding_size": 4, "mlp_hidden_size": [5]}
    built = Built("EMCDR", {**write_toy(folder, [], domains=domains), **sizes, **settings})
    generator = torch.Generator().manual_seed(2)
    for p in built.model.parameters():
        p.data = torch.randn(p.shape, generator=generator)
    return built


class Naive:
    """Factors by (user, domain), maps by (from, to)."""

    def __init__(self, built: Built):
        model, rows = built.model, built.train_data._dataset.inter_feat
        self.domain, self.k = model.item_domain.tolist(), model.n_domains
        pairs = zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True)
        self.seen = {(u, self.domain[i]) for u, i in pairs}
        self.weight = {name: p.detach().numpy().astype(float) for name, p in model.named_parameters()}
        self.order = [(a, b) for a in range(self.k) for b in range(self.k) if a != b]

    def user(self, u: int, d: int) -> Any:
        return self.weight["user_id.weight"][u * self.k + d]

    def item(self, i: int) -> Any:
        return self.weight["item_id.weight"][i]

    def mapped(self, a: int, b: int, x: Any) -> Any:
        prefix = f"maps.{self.order.index((a, b))}."
        for layer in ("0", "2"):
            if layer == "2" and f"{prefix}2.weight" in self.weight:
                x = np.tanh(x)
            if f"{prefix}{layer}.weight" in self.weight:
                x = self.weight[f"{prefix}{layer}.weight"] @ x + self.weight[f"{prefix}{layer}.bias"]
        return x

    def score(self, u: int, i: int, map_all: bool) -> float:
        d = self.domain[i]
        others = [a for a in range(self.k) if a != d and (u, a) in self.seen]
        if others and (map_all or (u, d) not in self.seen):
            user = sum(self.mapped(a, d, self.user(u, a)) for a in others) / len(others)
        else:
            user = self.user(u, d)
        return float(user @ self.item(i))


@torch.no_grad()
@pytest.mark.parametrize(
    ("domains", "map_users", "mapping"),
    [(1, "cold", "linear"), (2, "cold", "non_linear"), (3, "cold", "linear"), (3, "all", "non_linear")],
)
def test_scores_are_products_with_the_mapped(
    tmp_path: Path, domains: int, map_users: str, mapping: str
) -> None:
    built = make(tmp_path, domains, map_users=map_users, mapping_function=mapping)
    naive, n_users = Naive(built), built.model.n_users
    absent = [u for u in range(1, n_users) if not all((u, d) in naive.seen for d in range(domains))]
    assert domains == 1 or absent  # somebody is not in every domain
    users = [*range(1, 4), *absent[:2]]
    every = range(1, built.model.n_items)
    expected = [[naive.score(u, i, map_users == "all") for i in every] for u in users]
    torch.testing.assert_close(
        built.scores(torch.tensor(users)), torch.tensor(expected, dtype=torch.float), rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
def test_loss_is_that_of_the_factors_and_that_of_the_maps(tmp_path: Path) -> None:
    sampling = {"distribution": "uniform", "sample_num": 2}
    built = make(tmp_path, 3, reg_weight=0.3, train_neg_sample_args=sampling)
    naive, batch, terms, squares = Naive(built), built.batch(40), [], 0.0
    rows = list(zip(*(batch[f].tolist() for f in ("user_id", "item_id", "neg_item_id")), strict=True))
    for u, i, negatives in rows:
        user = naive.user(u, naive.domain[i])
        terms += [math.log1p(math.exp(user @ (naive.item(n) - naive.item(i)))) for n in negatives]
        squares += user @ user + naive.item(i) @ naive.item(i)
        squares += sum(naive.item(n) @ naive.item(n) for n in negatives) / len(negatives)
    assert len({row[0] for row in rows}) < 40  # a user of several rows has one vote
    errors = [
        (naive.mapped(a, b, naive.user(u, a)) - naive.user(u, b)) ** 2
        for u in {row[0] for row in rows}
        for a, b in naive.order
        if {(u, a), (u, b)} <= naive.seen
    ]
    losses = built.model.calculate_loss(batch)
    assert errors and losses.names == ("bpr", "reg", "mapping")
    expected = [sum(terms) / 80, 0.3 * squares / 2 / 40, np.mean(errors)]
    assert [loss.item() for loss in losses] == pytest.approx(expected, rel=1e-4)


def test_the_maps_move_no_factor(tmp_path: Path) -> None:
    built = make(tmp_path, 2)
    built.model.calculate_loss(built.batch())[-1].backward()
    moved = {n for n, p in built.model.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {n for n, _ in built.model.named_parameters() if n.startswith("maps")}


def test_one_domain_has_no_map(tmp_path: Path) -> None:
    built = make(tmp_path, 1)
    assert built.model.calculate_loss(built.batch()).names == ("bpr", "reg")
    assert not list(built.model.maps.parameters())
