"""LGMRec against its formula, node by node and pair by pair."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_mm.layer.hypergraph import Membership
from tests.model.naive_graph import NaiveGraph, cosine, softplus

SETTINGS: dict[str, Any] = {"n_hyperedges": 3, "alpha": 0.4, "temperature": 0.7, "dropout_prob": 0.0}


def make(folder: Path, modalities: list[str], **settings: Any) -> NaiveGraph:
    return NaiveGraph("LGMRec", folder, modalities, **{**SETTINGS, **settings})


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x) if x.any() else x


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum()


def taken(naive: NaiveGraph, user: int, known: dict[int, np.ndarray]) -> list[int]:
    return [i for u, i in naive.pairs if u == user and i in known]


def local(naive: NaiveGraph, k: int, known: dict[int, np.ndarray], layers: int) -> np.ndarray:
    """z of users, then items, at unit length."""
    mapped = {i: naive.weight(f"local.{k}.weight") @ x for i, x in known.items()}
    z = np.zeros((naive.n_users + naive.n_items, 8))
    for u in range(naive.n_users):
        if has := taken(naive, u, known):
            z[u] = sum(mapped[i] for i in has) / len(has)
    for i, x in mapped.items():
        z[naive.n_users + i] = x
    for _ in range(layers):
        z = naive.adjacency() @ z
    return np.stack([unit(x) for x in z])


def globally(naive: NaiveGraph, k: int, known: dict[int, np.ndarray], passes: int) -> np.ndarray:
    """G of users, then items; zeros for what is in no hyperedge."""
    logits = {i: naive.weight(f"hyper.{k}.weight") @ x for i, x in known.items()}
    of_items = {i: softmax(x / 0.7) for i, x in logits.items()}
    of_users = {
        u: softmax(sum(logits[i] for i in has) / 0.7)
        for u in range(naive.n_users)
        if (has := taken(naive, u, known))
    }
    items = naive.lightgcn(naive.adjacency(), 2)[1]
    users = np.zeros((naive.n_users, 8))
    for _ in range(passes):
        edges = [sum(h[e] * items[i] for i, h in of_items.items()) for e in range(3)]
        users, items = np.zeros_like(users), np.zeros_like(items)
        for side, dependency in ((users, of_users), (items, of_items)):
            for n, h in dependency.items():
                side[n] = sum(h[e] * edges[e] for e in range(3))
    return np.concatenate([users, items])


def nodes(
    naive: NaiveGraph, alpha: float = 0.4, layers: int = 2, passes: int = 1
) -> tuple[np.ndarray, list[np.ndarray]]:
    vectors = np.concatenate(naive.lightgcn(naive.adjacency(), 2))
    found = []
    for k, known in enumerate(naive.vectors.values()):
        vectors = vectors + local(naive, k, known, layers)
        found += [globally(naive, k, known, passes)] if alpha and passes else []
    if found:
        vectors = vectors + alpha * np.stack([unit(x) for x in sum(found)])
    return vectors, found


@pytest.mark.parametrize(
    ("modalities", "alpha", "layers", "passes"),
    [
        ([], 0.4, 2, 1),
        (["text"], 0.4, 2, 1),
        (["text", "image", "audio"], 0.4, 1, 2),
        (["text", "image"], 0.0, 2, 1),
        (["text", "image"], 0.4, 0, 0),
    ],
)
def test_scores_are_the_formula(
    tmp_path: Path, modalities: list[str], alpha: float, layers: int, passes: int
) -> None:
    naive = make(tmp_path, modalities, alpha=alpha, n_modal_layers=layers, hyper_layers=passes)
    vectors, _ = nodes(naive, alpha, layers, passes)
    found = naive.built.scores(torch.arange(1, 6)).double().numpy()
    expected = vectors[1:6] @ vectors[naive.n_users + 1 :].T
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert len(naive.model.hyper) == (len(modalities) if alpha and passes else 0)


@torch.no_grad()
@pytest.mark.parametrize("modalities", [["text"], ["text", "image"], ["text", "image", "audio"]], ids=len)
def test_loss_is_the_formula(tmp_path: Path, modalities: list[str]) -> None:
    """Without noise, which is drawn in training alone."""
    naive = make(tmp_path, modalities, cl_weight=0.3, reg_weight=0.2)
    naive.model.eval()
    batch = naive.built.batch(12)
    vectors, found = nodes(naive)
    first, terms, squares, nce = naive.n_users, [], 0.0, 0.0
    for u, i, (n, *_) in naive.rows(batch):
        user, item, negative = vectors[u], vectors[first + i], vectors[first + n]
        terms.append(softplus(user @ negative - user @ item))
        squares += sum(float(x @ x) for x in (user, item, negative))
        for a in range(len(found)):
            for b in range(a + 1, len(found)):
                for node, side in ((u, range(first)), (first + i, range(first, len(vectors)))):
                    both = [n for n in side if found[a][n].any() and found[b][n].any()]
                    if node in both:
                        sums = sum(math.exp(cosine(found[a][node], found[b][n]) / 0.7) for n in both)
                        nce -= cosine(found[a][node], found[b][node]) / 0.7 - math.log(sums)
    expected = [sum(terms) / 12, *([0.3 * nce] if len(modalities) > 1 else []), 0.2 * squares / 2 / 12]
    losses = naive.model.calculate_loss(batch)
    assert losses.names == ("bpr", *(["contrast"] if len(modalities) > 1 else []), "reg")
    assert [loss.item() for loss in losses] == pytest.approx(expected, rel=1e-4)


def test_noise_and_dropout_are_drawn_in_training_alone(tmp_path: Path) -> None:
    naive = make(tmp_path, ["text", "image"], dropout_prob=0.5)
    logits, present = torch.zeros(400, 3), torch.ones(400, dtype=torch.bool)
    present[:100] = False
    drawn = naive.model.train().membership(logits, present)
    assert not drawn[:100].any() and 0.4 < float((drawn[100:] == 0).float().mean()) < 0.6
    assert len(drawn[100:].unique()) > 300
    sharp = Membership(0.01, 0.0).train()(logits, present)  # the noise, too, is divided by the temperature
    assert (sharp[100:].amax(dim=1) > 0.99).float().mean() > 0.9
    still = naive.model.eval().membership(logits, present)
    assert not still[:100].any() and still[100:].equal(torch.full((300, 3), 1 / 3))
