"""MMGCN against message passing node by node, and its loss pair by pair."""

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
    given = {"embedding_size": 4, "latent_dimension": 5, "reg_weight": 0.0, **settings}
    built = Built("MMGCN", {**write_toy(folder, modalities), **given})
    generator = torch.Generator().manual_seed(3)
    for p in built.model.parameters():
        p.data = torch.randn(p.shape, generator=generator) / 2
    return built


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.01 * x)


def naive_nodes(built: Built, folder: Path, modalities: tuple[str, ...]) -> dict[tuple[str, int], Tensor]:
    """The final vector of each node, ("user", u) or ("item", i)."""
    model, dataset = built.model, built.train_data._dataset
    pairs = set(zip(*(dataset.inter_feat[f].tolist() for f in ("user_id", "item_id")), strict=True))
    neighbours: dict[tuple[str, int], list[tuple[str, int]]] = {
        **{("user", u): [("item", i) for v, i in sorted(pairs) if v == u] for u in range(model.n_users)},
        **{("item", i): [("user", u) for u, j in sorted(pairs) if j == i] for i in range(model.n_items)},
    }
    total: dict[tuple[str, int], Any] = dict.fromkeys(neighbours, 0)
    for name in modalities or ("id",):
        known = {}
        if modalities:
            store = ModalityStore.open(folder / "modality" / "toy" / name)
            known = dict(zip(store.tokens, torch.tensor(store.values), strict=True))
        branch, nodes, silent = model.branches[name], {}, set()
        for kind, n in neighbours:
            if kind == "user":
                vector = branch.user_preference.weight[n]
            elif (token := dataset.id2token("item_id", n)) in known:
                vector = model.projections[name].weight @ known[token] + model.projections[name].bias
            else:
                vector = torch.zeros(5)
                silent.add((kind, n))
            nodes[kind, n] = vector / max(vector.norm(), 1e-12)
        for w1, w2, w3 in branch.maps:
            after = {}
            for node, others in neighbours.items():
                heard = [w1.weight @ nodes[o] for o in others if o not in silent]
                mean = sum(heard) / len(heard) if heard else torch.zeros(4)
                place = node[1] + (model.n_users if node[0] == "item" else 0)
                hat = leaky(w2.weight @ nodes[node]) + model.node.weight[place]
                after[node] = leaky(w3.weight @ leaky(mean) + hat)
            nodes, silent = after, set()
        for node, vector in nodes.items():
            total[node] = total[node] + vector / max(len(modalities), 1)
    return total


@torch.no_grad()
@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("modalities", [(), ("text",), ("text", "image", "audio")], ids=len)
def test_nodes_are_message_passing(tmp_path: Path, modalities: tuple[str, ...], n_layers: int) -> None:
    built = make(tmp_path, modalities, n_layers=n_layers)
    expected = naive_nodes(built, tmp_path, modalities)
    for kind, found in zip(("user", "item"), built.model.nodes(), strict=True):
        stacked = torch.stack([expected[kind, n] for n in range(len(found))])
        torch.testing.assert_close(found, stacked, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_loss_is_bpr_and_half_the_squares_per_positive(tmp_path: Path) -> None:
    built = make(tmp_path, reg_weight=0.3)
    nodes, model = naive_nodes(built, tmp_path, ("text", "image")), built.model
    batch, terms, squares = built.batch(10), [], 0.0
    rows = (batch["user_id"].tolist(), batch["item_id"].tolist(), batch["neg_item_id"][:, 0].tolist())
    for u, i, j in zip(*rows, strict=True):
        difference = nodes["user", u] @ (nodes["item", i] - nodes["item", j])
        terms.append(math.log1p(math.exp(-difference.item())))
        ids = model.node.weight[[u, model.n_users + i, model.n_users + j]]
        squares += ids.square().sum().item()
        squares += sum(b.user_preference.weight[u].square().sum().item() for b in model.branches.values())
    expected = sum(terms) / 10 + 0.3 * squares / 2 / 10
    assert built.loss(batch).item() == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_parts_of_a_score_are_the_modalities_of_the_item(tmp_path: Path) -> None:
    built = make(tmp_path)
    scores = built.scores()
    parts = built.model.score_parts(torch.tensor([3, 4]), torch.tensor([5, 6]))["item"]
    assert list(parts) == ["text", "image"]
    torch.testing.assert_close(sum(parts.values()), torch.stack([scores[2, 4], scores[3, 5]]))
