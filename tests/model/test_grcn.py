"""GRCN against routing and messages node by node, and its loss pair by pair."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from recbole_mm.modality import ModalityStore
from recbole_mm.testing import Built, write_toy


def make(folder: Path, modalities: tuple[str, ...] = ("text", "image"), **settings: Any) -> Built:
    given = {"embedding_size": 4, "latent_dimension": 3, "reg_weight": 0.0, **settings}
    built = Built("GRCN", {**write_toy(folder, modalities), **given})
    generator = torch.Generator().manual_seed(3)
    for p in built.model.parameters():
        p.data = torch.randn(p.shape, generator=generator)
    return built


def unit(x: Tensor) -> Tensor:
    return x / max(float(x.norm()), 1e-12)


def softmax(own: Tensor, others: dict[int, Tensor]) -> dict[int, float]:
    powers = {n: math.exp(float(own @ x)) for n, x in others.items()}
    return {n: power / sum(powers.values()) for n, power in powers.items()}


class Naive:
    """Vectors of users and items by dicts; ``items_of[u]`` and ``users_of[i]`` are the neighbours."""

    def __init__(self, built: Built, folder: Path, modalities: tuple[str, ...]):
        self.model, dataset = built.model, built.train_data._dataset
        users, items = (dataset.inter_feat[f].tolist() for f in ("user_id", "item_id"))
        self.pairs = sorted(set(zip(users, items, strict=True)))
        self.users, self.items = range(self.model.n_users), range(self.model.n_items)
        self.contents = [self.content(name, folder, dataset) for name in modalities]

    def of_user(self, user: int) -> list[int]:
        return [i for u, i in self.pairs if u == user]

    def of_item(self, item: int) -> list[int]:
        return [u for u, i in self.pairs if i == item]

    def content(self, name: str, folder: Path, dataset: Any) -> tuple[Any, Any, Any, Any]:
        """Contents of users and of items, P(i | u) by (u, i), P(u | i) by (u, i)."""
        store = ModalityStore.open(folder / "modality" / "toy" / name)
        known = dict(zip(store.tokens, torch.tensor(store.values), strict=True))
        linear, item = self.model.projections[name], {}
        for i in self.items:
            if (token := dataset.id2token("item_id", i)) in known:
                mapped = linear.weight @ known[token] + linear.bias
                item[i] = unit(torch.where(mapped > 0, mapped, 0.01 * mapped))
        user = {u: unit(self.model.user_preference[name].weight[u]) for u in self.users}
        near = {u: {i: item[i] for i in self.of_user(u) if i in item} for u in self.users}
        for _ in range(self.model.n_routing):
            shares = {u: softmax(user[u], near[u]) for u in self.users}
            user = {u: unit(user[u] + sum(p * item[i] for i, p in shares[u].items())) for u in self.users}
        of_users = {(u, i): p for u in self.users for i, p in softmax(user[u], near[u]).items()}
        of_items = {
            (u, i): p
            for i in item
            for u, p in softmax(item[i], {u: user[u] for u in self.of_item(i)}).items()
        }
        zero = torch.zeros(3)
        at_users = {
            u: user[u] + sum(p * item[i] for (v, i), p in of_users.items() if v == u) for u in self.users
        }
        at_items = {
            i: item[i] + sum(p * user[u] for (u, j), p in of_items.items() if j == i) if i in item else zero
            for i in self.items
        }
        return at_users, at_items, of_users, of_items

    def weight(self, pair: tuple[int, int], to_user: bool) -> float:
        user, item = pair
        sender, shares = item if to_user else user, [c[2 if to_user else 3] for c in self.contents]
        claims = [
            float(self.model.confidence["item" if to_user else "user"].weight[sender, k]) * p[pair]
            for k, p in enumerate(shares)
            if pair in p
        ]
        if not claims:
            return 1 / len(self.of_user(user) if to_user else self.of_item(item))
        return max(0.0, max(claims)) if self.model.pruning else max(claims)

    def nodes(self) -> tuple[Tensor, Tensor]:
        heard = {pair: self.weight(pair, True) for pair in self.pairs}
        told = {pair: self.weight(pair, False) for pair in self.pairs}
        user = {u: unit(self.model.user_id.weight[u]) for u in self.users}
        item = {i: unit(self.model.item_id.weight[i]) for i in self.items}
        at_users, at_items = dict(user), dict(item)
        for _ in range(self.model.n_layers):
            after = {u: sum((heard[u, i] * item[i] for i in self.of_user(u)), torch.zeros(4)) for u in user}
            item = {i: sum((told[u, i] * user[u] for u in self.of_item(i)), torch.zeros(4)) for i in item}
            user = after
            at_users = {u: x + user[u] for u, x in at_users.items()}
            at_items = {i: x + item[i] for i, x in at_items.items()}
        users = [torch.cat([at_users[u], *(c[0][u] for c in self.contents)]) for u in self.users]
        items = [torch.cat([at_items[i], *(c[1][i] for c in self.contents)]) for i in self.items]
        return torch.stack(users), torch.stack(items)


@torch.no_grad()
@pytest.mark.parametrize(
    ("modalities", "settings"),
    [
        ((), {}),
        (("text",), {"n_routing": 0, "n_layers": 1}),
        (("text", "image", "audio"), {"n_routing": 2}),
        (("text", "image"), {"pruning": False}),
    ],
)
def test_nodes_are_routing_and_messages(
    tmp_path: Path, modalities: tuple[str, ...], settings: dict[str, Any]
) -> None:
    built = make(tmp_path, modalities, **settings)
    found = built.model.nodes()
    for own, expected in zip(found, Naive(built, tmp_path, modalities).nodes(), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_loss_is_bpr_and_half_the_squares_per_positive(tmp_path: Path) -> None:
    built = make(tmp_path, reg_weight=0.3)
    users, items = built.model.nodes()
    model, batch, terms, squares = built.model, built.batch(10), [], 0.0
    rows = (batch["user_id"].tolist(), batch["item_id"].tolist(), batch["neg_item_id"][:, 0].tolist())
    for u, i, j in zip(*rows, strict=True):
        terms.append(math.log1p(math.exp(-float(users[u] @ (items[i] - items[j])))))
        free = [model.user_id.weight[u], model.item_id.weight[i], model.item_id.weight[j]]
        free += [table.weight[u] for table in model.user_preference.values()]
        squares += sum(float(x.square().sum()) for x in free)
    assert built.loss(batch).item() == pytest.approx(sum(terms) / 10 + 0.3 * squares / 2 / 10, rel=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("modalities", [(), ("text", "image")], ids=len)
def test_parts_of_a_score_add_up(tmp_path: Path, modalities: tuple[str, ...]) -> None:
    built = make(tmp_path, modalities)
    scores = built.scores()
    parts = built.model.score_parts(torch.tensor([3, 4]), torch.tensor([5, 6]))["item"]
    assert list(parts) == ["id", *modalities]
    torch.testing.assert_close(sum(parts.values()), torch.stack([scores[2, 4], scores[3, 5]]))
