"""RecBole's models whose score is a sum over the items of a user's history: EASE, SLIM, ItemKNN."""

from __future__ import annotations

from typing import Any

import numpy as np
from recbole.model.general_recommender import ADMMSLIM, EASE, ItemKNN, SLIMElastic


def history_weights(model: Any, histories: np.ndarray, items: np.ndarray) -> np.ndarray | None:
    """What each of ``histories [n]`` in a user's history adds to the scores of ``items [m]`` (ids): ``[n, m]``.

    None where the model is none of these.
    """
    if isinstance(model, ItemKNN) and model.method == "item":
        matrix = model.w.tocsc()
    elif isinstance(model, (EASE, SLIMElastic)) or (isinstance(model, ADMMSLIM) and not model.center_columns):
        matrix = model.item_similarity
    else:
        return None
    if isinstance(matrix, list):  # SANSA's two sparse factors
        left, right = matrix
        found = left[histories] @ right[:, items]
    else:
        found = matrix[:, items][histories]
    return np.asarray(found.toarray() if hasattr(found, "toarray") else found, dtype=np.float32)
