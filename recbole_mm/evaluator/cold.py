"""Which models a true cold start (``cold_items``) can be asked of."""

from __future__ import annotations

from typing import Any

NOT_APPLICABLE = "not applicable"


def scores_from_features(model: Any) -> bool:
    """Whether a model says that it can score an item without training interactions."""
    return bool(getattr(model, "scores_from_features", False))
