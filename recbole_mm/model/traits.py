"""What a model may say of itself beyond RecBole's interface, each declared once with its default.

Our models inherit `Traits`; RecBole's and a user's own may define any of them. Who asks, asks through `trait`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from recbole_mm.layer.feature import FeatureTable

#: RecBole's models that are ``causal`` though they do not say so
CAUSAL = frozenset(["FDSA", "GRU4Rec", "GRU4RecF", "GRU4RecKG", "SASRec", "SASRecF"])
#: those that are ``padding_free``
PADDING_FREE = CAUSAL | {"BERT4Rec", "CORE", "GCSAN", "NARM", "SRGNN"}


class Traits:
    """The attributes and their defaults, which hold for a model that says nothing."""

    #: reads ``dataset.modality``
    multimodal: bool = False
    #: can score an item without any training interaction
    scores_from_features: bool = False
    #: knows items by their features alone, so there is no run of it on ids
    needs_features: bool = False
    #: settings under which a multimodal model reads no features
    features_off: ClassVar[Mapping[str, Any]] = {}
    #: settings under which it knows items by their features alone
    features_alone: ClassVar[Mapping[str, Any]] = {}
    #: trains on (user, positive, negatives) batches of `recbole_mm.data.dataloader.TripletDataLoader`
    triplet_batches: bool = False
    #: a sequential model whose ``forward(item_seq, item_seq_len)`` ends in RecBole's ``gather_indexes`` over positions
    #: that depend on the items up to them alone, so that it may learn from each (``train_sequences: shifted``)
    causal: bool = False
    #: a sequential model whose scores and loss, a mean over the rows, are the same with any length of padding behind a
    #: sequence; every causal one is
    padding_free: bool = False
    #: trains on batches of items of `recbole_mm.data.dataloader.ItemDataLoader`
    item_batches: bool = False
    #: its loss over a batch is no mean over shares of the rows, so that several workers cannot train it
    one_process: bool = False

    def diagnostics(self) -> dict[str, float]:
        """Figures for the history beside the losses, once an epoch."""
        return {}

    def without_effect(self) -> list[str]:
        """A sentence for each part that the settings ask for and that has nothing to act on in these data."""
        return []

    def item_table(self) -> Tensor:
        """Of a causal model the vectors ``[I, d]`` whose products with its output are the scores of all items."""
        return self.item_embedding.weight  # type: ignore[attr-defined, no-any-return]

    def item_rows(self, items: Tensor) -> Tensor:
        """The rows ``[n, d]`` of ``item_table`` for ``items [n]``, without making all of it where it is computed."""
        return F.embedding(items, trait(self, "item_table")())

    def pretrained(self) -> dict[str, dict[str, tuple[Tensor, Tensor]]]:
        """The vectors that it leaves to other models; {} of a model that is no pre-training.

        By ``items`` and ``users`` and the name of the part: values ``[I, d]`` or ``[U, d]``, and bool ``[I]`` or
        ``[U]`` which of them exist. Called in evaluation mode, without gradients.
        """
        return {}

    def held_features(self) -> FeatureTable | None:
        """The item features that the model holds, under the name ``features``."""
        # a class attribute ``features = None`` would hide the module of that name
        return self._modules.get("features")  # type: ignore[attr-defined]

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """The optimiser's groups, each with ``params`` and its ``lr``; those of the features where it holds any."""
        held = trait(self, "held_features")()
        if isinstance(held, FeatureTable):
            return held.parameter_groups(self, learning_rate)  # type: ignore[arg-type]
        return [{"params": list(self.parameters()), "lr": learning_rate}]  # type: ignore[attr-defined]

    def id_rows(self) -> dict[str, list[tuple[str, int]]]:
        """Which rows of a parameter belong to which ids, for ``init_from`` on data that have grown.

        By name of the parameter its blocks of rows in order: ``("user", K)`` and ``("item", K)`` hold K rows for each
        id, those of id n at n * K … n * K + K - 1 of the block; ``("", n)`` are n rows of no id. What is not named
        is taken over whole.
        """
        return {}

    def score_history(self, items: Tensor) -> Tensor | None:
        """Scores ``[I]`` for someone who is not in the data and took ``items [t]``; None where users need an id."""
        return None

    def encode_content(self, contents: Sequence[Tensor], present: Tensor) -> Tensor | None:
        """Vectors ``[n, d]`` of items that are not in the data, from their features alone; None where it has no such.

        Args:
            contents: of each modality of ``features``, ``[n, D]``.
            present: bool ``[n, M]``, which of them there are, at least one of an item.
        """
        return None

    def score_parts(self, users: Tensor, items: Tensor) -> dict[str, dict[str, Tensor]]:
        """What the scores of the pairs ``users [n], items [n]`` are the sums of; {} where they are none.

        Returns:
            ways to take a score apart, such as by the item's modalities or by the user's domains: of each its parts by
            name, ``[n]``, which add up to the score.
        """
        return {}


def is_causal(model_class: type) -> bool:
    """Whether a model's class may learn from every position of a sequence; what extends RecBole's says so itself."""
    return _is_known(model_class, CAUSAL) or bool(trait(model_class, "causal"))


def is_padding_free(model_class: type) -> bool:
    """Whether the padding behind sequences may be cut off for a model's class."""
    known = _is_known(model_class, PADDING_FREE)
    return known or is_causal(model_class) or bool(trait(model_class, "padding_free"))


def _is_known(model_class: type, names: frozenset[str]) -> bool:
    return model_class.__module__.startswith("recbole.") and model_class.__name__ in names


def pretrains(model: Any) -> bool:
    """Whether a model, or a model's class, is a pre-training: it leaves vectors to others."""
    model_class = model if isinstance(model, type) else type(model)
    return trait(model_class, "pretrained") is not Traits.pretrained


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
