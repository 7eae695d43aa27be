"""Scales of features, learned from the items alone (no interaction is looked at)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from recbole_mm.errors import WrongUse

CHUNK = 65536
EPSILON = 1e-5

Transform = Callable[[np.ndarray], np.ndarray]


def l2(values: np.ndarray) -> np.ndarray:
    """Rows of unit length, ``[n, D]``."""
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), EPSILON)


@dataclass(frozen=True)
class Affine:
    """``(values - mean) · scale``: ``scale`` is ``[D]``, by column, or a matrix ``[D, D]``."""

    mean: np.ndarray
    scale: np.ndarray

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Float32 ``[n, D]``."""
        centred = values - self.mean
        return (centred * self.scale if self.scale.ndim == 1 else centred @ self.scale).astype(np.float32)


class Scaler(nn.Module):
    """A transform in torch, ``[n, D] -> [n, D]``, for what is differentiated or exported."""

    def __init__(self, transform: Transform | None):
        super().__init__()
        self.transform = transform
        if isinstance(transform, Affine):
            self.register_buffer("mean", torch.from_numpy(np.asarray(transform.mean)), persistent=False)
            self.register_buffer("scale", torch.from_numpy(np.asarray(transform.scale)), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """``[n, D]``."""
        if isinstance(self.transform, Affine):
            centred, by = values.double() - self.get_buffer("mean"), self.get_buffer("scale")
            return (centred * by if by.dim() == 1 else centred @ by).float()
        if self.transform is None:
            return values
        return values / values.norm(dim=1, keepdim=True).clamp(min=EPSILON)


def scaling_by_modality(
    setting: str | Mapping[str, str | None] | None, modalities: Collection[str], all_there: bool
) -> dict[str, str | None]:
    """``feature_scaling`` spelled out: one kind for all, or a mapping that leaves out what stays as it is.

    Args:
        setting: the key's value.
        modalities: those that are read.
        all_there: they are all that the data set has; else the mapping may name others, left out of this run.

    Raises:
        WrongUse: the mapping names a modality that is not there.
    """
    if not isinstance(setting, Mapping):
        return dict.fromkeys(modalities, setting)
    unknown = [name for name in setting if name not in modalities]
    if unknown and all_there:
        raise WrongUse(
            f"feature_scaling: no modality {unknown[0]!r}; there are {', '.join(modalities) or 'none'}"
        )
    return {name: setting.get(name) for name in modalities}


def fit_scaling(
    kind: str | None, take: Callable[[np.ndarray], np.ndarray], items: np.ndarray, shrinkage: float = 0.0
) -> Transform | None:
    r"""The transform of ``feature_scaling``.

    ``standardize``: each column to mean 0 and deviation 1. ``whiten``: columns uncorrelated with deviation 1 (ZCA, as
    close to the original axes as can be; WhitenRec, arXiv 2402.10602). ``l2``: rows of unit length.

    Whitening takes the covariance as :math:`(1 - s) \Sigma + s \bar\lambda I` (Ledoit and Wolf, 2004), with the mean
    :math:`\bar\lambda` of its eigenvalues: s = 0 whitens, s = 1 leaves the axes as they are, centred and of one scale.

    Args:
        kind: one of the above, or None.
        take: vectors ``[n, D]`` of items.
        items: the items to learn from, ``[m]``; read in chunks.
        shrinkage: s, in [0, 1].
    """
    if kind is None:
        return None
    if kind == "l2":
        return l2
    count, total, square = 0, np.zeros(()), np.zeros(())
    for start in range(0, len(items), CHUNK):
        values = take(items[start : start + CHUNK]).astype(np.float64)
        count += len(values)
        total = total + values.sum(axis=0)
        square = square + (values.T @ values if kind == "whiten" else np.square(values).sum(axis=0))
    mean = total / max(count, 1)
    if kind == "standardize":
        deviation = np.sqrt(np.maximum(square / max(count, 1) - np.square(mean), 0.0))
        scale = 1.0 / np.where(deviation > EPSILON, deviation, 1.0)
        return Affine(mean, scale)
    eigenvalues, axes = np.linalg.eigh(square / max(count, 1) - np.outer(mean, mean))
    eigenvalues = (1 - shrinkage) * eigenvalues + shrinkage * eigenvalues.mean()
    # directions that the items do not span stay out instead of being blown up
    kept = eigenvalues > EPSILON * eigenvalues.max()
    matrix = (axes[:, kept] / np.sqrt(eigenvalues[kept])) @ axes[:, kept].T
    return Affine(mean, matrix)
