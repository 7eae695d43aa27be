"""Training batches cut from blocks of shuffled rows, in place of a loader of row numbers (``loader: fast``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from recbole.data.dataloader import TrainDataLoader
from recbole.data.interaction import Interaction
from recbole.utils import InputType

from recbole_mm.data.dataloader import TripletDataLoader

#: numbers that the tensors of a block hold at most, unless one batch has more: 64 MiB of int64
BLOCK_NUMBERS = 8 << 20

_Host: Any = object  # RecBole's loader, before which a mixin stands; to mypy it may hold anything


class _Blocks(_Host):
    """The batches of an epoch, of as many rows as RecBole's, as views of blocks made in one go.

    ``generator`` decides the order of the rows. The negatives of a block are drawn at once: as unseen and of the same
    domain as those of single batches, but other ones.
    """

    def __iter__(self) -> Iterator[Interaction]:
        n, step = self.sample_size, self.step
        order = torch.randperm(n, generator=self.generator) if self.shuffle else torch.arange(n)
        batches = max(BLOCK_NUMBERS // (step * self._numbers()), 1)
        whole = n // step * step
        starts = range(0, whole, batches * step)
        blocks = [(order[start : min(start + batches * step, whole)], step) for start in starts]
        if whole < n:
            blocks.append((order[whole:], n - whole))
        for rows, size in blocks:
            columns, length = self._block(rows, size)
            for start in range(0, len(rows) // size * length, length):
                yield Interaction({name: values[start : start + length] for name, values in columns.items()})

    def _numbers(self) -> int:
        """How many numbers a training row becomes."""
        raise NotImplementedError

    def _block(self, rows: torch.Tensor, step: int) -> tuple[dict[str, torch.Tensor], int]:
        """The columns of some training rows, batch by batch, and the length of a batch; of rows it has ``step``."""
        raise NotImplementedError


class BlockTripletDataLoader(_Blocks, TripletDataLoader):
    """`TripletDataLoader`, cut from blocks."""

    def _numbers(self) -> int:
        return len(self._columns) + int(self.neg_sample_num)

    def _block(self, rows: torch.Tensor, step: int) -> tuple[dict[str, torch.Tensor], int]:
        return self.triplets(rows), step


class BlockTrainDataLoader(_Blocks, TrainDataLoader):
    """RecBole's loader of pairs, points or plain rows, cut from blocks.

    A batch has the fields and the order of RecBole's: with negatives its rows once for each of them (pairs), or once
    with label 1 and once for each negative with label 0 (points).
    """

    def _numbers(self) -> int:
        first = self._dataset[torch.arange(1)]
        # the features of negatives are as many as those of the items
        return 2 * int(self.times) * sum(values.numel() for values in first.interaction.values())

    def _block(self, rows: torch.Tensor, step: int) -> tuple[dict[str, torch.Tensor], int]:
        if not self.draws:
            return self._dataset[rows].interaction, step
        data, count = self._dataset, int(self.neg_sample_num)
        positive = data.inter_feat[rows]
        # [count, n] as RecBole's samplers give them, to [batches, count, step]
        drawn = self._sampler.sample_by_user_ids(
            positive[data.uid_field].numpy(), positive[data.iid_field].numpy(), count
        )
        drawn = drawn.view(count, -1, step).transpose(0, 1)
        tiled = rows.view(-1, 1, step).expand(-1, int(self.times), step)
        if self.dl_format == InputType.PAIRWISE:
            columns = dict(data[tiled.reshape(-1)].interaction)
            negatives = data.join(Interaction({data.iid_field: drawn.reshape(-1)}))
            columns |= {self.neg_prefix + name: values for name, values in negatives.interaction.items()}
        else:
            asked = data.__getitem__(tiled.reshape(-1), join=False)
            items = torch.cat([asked[data.iid_field].view(tiled.shape)[:, :1], drawn], dim=1)
            asked[data.iid_field] = items.reshape(-1)
            columns = dict(data.join(asked).interaction)
            labels = torch.zeros(tiled.shape)
            labels[:, 0] = 1.0
            columns[self.label_field] = labels.view(-1)
        return columns, step * int(self.times)

    @property
    def draws(self) -> bool:
        """Whether there are negatives."""
        return "none" not in (self.neg_sample_args["distribution"], self.neg_sample_args["sample_num"])
