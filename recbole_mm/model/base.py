"""What our models share: two towers and their full ranking, and the frozen features of those with content."""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor

from recbole_mm.layer.feature import FeatureTable


class TripletRecommender(GeneralRecommender):
    """A general recommender of two towers, trained on triplets ``user [B], item [B], neg [B, N]``.

    A subclass gives :meth:`encode_items` and :meth:`user_vectors` and gets ``predict`` and ``full_sort_predict``:
    the score is the dot product of an item's vector with its user's vector for the item's domain.
    """

    input_type = InputType.PAIRWISE
    triplet_batches = True

    item_domain: Tensor

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        domain = getattr(dataset, "item_domain", None)
        self.n_domains = 1 if domain is None else len(dataset.domain_names)
        if domain is None:
            domain = torch.zeros(self.n_items, dtype=torch.long)
        self.register_buffer("item_domain", domain.clamp(min=0), persistent=False)
        self._item_cache: Tensor | None = None

    def encode_items(self, items: Tensor) -> Tensor:
        """Item vectors ``[n, d]`` of ``items [n]``."""
        raise NotImplementedError(f"{type(self).__name__} must define encode_items")

    def user_vectors(self, users: Tensor) -> Tensor:
        """User vectors ``[n, K, d]`` of ``users [n]``, one per domain (K = 1 where domains share one)."""
        raise NotImplementedError(f"{type(self).__name__} must define user_vectors")

    def distinct_items(self, *ids: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The distinct items of a step, to be encoded once: ``[n]`` and, for each of ``ids``, its places in them.

        On a catalogue smaller than the step, simply all items.
        """
        if self.n_items <= sum(i.numel() for i in ids):
            return torch.arange(self.n_items, device=ids[0].device), list(ids)
        distinct, place = torch.unique(torch.cat([i.reshape(-1) for i in ids]), return_inverse=True)
        return distinct, [
            p.view_as(i) for p, i in zip(place.split([i.numel() for i in ids]), ids, strict=True)
        ]

    def own_vector(self, vectors: Tensor, items: Tensor) -> Tensor:
        """Of ``vectors [n, K, d]`` the one for the domain of ``items [n]``: ``[n, d]``."""
        if vectors.shape[1] == 1:
            return vectors[:, 0]
        return vectors[torch.arange(len(items), device=items.device), self.item_domain[items]]

    def predict(self, interaction: Interaction) -> Tensor:
        """Scores ``[B]`` of the rows' (user, item) pairs."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        user_emb = self.own_vector(self.user_vectors(users), items)
        return (user_emb * self._items_for_scoring()[items]).sum(dim=1)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of all items, flat ``[B * I]`` as RecBole wants them."""
        user_emb = self.user_vectors(interaction[self.USER_ID])
        item_emb = self._items_for_scoring()
        if user_emb.shape[1] == 1:
            return (user_emb[:, 0] @ item_emb.t()).reshape(-1)
        scores = user_emb.new_empty(len(user_emb), self.n_items)
        for domain in range(self.n_domains):
            of_domain = (self.item_domain == domain).nonzero().squeeze(1)
            scores[:, of_domain] = user_emb[:, domain] @ item_emb[of_domain].t()
        return scores.view(-1)

    def _items_for_scoring(self) -> Tensor:
        """All item vectors ``[I, d]``; in evaluation computed once, until the mode or the weights change."""
        if self._item_cache is not None:
            return self._item_cache
        item_emb = self.encode_items(torch.arange(self.n_items, device=self.item_domain.device))
        if not self.training and not torch.is_grad_enabled():
            self._item_cache = item_emb
        return item_emb

    def forget_cached(self) -> None:
        """Forget what was computed for scoring; the mode or the weights have changed."""
        self._item_cache = None

    def train(self, mode: bool = True) -> TripletRecommender:
        """Set the mode; forgets cached vectors."""
        self.forget_cached()
        return super().train(mode)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights; forgets cached vectors."""
        self.forget_cached()
        return super().load_state_dict(*args, **kwargs)


class MultimodalRecommender(TripletRecommender):
    """Two towers over the features of ``dataset.modality``."""

    multimodal = True
    #: an item without any interaction can be scored
    scores_from_features = True

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        budget = int(config["feature_memory_mib"]) << 20
        self.features = FeatureTable(dataset.modality, dataset.modality.present, budget)
        self.modalities = self.features.names
        self._feature_learning_rate = config["feature_learning_rate"]

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Optimiser groups: parameters on features may have a learning rate of their own."""
        own = self._feature_learning_rate
        if own is None:
            return [{"params": list(self.parameters()), "lr": learning_rate}]
        on_features = [p for module in self.feature_modules() for p in module.parameters()]
        chosen = {id(p) for p in on_features}
        rest = [p for p in self.parameters() if id(p) not in chosen]
        return [{"params": rest, "lr": learning_rate}, {"params": on_features, "lr": own}]

    def feature_modules(self) -> list[torch.nn.Module]:
        """Modules whose parameters act on features alone."""
        return []
