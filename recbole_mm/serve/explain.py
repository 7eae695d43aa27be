"""What a score is the sum of: the item's id and modalities, the user's domains, the items of the user's history."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from recbole_mm.data.seen import joined
from recbole_mm.errors import WrongUse
from recbole_mm.model.traits import trait
from recbole_mm.serve.linear import history_weights
from recbole_mm.serve.rank import Ranker
from recbole_mm.serve.token import Tokens

HISTORY = "history"


def explain_score(ranker: Ranker, tokens: Tokens, user: str, item: str) -> dict[str, Any]:
    """The score of an item for a user and its parts.

    Returns:
        ``user``, ``item``, ``title`` (where there is one), ``score`` and ``parts``: ways to take it apart by name, of
        each the parts by name, the largest first. Those of a way add up to the score.

    Raises:
        WrongUse: an unknown token, or the score is no sum.
    """
    (u,), (i,) = tokens.user_ids([user]), tokens.item_ids([item])
    model = ranker.model
    with torch.no_grad():
        score = float(ranker.scores(np.array([u]))[0, i])
        device = next(model.parameters()).device
        given = torch.tensor([u], device=device), torch.tensor([i], device=device)
        parts = {
            way: {name: float(value[0]) for name, value in named.items()}
            for way, named in trait(model, "score_parts")(*given).items()
        }
    if not parts:
        parts = _by_history(ranker, tokens, int(u), int(i))
    if not parts:
        raise WrongUse(
            f"{type(model).__name__}: its score is no sum of parts that have a name, so there is nothing to show"
        )
    ordered = {
        way: dict(sorted(named.items(), key=lambda part: -abs(part[1]))) for way, named in parts.items()
    }
    title = {} if tokens.titles is None else {"title": str(tokens.titles[i])}
    return {"user": user, "item": item, **title, "score": score, "parts": ordered}


def _by_history(ranker: Ranker, tokens: Tokens, user: int, item: int) -> dict[str, dict[str, float]]:
    """By the training items of the user, where the model is linear in them."""
    users, items = joined(ranker.train, ("train",))
    # RecBole's models count a pair as often as it has a row
    history, times = np.unique(items[users == user], return_counts=True)
    weights = history_weights(ranker.model, history, np.array([item]))
    if weights is None:
        return {}
    weights = weights * times[:, None]
    return {HISTORY: dict(zip(tokens.items[history].tolist(), weights[:, 0].tolist(), strict=True))}
