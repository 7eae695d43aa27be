"""Training batches of our own models: triplets, or items alone; queries of sequential models."""

from __future__ import annotations

from collections.abc import Iterator
from logging import getLogger
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader, TrainDataLoader
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction

from recbole_mm.data.sampler import NegativeSampler
from recbole_mm.errors import WrongUse


def of_interactions(loader: Any) -> Any:
    """The loader of users and items: a knowledge model's holds it beside one of triples."""
    return getattr(loader, "general_dataloader", loader)


class RowsDataLoader(TrainDataLoader):
    """RecBole's training loader with the numbers of a batch's rows as a tensor: torch makes a list of all of them.

    The same batches from the same random numbers, unless processes of their own (``worker``) make them.
    """

    def __iter__(self) -> Iterator[Interaction]:
        return super().__iter__() if self.num_workers or not self.config["single_spec"] else self._batches()

    def _batches(self) -> Iterator[Interaction]:
        # torch draws a seed for worker processes, and at the end an order of what is left of the samples, nothing
        torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        n = self.sample_size
        order = torch.randperm(n, generator=self.generator) if self.shuffle else torch.arange(n)
        for start in range(0, n, self.step):
            yield self.collate_fn(order[start : start + self.step])
        if self.shuffle:
            torch.randperm(n, generator=self.generator)


class TripletDataLoader(RowsDataLoader):
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

    def collate_fn(self, index: Any) -> Interaction:
        """The batch of the training rows ``index``."""
        return Interaction(self.triplets(torch.as_tensor(index)))

    def triplets(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """The columns of the training rows ``rows [n]``, with new negatives."""
        batch = {field: column[rows] for field, column in self._columns.items()}
        negatives = self.negatives.sample(
            batch[self.uid_field].numpy(), batch[self.iid_field].numpy(), self.neg_sample_num
        )
        batch[self.neg_item_id] = torch.from_numpy(negatives)
        return batch

    def held_out(self, valid_data: Any) -> list[Interaction]:
        """Batches of the validation rows, their negatives unseen in training and drawn from ``split_seed``."""
        if not valid_data:
            return []
        rng = np.random.default_rng(self.config["split_seed"])
        sampler = NegativeSampler.of_rows(self._dataset, self.config["train_neg_sample_args"], rng)
        feat, batches = valid_data._dataset.inter_feat, []
        for rows in torch.arange(len(feat)).split(self.step):
            batch = {field: feat[field][rows] for field in self._columns}
            users, items = (batch[field].numpy() for field in (self.uid_field, self.iid_field))
            batch[self.neg_item_id] = torch.from_numpy(sampler.sample(users, items, self.neg_sample_num))
            batches.append(Interaction(batch))
        return batches


class ItemDataLoader(AbstractDataLoader):
    """Yields ``{item_id [B]}`` of the items with a training row, but for a share ``pretrain_hold_out``.

    The share is drawn from ``split_seed``; it is 0 where a model has no such key.
    """

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False):
        self.logger = getLogger()
        self.iid_field = dataset.iid_field
        items = np.unique(dataset.inter_feat[self.iid_field].numpy())
        order = np.random.default_rng(config["split_seed"]).permutation(items)
        left_out = round(float(config["pretrain_hold_out"] or 0.0) * len(items))
        self._left_out, self.items = (torch.from_numpy(np.sort(part)) for part in np.split(order, [left_out]))
        if not len(self.items):
            raise WrongUse(f"pretrain_hold_out: {config['pretrain_hold_out']} leaves no item to train on")
        self.sample_size = len(self.items)
        super().__init__(config, dataset, sampler, shuffle=shuffle)

    def _init_batch_size_and_step(self) -> None:
        self.step = self.config["train_batch_size"]
        self.set_batch_size(self.step)

    def collate_fn(self, index: list[int]) -> Interaction:
        """The batch of the items at ``index``."""
        return Interaction({self.iid_field: self.items[torch.as_tensor(index)]})

    def held_out(self, valid_data: Any) -> list[Interaction]:
        """Batches of the items that are not trained on."""
        return [Interaction({self.iid_field: part}) for part in self._left_out.split(self.step) if len(part)]


class HistoryEvalDataLoader(FullSortEvalDataLoader):
    """One query for each user of a part whose rows have the user's history (`SequenceMixin`), as for other models.

    RecBole's loader makes a query of each row. ``user_df`` holds a user's first row, ``uid_list`` the users.
    """

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False):
        self.logger = getLogger()
        self.uid_field, self.iid_field = dataset.uid_field, dataset.iid_field
        dataset.sort(by=self.uid_field, ascending=True)
        users, first = np.unique(dataset.inter_feat[self.uid_field].numpy(), return_index=True)
        self.uid_list, self.sample_size = torch.from_numpy(users), len(users)
        items = np.split(dataset.inter_feat[self.iid_field].numpy(), first[1:])
        self._positives = [torch.from_numpy(np.unique(each)) for each in items]
        self.is_sequential = True  # RecBole sets it too late for what follows
        AbstractDataLoader.__init__(self, config, dataset, sampler, shuffle=False)
        self.user_df = self.transform(dataset, dataset[torch.from_numpy(first)])

    def collate_fn(self, index: list[int]) -> tuple[Interaction, None, torch.Tensor, torch.Tensor]:
        """Queries of some users: rows, nothing to mask, and row and item of each positive."""
        positives = [self._positives[i] for i in index]
        row = torch.repeat_interleave(
            torch.arange(len(index)), torch.tensor([len(each) for each in positives])
        )
        return self.user_df[torch.as_tensor(index)], None, row, torch.cat(positives)
