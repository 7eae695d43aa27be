"""What a model may say of itself, declared once: its name, what it means, and what holds where a model says nothing.

RecBole's models and a user's own say what they like of these; everyone asks by :func:`trait`.
"""

from __future__ import annotations

from typing import Any


class Traits:
    """The attributes and methods, with the values of a model that has none of its own."""

    #: reads `dataset.modality`
    multimodal = False
    #: trains on batches of ``user [B], item [B], neg [B, N]``; others get RecBole's form
    triplet_batches = False
    #: can score an item without any training interaction
    scores_from_features = False
    #: names of what `calculate_loss` returns, in its order
    loss_terms: tuple[str, ...] = ()

    @staticmethod
    def diagnostics() -> dict[str, float]:
        """Figures on the model's state after an epoch, for the history and the log."""
        return {}

    @staticmethod
    def parameter_groups(learning_rate: float) -> list[dict[str, Any]] | None:
        """Groups for the optimiser, each trainable parameter in one; None: one group of all."""
        return None

    @staticmethod
    def id_rows() -> dict[str, list[tuple[str, int]]]:
        """Whose rows a parameter has, by its name; where one is not named, its number of rows decides.

        Blocks in order, each ``("user" | "item", rows for each)`` or ``("", number of rows)``.
        """
        return {}


def trait(model: Any, name: str) -> Any:
    """What ``model``, object or class, says of ``name``; ``AttributeError`` on a name that is not declared above."""
    default = getattr(Traits, name)
    return getattr(model, name, default)
