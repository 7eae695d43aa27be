"""Users described by what they took: mean item features per user and domain."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp

from recbole_mm.layer.feature import FeatureSource

CHUNK = 65536


def mean_features(
    users: np.ndarray,
    items: np.ndarray,
    n_users: int,
    sources: Mapping[str, FeatureSource],
    present: np.ndarray,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Mean of the features of a user's items, per modality, over the items that have it.

    An item taken twice counts once. The items are read in chunks, so a memory-mapped source stays on disk.

    Args:
        users, items: interactions, ``[n]``.
        n_users: U.
        sources: modality name to source.
        present: bool ``[I, M]``.

    Returns:
        name to float32 ``[U, D]`` (zeros where absent), and bool ``[U, M]``.
    """
    n_items = present.shape[0]
    taken = sp.csr_matrix((np.ones(len(users), dtype=np.float32), (users, items)), shape=(n_users, n_items))
    taken.data[:] = 1.0
    count = taken @ present.astype(np.float32)
    means = {}
    for k, (name, source) in enumerate(sources.items()):
        total = np.zeros((n_users, source.width), dtype=np.float32)
        for start in range(0, n_items, CHUNK):
            chunk = np.arange(start, min(start + CHUNK, n_items))
            values = source.take(chunk)
            values[~present[chunk, k]] = 0.0
            total += taken[:, chunk] @ values
        means[name] = total / np.maximum(count[:, k : k + 1], 1.0)
    return means, count > 0
