"""Training batches of sequences without prefixes: a row is a user's window, each position is to give the next item."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from recbole_mm.errors import WrongUse

#: losses that compare an item with negatives which the targets of a batch share
SAMPLED = ("sampled_softmax", "gbce")


def sequence_loss(config: Any) -> str:
    """``sequence_loss``, or by the model's ``loss_type`` ``ce`` or ``bpr``."""
    return str(config["sequence_loss"] or ("bpr" if config["loss_type"] == "BPR" else "ce"))


class TargetBatches(Sampler[list[int]]):
    """Numbers of windows in batches of about ``budget`` targets; in a new order each time where there is a generator.

    Args:
        targets: ``[n]``, of each window.
        budget: targets of a batch; it has at most those of one window more or less.
    """

    def __init__(self, targets: np.ndarray, budget: int, generator: torch.Generator | None):
        self.targets, self.generator = torch.from_numpy(targets), generator
        self.budget = max(budget, int(targets.max()))

    def __len__(self) -> int:
        return -(-int(self.targets.sum()) // self.budget)

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.arange(len(self.targets))
        if self.generator is not None:
            order = torch.randperm(len(order), generator=self.generator)
        batch = (self.targets[order].cumsum(0) - 1) // self.budget
        size = torch.bincount(batch, minlength=len(self))
        return (part.tolist() for part in order.split(size.tolist()))


class ShiftedDataLoader(AbstractDataLoader):
    """Yields ``{user_id [B], item_id_list [B, l], item_length [B], item_id [B, l]}``, l the longest of the batch.

    ``item_id`` holds the item that follows each position of ``item_id_list``, 0 where none is to be learned: behind the
    end, and where an earlier window of the user has it. ``train_batch_size`` counts targets, as with prefixes.

    Negatives ``neg_item_id``: of the sampler, N for each target ``[B, l, N]``, as RecBole's; or with ``shared`` so
    many for the whole batch, dealt out to its rows ``[B, k]``, k the least that suffices.

    The shared ones are drawn with replacement by ``rng``, which belongs to an exact resume. Batches are made in this
    process, whatever ``worker`` says: it costs next to nothing, and copies of ``rng`` would draw the same.

    Attributes:
        shared: how many negatives a batch shares (``sequence_negatives``); 0 where the loss takes none of them.
        log_q: ``[I]`` the logarithm of the share of each item among them; None where it is the same for all.
    """

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False):
        self.shuffle, self.config, self._dataset = shuffle, config, dataset
        self.windows, loss = dataset.windows, sequence_loss(config)
        if not config["single_spec"]:
            raise WrongUse("train_sequences: shifted trains in one process; see nproc")
        self.shared = config["sequence_negatives"] if loss in SAMPLED else 0
        self._sampler = sampler if loss == "bpr" else None
        if not len(self.windows.start):
            raise WrongUse(
                f"the training part of {config['dataset']} has no user with two events; see the split"
            )
        self._targets = self.windows.stop - self.windows.fresh
        self.sample_size = len(self._targets)
        self.is_sequential = True
        self.generator = torch.Generator()
        self.generator.manual_seed(config["seed"])
        self.rng = np.random.default_rng(config["seed"])
        self._items = dataset.inter_feat[dataset.iid_field]
        self._users = dataset.inter_feat[dataset.uid_field]
        weight, self.log_q = np.ones(dataset.item_num), None
        if config["sequence_negatives_by"] == "popularity":
            weight = np.bincount(self._items.numpy(), minlength=dataset.item_num).astype(float)
            self.log_q = torch.from_numpy(weight / weight.sum()).log().float()
        weight[0] = 0  # [PAD]
        self._edges = np.cumsum(weight)
        DataLoader.__init__(
            self,
            dataset=range(self.sample_size),  # type: ignore[arg-type]
            batch_sampler=TargetBatches(
                self._targets,
                config["train_batch_size"],
                self.generator if shuffle else None,
            ),
            collate_fn=self.collate_fn,
            generator=self.generator,
        )

    def targets_of(self, index: list[int]) -> int:
        """How many items the windows ``index`` are to give, which is what the loss is a mean over."""
        return int(self._targets[index].sum())

    def collate_fn(self, index: list[int]) -> Interaction:
        """The batch of the windows ``index``."""
        start, stop, fresh = (torch.from_numpy(each[index]) for each in vars(self.windows).values())
        length = stop - start - 1
        at = start.unsqueeze(1) + torch.arange(int(length.max()))
        there = at + 1 < stop.unsqueeze(1)
        at = at.where(there, 0)
        sequence, target = self._items[at].where(there, 0), self._items[at + 1].where(there, 0)
        target = target.where(at + 1 >= fresh.unsqueeze(1), 0)
        users, item_id = self._users[start], self._dataset.iid_field
        batch = {
            self._dataset.uid_field: users,
            item_id + self.config["LIST_SUFFIX"]: sequence,
            self.config["ITEM_LIST_LENGTH_FIELD"]: length,
            item_id: target,
        }
        negatives = self._shared_negatives(len(users)) if self.shared else self._own_negatives(users, target)
        if negatives is not None:
            batch[self.config["NEG_PREFIX"] + item_id] = negatives
        return Interaction(batch)

    def _shared_negatives(self, rows: int) -> Tensor:
        point = self.rng.random((rows, -(-self.shared // rows))) * self._edges[-1]
        drawn = np.searchsorted(self._edges, point, side="right")
        return torch.from_numpy(np.minimum(drawn, len(self._edges) - 1))

    def _own_negatives(self, users: Tensor, target: Tensor) -> Tensor | None:
        if self._sampler is None:
            return None
        row, column = target.nonzero(as_tuple=True)
        number = self.config["train_neg_sample_args"]["sample_num"]
        drawn = self._sampler.sample_by_user_ids(users[row].numpy(), target[row, column].numpy(), number)
        negatives = target.new_zeros(*target.shape, number)
        negatives[row, column] = drawn.view(number, -1).t()
        return negatives
