"""What models over graphs of users and items are made of, pair by pair in float64, from the toy's own files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from recbole_mm.modality import ModalityStore
from recbole_mm.testing import Built, write_toy


class NaiveGraph:
    """A model on the toy set, every weight random, beside the training pairs and the vectors as the files have them."""

    def __init__(
        self, model: str, folder: Path, modalities: Sequence[str] = ("text", "image"), **settings: Any
    ):
        toy = write_toy(folder, modalities)
        self.built = Built(model, {**toy, "embedding_size": 8, **settings})
        self.model = self.built.model
        generator = torch.Generator().manual_seed(2)
        for p in self.model.parameters():
            p.data = torch.randn(p.shape, generator=generator) / 2
        dataset = self.built.train_data._dataset
        self.n_users, self.n_items = self.model.n_users, self.model.n_items
        frame = pd.read_csv(folder / "toy" / "toy.inter", sep="\t", dtype=str)
        frame.columns = [c.split(":")[0] for c in frame.columns]
        self.pairs = sorted(
            {
                (int(dataset.token2id("user_id", row.user_id)), int(dataset.token2id("item_id", row.item_id)))
                for row in frame.itertuples()
                if row.part == "train"
            }
        )
        #: by modality and item id
        self.vectors: dict[str, dict[int, np.ndarray]] = {}
        for name in modalities:
            store = ModalityStore.open(folder / "modality" / "toy" / name)
            ids = dataset.token2id("item_id", np.array(store.tokens))
            self.vectors[name] = {
                int(i): np.asarray(v, dtype=np.float64) for i, v in zip(ids, store.values, strict=True)
            }

    def weight(self, name: str) -> np.ndarray:
        """A parameter by its name in the state dict."""
        return self.model.state_dict()[name].double().numpy()

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        """``W x + b`` of the module ``name``."""
        return self.weight(f"{name}.weight") @ x + self.weight(f"{name}.bias")

    def adjacency(self, pairs: Iterable[tuple[int, int]] | None = None) -> np.ndarray:
        """``a_ui / √(d_u d_i)`` over users, then items."""
        edges = [(u, self.n_users + i) for u, i in (self.pairs if pairs is None else pairs)]
        size = self.n_users + self.n_items
        degree = [0] * size
        for edge in edges:
            for end in edge:
                degree[end] += 1
        matrix = np.zeros((size, size))
        for a, b in edges:
            matrix[a, b] = matrix[b, a] = 1 / math.sqrt(degree[a] * degree[b])
        return matrix

    def lightgcn(self, adjacency: np.ndarray, n_layers: int) -> tuple[np.ndarray, np.ndarray]:
        """Users and items: the mean of the layers over the ids."""
        layers = [np.concatenate([self.weight("ids.user.weight"), self.weight("ids.item.weight")])]
        for _ in range(n_layers):
            layers.append(adjacency @ layers[-1])
        mean = sum(layers) / len(layers)
        return mean[: self.n_users], mean[self.n_users :]

    def similar(self, vectors: dict[int, np.ndarray], k: int, binary: bool) -> np.ndarray:
        """``s_ij / √(d_i d_j)`` to the k nearest, an item itself among them, d the sums of the rows."""
        near = np.zeros((self.n_items, self.n_items))
        for i, x in vectors.items():
            cosine = {j: float(x @ y / np.linalg.norm(x) / np.linalg.norm(y)) for j, y in vectors.items()}
            for j in sorted(cosine, key=lambda j: -cosine[j])[:k]:
                near[i, j] = 1.0 if binary else max(cosine[j], 0.0)
        degree = near.sum(axis=1)
        for i in vectors:
            for j in vectors:
                near[i, j] /= math.sqrt(degree[i] * degree[j])
        return near

    def rows(self, batch: Any) -> list[tuple[int, int, list[int]]]:
        """User, item, negatives of each row."""
        return list(zip(*(batch[f].tolist() for f in ("user_id", "item_id", "neg_item_id")), strict=True))


def softplus(x: float) -> float:
    """-log σ(-x)."""
    return math.log1p(math.exp(x))


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
