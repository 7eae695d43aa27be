"""True cold start: items held out with all their interactions."""

from __future__ import annotations

import numpy as np

from recbole_mm.errors import WrongUse


def hold_out_cold_items(items: np.ndarray, share: float, split_seed: int) -> np.ndarray:
    """Choose round(share · distinct items) of the items, ascending, from ``split_seed`` alone.

    ``items``: item of each interaction (ids or tokens), in any order and any number.
    """
    if not 0 < share < 1:
        raise WrongUse(f"cold_items: {share} is not a share between 0 and 1 (for example 0.1)")
    distinct = np.unique(items)
    size = max(1, round(share * len(distinct)))
    return np.sort(np.random.default_rng([split_seed, 0xC01D]).choice(distinct, size, replace=False))


def cold_rows(items: np.ndarray, cold: np.ndarray) -> np.ndarray:
    """Which interactions [N] bool are of held-out items: out of training, and part of validation or test."""
    return np.isin(items, cold)
