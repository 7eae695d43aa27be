"""SMORE's fusion against its formula, node by node; scores and loss are MGCN's."""

from __future__ import annotations

import cmath
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.model.naive_graph import NaiveGraph


def make(folder: Path, modalities: list[str], **settings: Any) -> NaiveGraph:
    return NaiveGraph("SMORE", folder, modalities, **{"graph_k": 3, "n_layers": 2, **settings})


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def fourier(x: np.ndarray, sign: int) -> np.ndarray:
    d = len(x)
    waves = [[cmath.exp(sign * 2j * cmath.pi * j * k / d) for k in range(d)] for j in range(d)]
    return np.array(waves) @ x / math.sqrt(d)


def filtered(naive: NaiveGraph, k: int, vectors: list[np.ndarray]) -> np.ndarray:
    """The weights of the upper half are the conjugates of the lower; those of the real frequencies are real."""
    w = naive.weight(f"filters.{k}.weight") @ np.array([1, 1j])
    spectrum = np.prod([fourier(x, -1) for x in vectors], axis=0)[: len(w)] * w
    spectrum[[0, -1]] = spectrum[[0, -1]].real
    return fourier(np.concatenate([spectrum, spectrum[-2:0:-1].conj()]), 1).real


def spread(naive: NaiveGraph, graph: np.ndarray, items: np.ndarray) -> np.ndarray:
    items = graph @ items
    users = naive.adjacency()[: naive.n_users, naive.n_users :] @ items
    return np.concatenate([users, items])


def vectors(naive: NaiveGraph) -> np.ndarray:
    """What is scored, of users, then items."""
    behaviour, ids = np.concatenate(naive.lightgcn(naive.adjacency(), 2)), naive.weight("ids.item.weight")
    known = list(naive.vectors.values())
    projected = [
        {i: naive.linear(f"projections.{k}", x) for i, x in each.items()} for k, each in enumerate(known)
    ]
    graphs = [naive.similar(each, 3, binary=False) for each in known]
    has = [np.zeros(len(behaviour), dtype=bool) for _ in [*known, None]]
    views = []
    for k, graph in enumerate([*graphs, np.max(graphs, axis=0)]):
        items = np.zeros_like(ids)
        for i in range(naive.n_items):
            sources = projected[k : k + 1] if k < len(known) else projected
            if parts := [each[i] for each in sources if i in each]:
                items[i] = ids[i] * sigmoid(naive.linear(f"gates.{k}.0", filtered(naive, k, parts)))
                has[k][naive.n_users + i] = True
                has[k][[u for u, j in naive.pairs if j == i]] = True
        views.append(spread(naive, graph, items))
    fused = np.zeros_like(behaviour)
    for n in range(len(behaviour)):
        for k, view in enumerate(views):
            weight = sigmoid(naive.linear(f"preferences.{k}.0", behaviour[n]))
            if k < len(known):
                logits = np.exp(
                    naive.weight(f"queries.{k}.2.weight")
                    @ np.tanh(naive.linear(f"queries.{k}.0", views[-1][n]))
                )
                weight = weight * logits / logits.sum()
            fused[n] += has[k][n] * weight * view[n]
        fused[n] /= max(sum(bool(each[n]) for each in has), 1)
    return behaviour + fused


@pytest.mark.parametrize("modalities", [["text"], ["text", "image"], ["text", "image", "audio"]], ids=len)
def test_scores_are_the_formula(tmp_path: Path, modalities: list[str]) -> None:
    naive = make(tmp_path, modalities)
    expected = vectors(naive)
    found = naive.built.scores(torch.arange(1, 6)).double().numpy()
    np.testing.assert_allclose(found, expected[1:6] @ expected[naive.n_users + 1 :].T, rtol=1e-4, atol=1e-4)


def test_without_modalities_it_is_lightgcn(tmp_path: Path) -> None:
    naive = make(tmp_path, [])
    users, items = naive.lightgcn(naive.adjacency(), 2)
    found = naive.built.scores(torch.arange(1, 6)).double().numpy()
    np.testing.assert_allclose(found, users[1:6] @ items[1:].T, rtol=1e-4, atol=1e-4)
    assert {name for name, _ in naive.model.named_parameters()} == {"ids.user.weight", "ids.item.weight"}


def test_the_loss_has_the_terms_of_mgcn_and_preferences_are_dropped_in_training(tmp_path: Path) -> None:
    naive = make(tmp_path, ["text", "image"], dropout_prob=0.5)
    batch = naive.built.batch(12)
    naive.model.train()
    assert naive.model.calculate_loss(batch).names == ("bpr", "contrast", "reg")
    assert naive.built.loss(batch) != naive.built.loss(batch)
    naive.model.eval()
    assert naive.built.loss(batch) == naive.built.loss(batch)
