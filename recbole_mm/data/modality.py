"""Item features on RecBole's ids: stores on disk, aligned by token after filtering and remapping."""

from __future__ import annotations

from collections.abc import Mapping
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_mm.errors import WrongUse
from recbole_mm.modality import ModalityStore, align, check_coverage, resolve_stores

CONTROLS = (None, "shuffled", "noise")


class ItemModality:
    """One modality of the I items of a data set (id 0 is ``[PAD]``, always absent).

    Args:
        source: vectors, ``[N, D]``, usually memory-mapped.
        rows: ``[I]`` int64, the row of each item in ``source``, -1 where it has none.
        noise: replace every vector by Gaussian noise of the same mean and deviation (a control).
        seed: seed of that noise.
    """

    def __init__(self, source: np.ndarray, rows: np.ndarray, noise: bool = False, seed: int = 0):
        self.source = source
        self.rows = rows
        self.present = rows >= 0
        self.width = int(source.shape[1])
        if noise:
            real = self.take(np.flatnonzero(self.present))
            drawn = np.random.default_rng(seed).standard_normal(real.shape, dtype=np.float32)
            self.source = drawn * real.std(axis=0) + real.mean(axis=0)
            self.rows = np.where(self.present, np.cumsum(self.present) - 1, -1)

    @property
    def nbytes(self) -> int:
        """Bytes of the full float32 table ``[I, D]``."""
        return len(self.rows) * self.width * 4

    def take(self, items: np.ndarray) -> np.ndarray:
        """Vectors of ``items``, float32 ``[n, D]``; rows of absent items are zero and must be masked."""
        rows = self.rows[items]
        values = np.asarray(self.source[np.maximum(rows, 0)], dtype=np.float32)
        values[rows < 0] = 0.0
        return values


class ModalityTable(Mapping[str, ItemModality]):
    """All modalities of a data set, by name, in the order the configuration gives them."""

    def __init__(self, modalities: Mapping[str, ItemModality], item_num: int):
        self._modalities = dict(modalities)
        self.names = list(self._modalities)
        masks = [m.present for m in self._modalities.values()]
        present = np.stack(masks, axis=1) if masks else np.zeros((item_num, 0), dtype=bool)
        #: BoolTensor ``[I, M]``
        self.present = torch.from_numpy(present)

    def __getitem__(self, name: str) -> ItemModality:
        return self._modalities[name]

    def __iter__(self) -> Any:
        return iter(self._modalities)

    def __len__(self) -> int:
        return len(self._modalities)


def load_modalities(config: Any, item_tokens: np.ndarray) -> ModalityTable:
    """Open the configured stores and align them to ``item_tokens`` (``[I]``, id order, ``[PAD]`` first).

    Config keys: ``modalities``, ``modality_path``, ``min_coverage``, ``feature_control``,
    ``feature_missing``.

    Raises:
        WrongUse: a modality is not found, covers too few items, or a control is unknown.
    """
    control = config["feature_control"]
    if control not in CONTROLS:
        raise WrongUse(f"feature_control: expected one of {list(CONTROLS)}, got {control!r}")
    rng = np.random.default_rng(config["split_seed"] or 0)
    modalities = {}
    for name, path in _store_paths(config).items():
        store = ModalityStore.open(path)
        store.verify()
        rows = align(store.tokens, item_tokens).rows
        _report_coverage(config, name, path, store, item_tokens)
        rows = _withhold(rows, float(config["feature_missing"] or 0.0), rng)
        if control == "shuffled":
            held = np.flatnonzero(rows >= 0)
            rows[held] = rows[rng.permutation(held)]
        modalities[name] = ItemModality(store.values, rows, control == "noise", config["split_seed"] or 0)
    return ModalityTable(modalities, len(item_tokens))


def _store_paths(config: Any) -> dict[str, Path]:
    return resolve_stores(config["modalities"], Path(config["modality_path"]), config["dataset"])


def _report_coverage(
    config: Any, name: str, path: Path, store: ModalityStore, item_tokens: np.ndarray
) -> None:
    alignment = align(store.tokens, item_tokens)
    minimum = config["min_coverage"]
    check_coverage(
        name, alignment, 0.5 if minimum is None else minimum, item_tokens=item_tokens, store_tokens=store.tokens
    )
    covered, total = int(alignment.present.sum()), len(item_tokens) - 1
    getLogger("recbole_mm.data").info(
        "modality %s: %d of %d items (%.1f %%), %d-d, %s, from %s",
        name, covered, total, 100 * covered / max(total, 1), store.width, store.encoder, path,
    )  # fmt: skip


def _withhold(rows: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Hide a random ``share`` of the present rows (the missing-modality curve)."""
    rows = rows.copy()
    held = np.flatnonzero(rows >= 0)
    rows[rng.permutation(held)[: round(share * len(held))]] = -1
    return rows
