"""UniCDR against its formulas, user by user."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_mm.testing import Built, write_toy


def make(folder: Path, domains: int, **settings: Any) -> Built:
    given = {"embedding_size": 4, "dropout_prob": 0.0, "mask_ratio": 0.0, "lambda": 0.7, **settings}
    built = Built("UniCDR", {**write_toy(folder, [], domains=domains), **given})
    generator = torch.Generator().manual_seed(2)
    for p in built.model.parameters():
        p.data = torch.randn(p.shape, generator=generator)
    return built


class Naive:
    """Vectors z and s of a user in a domain."""

    def __init__(self, built: Built):
        model, rows = built.model, built.train_data._dataset.inter_feat
        self.domain, self.k = model.item_domain.tolist(), model.n_domains
        self.taken: dict[int, set[int]] = {}
        for u, i in zip(rows["user_id"].tolist(), rows["item_id"].tolist(), strict=True):
            self.taken.setdefault(u, set()).add(i)
        self.weight = {name: p.detach().numpy().astype(float) for name, p in model.named_parameters()}

    def item(self, i: int) -> Any:
        return self.weight["item_id.weight"][i]

    def mean(self, items: list[int]) -> Any:
        return sum(self.item(i) for i in items) / len(items) if items else np.zeros(4)

    def both(self, u: int, d: int, masked: int | None = None, nothing: bool = False) -> tuple[Any, Any]:
        read = [i for i in sorted(self.taken.get(u, ())) if i != masked and not nothing]
        own = self.mean([i for i in read if self.domain[i] == d])
        z = 0.7 * self.weight["user_id.weight"][u * self.k + d] + 0.3 * self.weight[f"own.{d}.weight"] @ own
        if self.k == 1:
            return z, 0 * z
        others = self.mean([i for i in read if self.domain[i] != d])
        told = self.weight["shared.weight"] @ others
        return z, 0.7 * self.weight["shared_user_id.weight"][u] + 0.3 * told

    def critic(self, d: int, z: Any, s: Any) -> float:
        return float(z @ self.weight[f"critics.{d}.weight"][0] @ s + self.weight[f"critics.{d}.bias"][0])


@torch.no_grad()
@pytest.mark.parametrize("domains", [1, 2, 3])
def test_scores_are_the_formula(tmp_path: Path, domains: int) -> None:
    built = make(tmp_path, domains)
    naive, n_users = Naive(built), built.model.n_users
    there = {u: {naive.domain[i] for i in naive.taken.get(u, ())} for u in range(1, n_users)}
    absent = [u for u in range(1, n_users) if len(there[u]) < domains]
    assert domains == 1 or absent  # somebody is not in every domain
    users = [*range(1, 4), *absent[:2]]
    expected = [
        [float(sum(naive.both(u, naive.domain[i])) @ naive.item(i)) for i in range(1, built.model.n_items)]
        for u in users
    ]
    torch.testing.assert_close(
        built.scores(torch.tensor(users)), torch.tensor(expected, dtype=torch.float), rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
@pytest.mark.parametrize(("domains", "mask_ratio"), [(1, 0.0), (2, 0.0), (3, 0.0), (2, 1.0)])
def test_loss_is_cross_entropy_and_contrast(tmp_path: Path, domains: int, mask_ratio: float) -> None:
    sampling = {"distribution": "uniform", "sample_num": 2}
    settings = {"mask_ratio": mask_ratio, "cl_weight": 0.5, "train_neg_sample_args": sampling}
    built = make(tmp_path, domains, **settings)
    naive, batch, total, contrast = Naive(built), built.batch(10), 0.0, 0.0
    before: dict[int, list[Any]] = {}
    rows = list(zip(*(batch[f].tolist() for f in ("user_id", "item_id", "neg_item_id")), strict=True))
    for u, i, negatives in rows:
        d = naive.domain[i]
        z, s = naive.both(u, d, masked=i, nothing=mask_ratio == 1)
        total += math.log1p(math.exp(-(z + s) @ naive.item(i)))
        total += sum(math.log1p(math.exp((z + s) @ naive.item(n))) for n in negatives)
        before.setdefault(d, []).append((z, s))
    for d, pairs in before.items() if domains > 1 else ():
        for k, (z, s) in enumerate(pairs):
            contrast += math.log1p(math.exp(-naive.critic(d, z, s)))
            if len(pairs) > 1:
                contrast += math.log1p(math.exp(naive.critic(d, pairs[k - 1][0], s)))
    losses = [loss.item() for loss in built.model.calculate_loss(batch)]
    expected = [total / 30, *([0.5 * contrast / 10] if domains > 1 else [])]
    assert losses == pytest.approx(expected, rel=1e-4)


def test_masks_and_dropout_are_of_training_alone(tmp_path: Path) -> None:
    for name, key in (("a", "mask_ratio"), ("b", "dropout_prob")):
        built = make(tmp_path / name, 2, **{key: 0.5})
        batch = built.batch(10)
        assert built.loss(batch).item() != built.loss(batch).item()
        assert torch.equal(built.scores(), built.scores())


def test_without_contrast_there_is_no_critic(tmp_path: Path) -> None:
    built = make(tmp_path, 2, cl_weight=0.0)
    assert built.model.calculate_loss(built.batch(10)).names == ("bce",)
    assert not list(built.model.critics.parameters())
