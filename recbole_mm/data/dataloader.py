"""Training batches of our own models: user ``[B]``, item ``[B]``, negatives ``[B, N]``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import TrainDataLoader
from recbole.data.interaction import Interaction

from recbole_mm.data.sampler import NegativeSampler


class TripletDataLoader(TrainDataLoader):
    """Yields ``{user_id [B], item_id [B], neg_item_id [B, N]}``; ``train_batch_size`` counts positives.

    RecBole tiles the rows N times instead (``train_batch_size // N`` positives a step). The negatives come from
    ``rng``, a numpy generator of this loader, whose state belongs to an exact resume. ``negatives`` of another loader
    make this one draw as that one does: unseen in its rows, from its generator.
    """

    def __init__(
        self,
        config: Any,
        dataset: Any,
        sampler: Any,
        shuffle: bool = False,
        negatives: NegativeSampler | None = None,
    ):
        super().__init__(config, dataset, sampler, shuffle=shuffle)
        self._columns = {f: dataset.inter_feat[f] for f in (dataset.uid_field, dataset.iid_field)}
        if negatives is not None:
            self.rng, self.negatives = negatives.rng, negatives
            return
        self.rng = np.random.default_rng(config["seed"])
        self.negatives = NegativeSampler.of_rows(dataset, config["train_neg_sample_args"], self.rng)

    def _init_batch_size_and_step(self) -> None:
        self.step = self.config["train_batch_size"]
        self.set_batch_size(self.step)

    def collate_fn(self, index: list[int]) -> Interaction:
        """The batch of the training rows ``index``."""
        rows = torch.as_tensor(index)
        batch = {field: column[rows] for field, column in self._columns.items()}
        negatives = self.negatives.sample(
            batch[self.uid_field].numpy(), batch[self.iid_field].numpy(), self.neg_sample_num
        )
        batch[self.neg_item_id] = torch.from_numpy(negatives)
        return Interaction(batch)
