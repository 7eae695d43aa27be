"""GCE against a dense adjacency built edge by edge, and the factorisation machine as a sum over three nodes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from recbole_mm.testing import Built, write_toy


class NaiveGCE:
    """Nodes: user ids, then item ids, then domains."""

    def __init__(self, built: Built, folder: Path):
        self.built, model = built, built.model
        dataset = built.train_data._dataset
        frame = pd.read_csv(folder / "toy" / "toy.inter", sep="\t", dtype=str)
        frame.columns = [c.split(":")[0] for c in frame.columns]
        names = dataset.domain_names or None
        self.n_users, self.n_items = model.n_users, model.n_items
        self.n_nodes = self.n_users + self.n_items + (1 if names is None else len(names))
        self.domain, self.edges = {}, set()
        for row in frame.itertuples():
            item = int(dataset.token2id("item_id", row.item_id))
            self.domain[item] = 0 if names is None else names.index(row.domain)
            self.edges.add((self.item(item), self.context(item)))
            if row.part == "train":
                user = int(dataset.token2id("user_id", row.user_id))
                self.edges |= {(user, self.item(item)), (user, self.context(item))}

    def item(self, item: int) -> int:
        return self.n_users + item

    def context(self, item: int) -> int:
        return self.n_users + self.n_items + self.domain[item]

    def adjacency(self) -> Tensor:
        """D^{-1/2} (A + I) D^{-1/2}, dense."""
        loops = torch.eye(self.n_nodes)
        for a, b in self.edges:
            loops[a, b] = loops[b, a] = 1.0
        degree = loops.sum(dim=1)
        return loops / (degree.sqrt().unsqueeze(0) * degree.sqrt().unsqueeze(1))

    def score(self, nodes: Tensor, user: int, item: int) -> Tensor:
        """½ Σ_k [(Σ_n e_nk)² - Σ_n e_nk²] over user, item and its domain."""
        three = nodes[[user, self.item(item), self.context(item)]]
        return ((three.sum(0) ** 2) - (three**2).sum(0)).sum() / 2


def make(folder: Path, domains: int, **settings: Any) -> tuple[Built, NaiveGCE]:
    built = Built("GCE", {**write_toy(folder, domains=domains), "embedding_size": 8, **settings})
    with torch.no_grad():
        built.model.node.weight.mul_(5)  # squares of small numbers would vanish in the tolerance
    return built, NaiveGCE(built, folder)


@pytest.mark.parametrize("domains", [1, 2, 3])
def test_edges_are_training_rows_and_the_domains_of_users_and_items(tmp_path: Path, domains: int) -> None:
    built, naive = make(tmp_path, domains)
    dense = built.model.adjacency.by_row.to_dense()
    index = dense.nonzero().tolist()
    found = {(a, b) for a, b in index if a != b}
    assert found == naive.edges | {(b, a) for a, b in naive.edges}
    assert {a for a, b in index if a == b} == set(range(naive.n_nodes))
    torch.testing.assert_close(dense, naive.adjacency())


@torch.no_grad()
@pytest.mark.parametrize("domains", [1, 2, 3])
def test_scores_are_the_factorisation_machine(tmp_path: Path, domains: int) -> None:
    built, naive = make(tmp_path, domains)
    nodes = naive.adjacency() @ built.model.node.weight
    expected = [[naive.score(nodes, u, i) for i in range(1, naive.n_items)] for u in range(1, naive.n_users)]
    torch.testing.assert_close(
        built.scores(), torch.stack([torch.stack(row) for row in expected]), rtol=1e-4, atol=1e-5
    )


@torch.no_grad()
def test_loss_is_bpr_over_four_negatives(tmp_path: Path) -> None:
    built, naive = make(tmp_path, 2)
    nodes, batch, terms = naive.adjacency() @ built.model.node.weight, built.batch(10), []
    assert batch["neg_item_id"].shape == (10, 4)
    for u, i, negatives in zip(
        *(batch[f].tolist() for f in ("user_id", "item_id", "neg_item_id")), strict=True
    ):
        positive = naive.score(nodes, u, i).item()
        terms += [math.log1p(math.exp(naive.score(nodes, u, n).item() - positive)) for n in negatives]
    assert built.loss(batch).item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)


@torch.no_grad()
def test_scores_follow_the_weights_after_a_training_step(tmp_path: Path) -> None:
    built, _ = make(tmp_path, 2)
    before = built.scores()
    built.model.train()
    built.model.node.weight.mul_(-2.0)
    after = built.scores()
    torch.testing.assert_close(after, 4 * before, rtol=1e-4, atol=1e-5)
