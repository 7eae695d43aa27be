"""Metrics of labelled rows taken apart by user, so that two models can be compared in pairs.

AUC, log-loss, MAE and RMSE are one figure θ over all rows, not a mean over queries. A user's pseudo-value is θ + U
times the influence of the user's rows on θ (the infinitesimal jackknife; Efron 1982): the mean over the U users is θ,
the variance of that mean that of θ, the rows of a user drawn together. For the AUC these are the placements of DeLong
et al. (Biometrics 1988), by users as by Obuchowski (Biometrics 1997).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

#: RecBole's, so that no logarithm is infinite
SMALLEST = 1e-15


def pseudo_values(rows: pd.DataFrame) -> pd.DataFrame:
    """``user``, and each metric's pseudo-values, one line a user by the order of their tokens.

    Args:
        rows: ``user``, ``label`` (0 or 1 for the AUC and the log-loss), ``score``; a user may have several.
    """
    label, score = (rows[name].to_numpy(dtype=np.float64) for name in ("label", "score"))
    users, owner = np.unique(rows["user"].to_numpy(), return_inverse=True)
    found = {"user": users}
    for name, parts in PARTS.items():
        value, influence = parts(label, score)
        found[name] = value + len(users) * np.bincount(owner, weights=influence, minlength=len(users))
    return pd.DataFrame(found)


def _auc(label: np.ndarray, score: np.ndarray) -> tuple[float, np.ndarray]:
    from scipy.stats import rankdata  # a second that a run does not need

    positive = label > 0
    m, n = int(positive.sum()), int((~positive).sum())
    if not (m and n):
        return np.nan, np.full(len(label), np.nan)
    rank, placement = rankdata(score), np.empty(len(score))
    placement[positive] = (rank[positive] - rankdata(score[positive])) / n
    placement[~positive] = 1 - (rank[~positive] - rankdata(score[~positive])) / m
    value = float(placement[positive].mean())
    return value, (placement - value) / np.where(positive, m, n)


def _mean(values: np.ndarray) -> tuple[float, np.ndarray]:
    return float(values.mean()), (values - values.mean()) / len(values)


def _log_loss(label: np.ndarray, score: np.ndarray) -> tuple[float, np.ndarray]:
    score = score.clip(SMALLEST, 1 - SMALLEST)
    return _mean(-label * np.log(score) - (1 - label) * np.log(1 - score))


def _rmse(label: np.ndarray, score: np.ndarray) -> tuple[float, np.ndarray]:
    square, influence = _mean((label - score) ** 2)
    value = float(np.sqrt(square))
    return value, influence / (2 * value) if value else influence


#: by metric its value, and the influence of each row on it
PARTS: dict[str, Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]] = {
    "auc": _auc,
    "logloss": _log_loss,
    "mae": lambda label, score: _mean(np.abs(label - score)),
    "rmse": _rmse,
}
