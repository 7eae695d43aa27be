"""What a model may say of itself beyond RecBole's interface, each declared once with its default.

Our models inherit `Traits`; RecBole's and a user's own may define any of them. Who asks, asks through `trait`.
"""

from __future__ import annotations

from typing import Any


class Traits:
    """The attributes and their defaults, which hold for a model that says nothing."""

    #: names of the loss's terms, in the order in which ``calculate_loss`` returns them
    loss_terms: tuple[str, ...] = ()
    #: reads ``dataset.modality``
    multimodal: bool = False
    #: can score an item without any training interaction
    scores_from_features: bool = False
    #: trains on (user, positive, negatives) batches of `recbole_mm.data.dataloader.TripletDataLoader`
    triplet_batches: bool = False

    def diagnostics(self) -> dict[str, float]:
        """Figures for the history beside the losses, once an epoch."""
        return {}

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """The optimiser's groups, each with ``params`` and its ``lr``; one group of all parameters."""
        return [{"params": list(self.parameters()), "lr": learning_rate}]  # type: ignore[attr-defined]


def trait(model: Any, name: str) -> Any:
    """The attribute ``name`` of a model or of a model's class, or its default; a method comes bound to the model.

    Raises:
        AttributeError: ``name`` is none of `Traits`.
    """
    if name.startswith("_") or name not in vars(Traits):
        raise AttributeError(f"no trait {name!r}: declare it in {__name__}")
    if hasattr(model, name):
        return getattr(model, name)
    default = vars(Traits)[name]
    return default.__get__(model) if callable(default) and not isinstance(model, type) else default
