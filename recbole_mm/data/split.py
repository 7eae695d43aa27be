"""Splits RecBole does not have: at random inside groups, or as a column says. Made once, the same for all models."""

from __future__ import annotations

from typing import Any

import numpy as np

from recbole_mm.errors import WrongUse

PARTS = ("train", "valid", "test")
# MMRec's x_label counts the parts
_PART_OF_TOKEN = {**{name: k for k, name in enumerate(PARTS)}, "validation": 1, "0": 0, "1": 1, "2": 2}


def random_split(groups: np.ndarray, ratios: tuple[float, float, float], seed: int) -> list[np.ndarray]:
    """Row numbers of training, validation and test.

    In each group of n rows, permuted by ``seed``, the last round(r_test n) are test (half to even), the
    max(round(r_valid n), 1 if n >= 4 else 0) before them validation, the rest training.

    Args:
        groups: ``[n]`` group key of each row.
        ratios: shares of training, validation, test; they sum to 1.
        seed: ``split_seed``.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(groups))
    order = shuffled[np.argsort(groups[shuffled], kind="stable")]
    _, start, size = np.unique(groups[order], return_index=True, return_counts=True)
    position = np.arange(len(order)) - np.repeat(start, size)
    n = np.repeat(size, size)
    n_test = np.rint(ratios[2] * n)  # numpy rounds half to even
    n_valid = np.maximum(np.rint(ratios[1] * n), n >= 4) if ratios[1] > 0 else 0
    part = np.zeros(len(order), dtype=np.int64)
    part[position >= n - n_test - n_valid] = 1
    part[position >= n - n_test] = 2
    return [np.sort(order[part == k]) for k in range(3)]


def field_split(tokens: np.ndarray, field: str) -> list[np.ndarray]:
    """Row numbers by a column whose values are train, valid, test (or 0, 1, 2 as in MMRec's ``x_label``)."""
    values, inverse = np.unique(np.asarray(tokens).astype(str), return_inverse=True)
    unknown = [v for v in values if v not in _PART_OF_TOKEN]
    if unknown:
        raise WrongUse(f"split: field {field!r} holds {unknown[0]!r}; expected {', '.join(PARTS)} or 0, 1, 2")
    part = np.array([_PART_OF_TOKEN[v] for v in values])[inverse]
    return [np.flatnonzero(part == k) for k in range(3)]


def split_rows(config: Any, dataset: Any) -> list[np.ndarray]:
    """Rows of the three parts of ``dataset.inter_feat`` as ``config['split']`` asks.

    ``{random: [.72, .08, .20], by: [user, domain]}`` (that is the default of ``by``) or ``{field: part}``.

    Raises:
        WrongUse: the key is malformed or names a field that is not loaded.
    """
    spec = config["split"]
    keys = set(spec) if isinstance(spec, dict) else set()
    if len(keys & {"random", "field"}) != 1 or keys - {"random", "by", "field"}:
        raise WrongUse(
            f"split: expected {{random: [.72, .08, .20], by: [user, domain]}} or {{field: NAME}}, got {spec!r}"
        )
    if "field" in spec:
        field = spec["field"]
        ids = _column(dataset, field)
        tokens = dataset.id2token(field, ids) if field in dataset.field2id_token else ids
        return field_split(np.asarray(tokens), field)
    ratios = spec["random"]
    if len(ratios) != 3 or min(ratios) < 0 or abs(sum(ratios) - 1) > 1e-6:
        raise WrongUse(f"split: random takes three shares that sum to 1, got {ratios!r}")
    key = np.zeros(len(dataset.inter_feat), dtype=np.int64)
    for name in spec.get("by", ["user", "domain"]):
        column = _column(dataset, {"user": dataset.uid_field, "item": dataset.iid_field}.get(name, name))
        key = key * (int(column.max(initial=0)) + 1) + column
    return random_split(key, tuple(ratios), config["split_seed"])


def _column(dataset: Any, field: str) -> np.ndarray:
    if field not in dataset.inter_feat.columns:
        if field == "domain":  # one domain: grouping by it changes nothing
            return np.zeros(len(dataset.inter_feat), dtype=np.int64)
        loaded = list(dataset.inter_feat.columns)
        raise WrongUse(f"split: no field {field!r} among the loaded ones {loaded}; see load_col")
    return dataset.inter_feat[field].numpy().astype(np.int64)


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
