"""DRAGON against its three graphs as dense matrices made pair by pair, and its loss row by row."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.model.naive_graph import NaiveGraph, softplus

THREE = ("text", "image", "audio")


def unit(x: np.ndarray) -> np.ndarray:
    return x / max(float(np.linalg.norm(x)), 1e-12)


class Naive(NaiveGraph):
    """Users and items by the formula."""

    def starts(self) -> list[np.ndarray]:
        """Layer 0 of each modality."""
        users = self.weight("user_preference.weight").reshape(self.n_users, -1, 8)
        found = []
        for m, name in enumerate(self.vectors or ["id"]):
            items = np.zeros((self.n_items, 8))
            for i in range(self.n_items):
                if not self.vectors:
                    items[i] = unit(self.weight("item_id.weight")[i])
                elif i in self.vectors[name]:
                    hidden = self.linear(f"projections.{name}.0", self.vectors[name][i])
                    items[i] = unit(self.linear(f"projections.{name}.2", np.maximum(hidden, 0.01 * hidden)))
            found.append(np.concatenate([[unit(x) for x in users[:, m]], items]))
        return found

    def together(self, k: int) -> np.ndarray:
        """C."""
        taken = {u: {i for v, i in self.pairs if v == u} for u in range(self.n_users)}
        shares = np.zeros((self.n_users, self.n_users))
        for u in taken:
            common = {v: len(taken[u] & taken[v]) for v in taken if v != u and taken[u] & taken[v]}
            near = sorted(common, key=lambda v: (-common[v], v))[:k]
            for v in near:
                shares[u, v] = math.exp(common[v]) / sum(math.exp(common[n]) for n in near)
        return shares

    def similar_items(self, weights: dict[str, float], k: int) -> np.ndarray:
        """S."""
        found = np.zeros((self.n_items, self.n_items))
        for i in range(self.n_items):
            own = {m: weights[m] for m, known in self.vectors.items() if i in known}
            for m, weight in own.items():
                found[i] += weight / sum(own.values()) * self.similar(self.vectors[m], k, True)[i]
        return found

    def nodes(self, n_layers: int, user_k: int | None, items: np.ndarray | None) -> tuple[np.ndarray, ...]:
        graph, alpha, parts = self.adjacency(), self.weight("user_share.weight"), []
        for start in self.starts():
            total = layer = start
            for _ in range(n_layers):
                layer = graph @ layer
                total = total + layer
            parts.append(total)
        users = np.concatenate(
            [alpha[:, m : m + 1] * part[: self.n_users] for m, part in enumerate(parts)], axis=1
        )
        of_items = np.concatenate([part[self.n_users :] for part in parts], axis=1)
        users = users + (self.together(user_k) @ users if user_k else 0)
        return users, of_items + (items @ of_items if items is not None else 0)


@torch.no_grad()
@pytest.mark.parametrize(
    ("modalities", "settings"),
    [
        ((), {"user_graph_k": 3}),
        (("text",), {"n_layers": 1, "user_graph_k": 100, "graph_k": 4}),
        (THREE, {"user_graph_k": 3, "graph_k": 4, "modality_weights": {"image": 0.2}}),
        (THREE, {"use_user_graph": False, "n_item_layers": 0}),
    ],
)
def test_nodes_are_the_three_graphs(
    tmp_path: Path, modalities: tuple[str, ...], settings: dict[str, Any]
) -> None:
    naive = Naive("DRAGON", tmp_path, modalities, **settings)
    weights = {"text": 0.4, "image": 0.2, "audio": 0.4} if len(modalities) > 1 else {"text": 1.0}
    similar = naive.similar_items(weights, settings["graph_k"]) if "graph_k" in settings else None
    expected = naive.nodes(settings.get("n_layers", 2), settings.get("user_graph_k"), similar)
    for found, own in zip(naive.model.nodes(), expected, strict=True):
        np.testing.assert_allclose(found, own, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_loss_is_bpr_and_half_the_squares_per_positive(tmp_path: Path) -> None:
    naive = Naive("DRAGON", tmp_path, reg_weight=0.3)
    users, items = (x.double().numpy() for x in naive.model.nodes())
    batch, terms, squares = naive.built.batch(10), [], 0.0
    for u, i, (j,) in naive.rows(batch):
        terms.append(softplus(float(users[u] @ (items[j] - items[i]))))
        squares += sum(
            float((naive.weight(f"{n}.weight")[u] ** 2).sum()) for n in ("user_preference", "user_share")
        )
    expected = sum(terms) / 10 + 0.3 * squares / 2 / 10
    assert naive.built.loss(batch).item() == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_parts_of_a_score_are_the_modalities(tmp_path: Path) -> None:
    model = (naive := Naive("DRAGON", tmp_path)).model
    parts = model.score_parts(torch.tensor([3, 4]), torch.tensor([5, 6]))["modality"]
    scores = naive.built.scores()
    assert list(parts) == ["text", "image"]
    torch.testing.assert_close(sum(parts.values()), torch.stack([scores[2, 4], scores[3, 5]]))
