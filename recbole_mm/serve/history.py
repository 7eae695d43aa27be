"""Scores for someone who is not in the data, by what they took: which models can, and how."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AutoEncoderMixin
from recbole.model.general_recommender import ADMMSLIM, CDAE
from torch import Tensor

from recbole_mm.errors import WrongUse
from recbole_mm.model.traits import trait
from recbole_mm.serve.linear import history_weights


def score_history(model: Any, scorer: Any, items: np.ndarray, row: Any | None) -> Tensor:
    """Scores ``[I]``.

    Args:
        model: trained.
        scorer: its `Scorer`.
        items: ids ``[t]``, in the order in which they were taken.
        row: for a sequential model, the history as a row without a user.

    Raises:
        WrongUse: the model knows users by an id.
    """
    if row is not None:
        try:
            return scorer(row)[0]
        except KeyError as error:
            if error.args != (model.USER_ID,):
                raise
            raise WrongUse(_by_id(model)) from error
    found = trait(model, "score_history")(torch.from_numpy(items).to(scorer.device))
    if found is None:
        found = _of_recbole(model, items, scorer)
    if found is None:
        raise WrongUse(_by_id(model))
    return found


def _by_id(model: Any) -> str:
    return (
        f"{type(model).__name__} knows users by an id, so it has no scores for a history of someone who is not in the "
        "data; sequential models and those that describe users by their items have"
    )


def _of_recbole(model: Any, items: np.ndarray, scorer: Any) -> Tensor | None:
    """Of RecBole's models that read a user's row of interactions: user 0, who has none, is given these."""
    taken = np.unique(items)
    weights = history_weights(model, taken, np.arange(model.n_items))
    if weights is not None:
        return torch.from_numpy(weights.sum(axis=0))
    swap: dict[str, Any] = {}
    if isinstance(model, ADMMSLIM):  # with centred columns
        row = np.zeros((1, model.n_items), dtype=np.float32)
        row[0, taken] = 1.0
        swap = {"interaction_matrix": sp.csr_matrix(row)}
    elif isinstance(model, AutoEncoderMixin) and not isinstance(model, CDAE):
        ids = torch.from_numpy(taken).to(scorer.device).unsqueeze(0)
        swap = {"history_item_id": ids, "history_item_value": torch.ones_like(ids, dtype=torch.float)}
    if not swap:
        return None
    held = {name: getattr(model, name) for name in swap}
    try:
        for name, value in swap.items():
            setattr(model, name, value)
        return scorer(Interaction({model.USER_ID: torch.zeros(1, dtype=torch.long)}))[0]
    finally:
        for name, value in held.items():
            setattr(model, name, value)
