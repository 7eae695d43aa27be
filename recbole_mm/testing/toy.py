"""A small learnable data set with modalities and domains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from recbole_mm.modality import ModalityStore

N_USERS, N_ITEMS, N_TASTES = 40, 30, 3
ITEM_TASTE = np.arange(N_ITEMS) % N_TASTES
MODALITIES = {"text": 6, "image": 9, "audio": 4}
TOY_SETTINGS: dict[str, Any] = {
    "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp", "part", "domain"]},
    "split": {"field": "part"},
    "min_coverage": 0.1,
    "epochs": 2,
    "train_batch_size": 64,
    "metric_decimal_place": 8,
    "show_progress": False,
    "use_gpu": False,
}


def write_toy(
    folder: Path,
    modalities: Sequence[str] = ("text", "image"),
    *,
    domains: int = 1,
    rename: bool = False,
    swap_test: bool = False,
    missing: float = 0.2,
    seed: int = 7,
) -> dict[str, Any]:
    """Write a learnable toy set with fixed parts, and its stores; return the settings that load it.

    Users have one of three tastes and take items of it; the items' vectors tell the taste.

    Args:
        folder: an empty folder.
        modalities: names out of ``MODALITIES``.
        domains: items are dealt to so many domains in turn; users take items of all but one in five.
        rename: permute the item tokens, in the interactions and in the stores, and the lines of the stores.
        swap_test: replace the test rows by others with the same users, items and order.
        missing: share of items without a vector, per modality.
        seed: of everything drawn.
    """
    rng = np.random.default_rng(seed)
    token = np.array([f"item{i:02d}" for i in range(N_ITEMS)])
    permuted = rng.permutation(token)  # drawn either way, so that what follows is the same
    token = permuted if rename else token
    inter = _toy_interactions(rng, domains)
    if swap_test:
        test = inter["part"] == "test"
        inter.loc[test, "item"] = _dealt_anew(inter[~test], inter[test])
    frame = pd.DataFrame(
        {
            "user_id:token": [f"u{u}" for u in inter["user"]],
            "item_id:token": token[inter["item"]],
            "rating:float": 1.0,
            "timestamp:float": np.arange(len(inter), dtype=float),
            "domain:token": [f"d{d}" for d in _toy_domains(domains)[inter["item"]]],
            "part:token": inter["part"],
        }
    )
    (folder / "toy").mkdir(parents=True)
    frame.to_csv(folder / "toy" / "toy.inter", sep="\t", index=False)
    for name in modalities:
        centre = rng.standard_normal((N_TASTES, MODALITIES[name]))
        noise = 0.3 * rng.standard_normal((N_ITEMS, MODALITIES[name]))
        values = (centre[ITEM_TASTE] + noise).astype(np.float32)
        kept = np.sort(rng.permutation(N_ITEMS)[round(missing * N_ITEMS) :])
        lines = kept[::-1] if rename else kept
        path = folder / "modality" / "toy" / name
        ModalityStore.write(path, values[lines], token[lines], modality=name, encoder="toy")
    return {
        **TOY_SETTINGS,
        "data_path": str(folder),
        "modality_path": str(folder / "modality"),
        "checkpoint_dir": str(folder / "saved"),
        "modalities": list(modalities),
        **({"domain_field": "domain"} if domains > 1 else {}),
    }


def _dealt_anew(other: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """The items of the test rows, so that no row has its own or one that its user has elsewhere."""
    taken = {*zip(other["user"], other["item"], strict=True), *zip(test["user"], test["item"], strict=True)}
    cost = [[(user, item) in taken for item in test["item"]] for user in test["user"]]
    rows, dealt = linear_sum_assignment(cost)
    assert not np.array(cost)[rows, dealt].any()
    return test["item"].to_numpy()[dealt]


def _toy_domains(domains: int) -> np.ndarray:
    """The domain of each item ``[I]``."""
    return (np.arange(N_ITEMS) // N_TASTES) % domains


def _toy_interactions(rng: np.random.Generator, domains: int) -> pd.DataFrame:
    """Columns user, item, part; the training rows first."""
    domain, rows = _toy_domains(domains), []
    for user in range(N_USERS):
        likes = user % N_TASTES == ITEM_TASTE
        liked, other = np.flatnonzero(likes), np.flatnonzero(~likes)
        taken = [*rng.permutation(liked)[:8], *rng.permutation(other)[:2]]
        if domains > 1 and user % 5 == 0:
            only = user // 5 % domains
            taken = [i for i in taken if domain[i] == only] + [i for i in other if domain[i] == only][:4]
        for k, item in enumerate(rng.permutation(np.unique(taken))):
            rows.append((user, item, "valid" if k == 0 else "test" if k == 1 else "train"))
    inter = pd.DataFrame(rows, columns=["user", "item", "part"])
    return inter.sort_values("part", key=lambda p: p.map({"train": 0, "valid": 1, "test": 2}), kind="stable")
