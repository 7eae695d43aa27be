"""The loss of a batch whose sequences predict an item at each position (``train_sequences: shifted``)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_mm.data.shifted import ShiftedDataLoader, sequence_loss
from recbole_mm.layer.loss import bpr, gbce
from recbole_mm.layer.scoring import candidate_scores
from recbole_mm.layer.softmax import blockwise_softmax, sampled_softmax, scores_in
from recbole_mm.layer.transformer import SMALL_BATCH_PADDING, length_buckets
from recbole_mm.model.traits import trait


def output_at_positions(model: Any, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
    """What a causal model's ``forward`` gives at each position: ``[B, l, d]`` of ``item_seq [B, l]``.

    RecBole's ends in ``gather_indexes``, which takes the last position; meanwhile it takes them all.
    """
    model.gather_indexes = lambda output, index: output
    try:
        output: Tensor = model(item_seq, item_seq_len)
    finally:
        del model.gather_indexes
    assert output.shape[:2] == item_seq.shape
    return output


class ShiftedObjective:
    """Called with a batch of `ShiftedDataLoader`, it gives the mean loss over all targets.

    The sequences of a batch, drawn at random, go through the model in buckets of about the same length, so that little
    is padded and no batch has one length alone.
    """

    def __init__(self, config: Any, model: Any, loader: ShiftedDataLoader):
        self.model, self.loss = model, sequence_loss(config)
        self.block = scores_in(config["softmax_memory_mib"])
        self.shared, self.gbce_t = loader.shared, config["gbce_t"]
        self.log_q = None if loader.log_q is None else loader.log_q.to(model.device)

    def __call__(self, interaction: Any) -> Tensor:
        """Scalar."""
        model = self.model
        sequence, length, target = (
            interaction[field] for field in (model.ITEM_SEQ, model.ITEM_SEQ_LEN, model.POS_ITEM_ID)
        )
        width, outputs, cells = sequence.shape[1], [], []
        for rows in length_buckets(length, SMALL_BATCH_PADDING):
            longest = int(length[rows].max())
            output = output_at_positions(model, sequence[rows, :longest], length[rows])
            row, column = target[rows, :longest].nonzero(as_tuple=True)
            outputs.append(output.flatten(0, 1).index_select(0, row * longest + column))
            cells.append(rows[row] * width + column)
        hidden, cell = torch.cat(outputs), torch.cat(cells)
        negatives = interaction.interaction.get(model.NEG_ITEM_ID)
        return self._loss(hidden, target.flatten()[cell], negatives, cell)

    def _loss(self, hidden: Tensor, target: Tensor, negatives: Any, cell: Tensor) -> Tensor:
        """Of ``hidden [n, d]`` and the items ``target [n]`` that are to follow; ``cell [n]`` are their places."""
        if self.loss == "ce":
            return blockwise_softmax(hidden, trait(self.model, "item_table")(), target, self.block)
        if self.loss == "bpr":
            negatives = negatives.flatten(0, 1)[cell]
        else:
            negatives = negatives.flatten()[: self.shared]
        # some items alone are compared: those of other rows need not be made
        named, place = torch.unique(torch.cat([target, negatives.flatten()]), return_inverse=True)
        items, log_q = (
            trait(self.model, "item_rows")(named),
            None if self.log_q is None else self.log_q[named],
        )
        target, negatives = place[: len(target)], place[len(target) :].view(negatives.shape)
        if self.loss == "sampled_softmax":
            return sampled_softmax(hidden, items, target, negatives, log_q)
        positive = (hidden * F.embedding(target, items)).sum(1)
        if self.loss == "bpr":
            return bpr(positive, candidate_scores(hidden, items, negatives))
        negative = hidden @ F.embedding(negatives, items).t()
        negative = negative.masked_fill(negatives == target.unsqueeze(1), -torch.inf)  # drawn by accident
        return gbce(positive, negative, self.gbce_t, min(1.0, self.shared / (self.model.n_items - 1)))
