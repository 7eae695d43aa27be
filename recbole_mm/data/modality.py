"""Item features on RecBole's ids: stores on disk, aligned by token after filtering and remapping."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_mm.data.scaling import Transform, fit_scaling, scaling_by_modality
from recbole_mm.errors import WrongUse
from recbole_mm.modality import Alignment, ModalityStore, align, check_coverage


class Stacked:
    """Several ``[N_k, D]`` arrays as one of ``[ΣN_k, D]``, without copying them together."""

    def __init__(self, parts: Sequence[np.ndarray]):
        self.parts = parts
        self.starts = np.cumsum([0, *(len(part) for part in parts)])
        self.shape = (int(self.starts[-1]), parts[0].shape[1])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Vectors of ``rows [n]``, ``[n, D]`` float32."""
        out = np.empty((len(rows), self.shape[1]), dtype=np.float32)
        which = np.searchsorted(self.starts, rows, side="right") - 1
        for k, part in enumerate(self.parts):
            out[which == k] = part[rows[which == k] - self.starts[k]]
        return out


class ItemModality:
    """One modality of the I items of a data set (id 0 is ``[PAD]``, always absent).

    Args:
        source: vectors, ``[N, D]``, usually memory-mapped.
        rows: ``[I]`` int64, the row of each item in ``source``, -1 where it has none.
        scaling: see :func:`recbole_mm.data.scaling.fit_scaling`.
        noise: draws Gaussian noise of the same mean and deviation in the place of every vector (a control).
        shrinkage: of ``whiten``, see there.
    """

    def __init__(
        self,
        source: np.ndarray | Stacked,
        rows: np.ndarray,
        scaling: str | None = None,
        noise: np.random.Generator | None = None,
        shrinkage: float = 0.0,
    ):
        self.source = source
        self.rows = rows
        self.present = rows >= 0
        self.width = int(source.shape[1])
        self.scale: Transform | None = None
        held = np.flatnonzero(self.present)
        if noise is not None:
            real = self.take(held)
            drawn = noise.standard_normal(real.shape, dtype=np.float32)
            self.source = drawn * real.std(axis=0) + real.mean(axis=0)
            self.rows = np.where(self.present, np.cumsum(self.present) - 1, -1)
        self.scale = fit_scaling(scaling, self.take, held, shrinkage)

    @property
    def nbytes(self) -> int:
        """Bytes of the full float32 table ``[I, D]``."""
        return len(self.rows) * self.width * 4

    def take(self, items: np.ndarray) -> np.ndarray:
        """Vectors of ``items``, float32 ``[n, D]``; rows of absent items are zero and must be masked."""
        rows = self.rows[items]
        values = self.scaled(np.asarray(self.source[np.maximum(rows, 0)], dtype=np.float32))
        values[rows < 0] = 0.0
        if len(items) == len(self.rows):
            self._release()
        return values

    def _release(self) -> None:
        """Let go of the files' pages in memory: who read all vectors has them, and others are read again."""
        for part in self.source.parts if isinstance(self.source, Stacked) else [self.source]:
            if isinstance(part.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                part.base.madvise(mmap.MADV_DONTNEED)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Vectors ``[n, D]`` as a store holds them -> as a model gets them."""
        return values if self.scale is None else self.scale(values)


@dataclass(frozen=True)
class Origin:
    """Where the vectors of a modality came from when they were read; of several stores joined by commas.

    Attributes:
        encoder: what made them, each named once.
        fingerprint: of each store (`ModalityStore.fingerprint`).
    """

    encoder: str
    fingerprint: str

    @classmethod
    def of(cls, stores: Sequence[ModalityStore]) -> Origin:
        """That of the stores of one modality."""
        encoders = dict.fromkeys(store.encoder for store in stores)
        return cls(", ".join(encoders), ", ".join(store.fingerprint for store in stores))


class ModalityTable(dict[str, ItemModality]):
    """All modalities of a data set, by name, in the order the configuration gives them, with their origins."""

    def __init__(self, modalities: Mapping[str, ItemModality], item_num: int, origins: Mapping[str, Origin]):
        super().__init__(modalities)
        self.names, self.origins = list(modalities), dict(origins)
        masks = [modality.present for modality in modalities.values()]
        present = np.stack(masks, axis=1) if masks else np.zeros((item_num, 0), dtype=bool)
        #: BoolTensor ``[I, M]``
        self.present = torch.from_numpy(present)


def load_modalities(
    config: Any, parts: Mapping[str, Sequence[tuple[Path, np.ndarray]]], item_num: int
) -> ModalityTable:
    """Open the stores and align them to the items.

    Config keys: ``min_coverage``, ``feature_scaling``, ``whitening_shrinkage``, ``feature_control``,
    ``feature_missing``, ``split_seed``.

    Args:
        config: the configuration.
        parts: per modality its stores, each with the ``[I]`` item tokens as the store knows them.
        item_num: I.

    Raises:
        WrongUse: a store covers too few items, or two stores of a modality disagree.
    """
    rng = np.random.default_rng(config["split_seed"])
    scaling = scaling_by_modality(config["feature_scaling"], parts, config["modalities"] is None)
    modalities, origins = {}, {}
    for name, places in parts.items():
        stores = [ModalityStore.open(path) for path, _ in places]
        source, rows = _align_all(config, name, stores, [tokens for _, tokens in places])
        modalities[name], origins[name] = (
            controlled(config, source, rows, rng, scaling[name]),
            Origin.of(stores),
        )
    return ModalityTable(modalities, item_num, origins)


def controlled(
    config: Any, source: np.ndarray | Stacked, rows: np.ndarray, rng: np.random.Generator, scaling: str | None
) -> ItemModality:
    """The vectors under ``feature_missing`` (a share is hidden) and ``feature_control``."""
    control = config["feature_control"]
    rows = _withhold(rows, float(config["feature_missing"] or 0.0), rng)
    if control == "shuffled":
        held = np.flatnonzero(rows >= 0)
        rows[held] = rows[rng.permutation(held)]
    shrinkage = config["whitening_shrinkage"]
    return ItemModality(source, rows, scaling, rng if control == "noise" else None, shrinkage)


def _align_all(
    config: Any, name: str, stores: Sequence[ModalityStore], tokens: Sequence[np.ndarray]
) -> tuple[np.ndarray | Stacked, np.ndarray]:
    """The vectors of one modality and each item's row in them; the first store that knows an item gives it.

    ``tokens``: ``[I]`` for each store, the items as that store knows them.
    """
    rows, offset = np.full(len(tokens[0]), -1, dtype=np.int64), 0
    for store, own_tokens in zip(stores, tokens, strict=True):
        if (store.encoder, store.width) != (stores[0].encoder, stores[0].width):
            raise WrongUse(
                f"modality {name!r}: {store.path} holds {store.encoder} ({store.width}-d), {stores[0].path} "
                f"{stores[0].encoder} ({stores[0].width}-d); extract both with one encoder, or name them differently"
            )
        store.verify()
        at = align(store.tokens, own_tokens).rows
        rows = np.where((rows < 0) & (at >= 0), at + offset, rows)
        offset += store.rows
    alignment = Alignment(rows, rows >= 0)
    check_coverage(name, alignment, config["min_coverage"], tokens[0], stores[0].tokens)
    covered, total = int((rows >= 0).sum()), len(rows) - 1
    getLogger("recbole_mm.data").info(
        "modality %s: %d of %d items (%.1f %%), %d-d, %s, from %s",
        name, covered, total, 100 * covered / max(total, 1), stores[0].width, stores[0].encoder,
        ", ".join(str(store.path) for store in stores),
    )  # fmt: skip
    return (stores[0].values if len(stores) == 1 else Stacked([s.values for s in stores])), rows


def _withhold(rows: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Hide a random ``share`` of the present rows (the missing-modality curve)."""
    rows = rows.copy()
    held = np.flatnonzero(rows >= 0)
    rows[rng.permutation(held)[: round(share * len(held))]] = -1
    return rows
