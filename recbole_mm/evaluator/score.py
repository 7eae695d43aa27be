"""A model's scores for a batch of queries, over all items, whatever family it is of."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import torch
from recbole.model.general_recommender import NeuMF
from torch import Tensor

from recbole_mm.data.sequence import without_padding
from recbole_mm.errors import Failure
from recbole_mm.evaluator.context import ContextPairs, FieldsAreRead
from recbole_mm.evaluator.neumf import neumf_scores
from recbole_mm.layer.transformer import SMALL_BATCH_PADDING, length_buckets
from recbole_mm.model.traits import is_padding_free


class Scorer:
    """Scores [B, I] by ``full_sort_predict``, or by ``predict`` over all pairs where a model has none (context)."""

    def __init__(self, model: Any, eval_data: Any, items: int, pairs: int) -> None:
        """``pairs``: how many (query, item) pairs one call of ``predict`` may get."""
        self.model, self.items, self.pairs = model, items, max(pairs, 1)
        self.dataset = eval_data._dataset
        self._padding_free = is_padding_free(type(model))
        tensors = chain(model.parameters(), model.buffers())
        self.device = next((tensor.device for tensor in tensors), torch.device("cpu"))
        self._item_features: Any = None
        #: set at the first call; None where a model is scored by rows of pairs
        self._context: ContextPairs | None = None
        self._asked_context = False

    def __call__(
        self, interaction: Any, candidates: np.ndarray | None = None, in_order: bool = False
    ) -> Tensor:
        """Scores [B, I] on the model's device; the caller may overwrite them.

        ``candidates``: ids of the items whose scores will be read, None for all. A model that scores pair by pair
        scores these alone; the others are -inf. ``in_order``: by one call of the model, padding and all, so that what
        it computes inside has the order of the rows.

        Raises:
            Failure: a score is NaN or infinite, which no comparison would rank.
        """
        scores = self._scores(interaction.to(self.device), candidates, in_order)
        _check_numbers(self.model, scores[:, 1:])
        return scores

    def _scores(self, interaction: Any, candidates: np.ndarray | None, in_order: bool) -> Tensor:
        if self._item_features is None:
            try:
                scores = self._full_sort(interaction, in_order)
            except NotImplementedError:
                self._item_features = _item_features(self.dataset).to(self.device)
            else:
                return self._shaped(scores, len(interaction))
        if candidates is None:
            return self._by_pairs(interaction, torch.arange(self.items, device=self.device))
        ids = torch.from_numpy(candidates).to(self.device)
        found = self._by_pairs(interaction, ids)
        scores = found.new_full((len(interaction), self.items), -torch.inf)
        scores[:, ids] = found
        return scores

    def _full_sort(self, interaction: Any, in_order: bool) -> Tensor:
        """``full_sort_predict``; of sequences of about one length, without their padding, where a model allows."""
        if in_order or not self._padding_free:
            return self.model.full_sort_predict(interaction)  # type: ignore[no-any-return]
        length, scores = interaction[self.model.ITEM_SEQ_LEN], None
        for rows in length_buckets(length, SMALL_BATCH_PADDING):
            part = without_padding(self.dataset, interaction[rows])
            found = self._shaped(self.model.full_sort_predict(part), len(rows))
            if scores is None:
                scores = found.new_empty(len(length), self.items)
            scores[rows] = found
        assert scores is not None
        return scores

    def _shaped(self, scores: Tensor, rows: int) -> Tensor:
        if scores.numel() != rows * self.items:
            raise Failure(
                f"{type(self.model).__name__}.full_sort_predict gave {tuple(scores.shape)} "
                f"for {rows} queries and {self.items} items"
            )
        return scores.view(rows, self.items).contiguous()

    def _by_pairs(self, interaction: Any, ids: Tensor) -> Tensor:
        """Every query with every item of ``ids [n]``, at most ``pairs`` at a time (items split where one has more)."""
        if type(self.model) is NeuMF:
            return neumf_scores(self.model, interaction[self.model.USER_ID], ids)
        if not self._asked_context:
            self._asked_context = True
            if ContextPairs.serves(self.model):
                self._context = ContextPairs(
                    self.model, interaction[slice(0, 1)], self._item_features, self.pairs
                )
        if self._context is not None:
            try:
                return self._context(interaction, ids)
            except FieldsAreRead:
                self._context = None
        rows = []
        users = max(1, self.pairs // len(ids))
        for a in range(0, len(interaction), users):
            part = interaction[slice(a, a + users)]
            scores = []
            for b in range(0, len(ids), self.pairs):
                items = self._item_features[ids[b : b + self.pairs]]
                pairs = part.repeat_interleave(len(items))
                pairs.update(items.repeat(len(part)))
                scores.append(self.model.predict(pairs).reshape(len(part), -1))
            rows.append(torch.cat(scores, dim=1))
        return torch.cat(rows)


def _item_features(dataset: Any) -> Any:
    """The fields of all items and, where the data set has domains, that of each item's own."""
    features = dataset.get_item_feature()
    if "domain" in dataset.field2type and dataset.domain_names:
        number = torch.as_tensor([0, *dataset.token2id("domain", list(dataset.domain_names))])
        own = number[torch.as_tensor(np.asarray(dataset.item_domain)) + 1]  # -1: none
        features.update(type(features)({"domain": own}))
    return features


def predict_rows(model: Any, interaction: Any, device: Any, size: int) -> Tensor:
    """``predict`` over the rows of an interaction, ``size`` at a time; [N]."""
    parts = [
        model.predict(interaction[slice(a, a + size)].to(device)).reshape(-1)
        for a in range(0, len(interaction), size)
    ]
    scores = torch.cat(parts)
    _check_numbers(model, scores)
    return scores


def _check_numbers(model: Any, scores: Tensor) -> None:
    """Refuse NaN and infinity; -inf is an item that a model leaves out."""
    if scores.numel() and not bool((largest := scores.amax()) < torch.inf):  # NaN is the largest, too
        name = type(model).__name__
        raise Failure(
            f"{name}: scores are {largest.item()}; lower learning_rate or set clip_grad_norm, and check the features "
            "for huge values"
        )
