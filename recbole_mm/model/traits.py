"""stand-in"""

from __future__ import annotations

from typing import Any


class Traits:
    multimodal = False
    triplet_batches = False
    scores_from_features = False
    loss_terms: tuple[str, ...] = ()

    @staticmethod
    def diagnostics() -> dict[str, float]:
        return {}

    @staticmethod
    def parameter_groups(learning_rate: float) -> Any:
        return None

    @staticmethod
    def id_rows() -> dict[str, Any]:
        return {}


def trait(model: Any, name: str) -> Any:
    return getattr(model, name, getattr(Traits, name))
