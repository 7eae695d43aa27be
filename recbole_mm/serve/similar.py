"""The items that are nearest to an item, by the model's own vectors or weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from recbole_mm.errors import WrongUse
from recbole_mm.model.base import TwoTowerRecommender
from recbole_mm.serve.linear import history_weights
from recbole_mm.serve.rank import Ranker, check_length
from recbole_mm.serve.token import Tokens
from recbole_mm.serve.vectors import Vectors

MEASURES = ("cosine", "dot")


def similar_items(
    ranker: Ranker, tokens: Tokens, item: str, k: int = 10, by: str = "cosine", domain: str | None = None
) -> tuple[pd.DataFrame, str]:
    """The ``k`` candidates nearest to ``item``, the nearest first, and by what they are measured.

    Args:
        ranker: of the model.
        tokens: of its data.
        item: token.
        k: length of the list.
        by: ``cosine`` or ``dot`` of the item vectors; EASE, SLIM and ItemKNN have weights between items in their place.
        domain: items of this domain alone.

    Returns:
        columns ``rank``, ``item``, ``title`` (where the data have titles), ``similarity``; and the measure in words.

    Raises:
        WrongUse: an unknown token, or the model has no item vectors.
    """
    check_length(k)
    if by not in MEASURES:
        raise WrongUse(f"by: expected one of {', '.join(MEASURES)}, got {by!r}")
    number = int(tokens.item_ids([item])[0])
    values, how = _similarity(ranker, number, by)
    pool = ranker.pool.copy()
    pool[number] = False
    if domain is not None:
        pool &= np.asarray(ranker.train.item_domain) == tokens.domain(domain)
    ids = np.flatnonzero(pool)
    best = ids[np.argsort(-values[ids], kind="stable")[:k]]
    columns = {"rank": np.arange(1, len(best) + 1), "item": tokens.items[best]}
    if tokens.titles is not None:
        columns["title"] = tokens.titles[best]
    return pd.DataFrame({**columns, "similarity": values[best]}), how


def _similarity(ranker: Ranker, item: int, by: str) -> tuple[np.ndarray, str]:
    """``[I]`` similarities to ``item``, and their name."""
    every = np.arange(ranker.train.item_num)
    weights = history_weights(ranker.model, np.array([item]), every)
    if weights is not None:
        name = type(ranker.model).__name__
        return weights[0], f"weights of {name}: what the item in a history adds to a score"
    if isinstance(ranker.model, TwoTowerRecommender):
        with torch.no_grad():
            vectors = ranker.model.item_vectors().cpu().numpy()
    else:
        vectors = Vectors(ranker).items
    if by == "cosine":
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors @ vectors[item], f"{'cosine' if by == 'cosine' else 'dot product'} of the item vectors"
