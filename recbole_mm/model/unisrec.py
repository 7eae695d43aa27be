r"""UniSRec: sequences of items that are their texts, pre-trained over several domains and fine-tuned on another.

"Towards Universal Sequence Representation Learning for Recommender Systems", Hou, Mu, Zhao, Li, Ding, Wen, KDD 2022,
arXiv 2206.05941.

.. math::
    v_i = \sum_k g_k (x_i - b_k) W_k \qquad s = Transformer(v_{i_1} + p_1, …, v_{i_n} + p_n) \\
    l_{S-I} = -\frac1B \sum_j \log \frac{e^{s_j v_j / \tau}}{\sum_{j'} e^{s_j v_{j'} / \tau}} \qquad
    l_{S-S} = -\frac1B \sum_j \log \frac{e^{s_j \tilde s_j / \tau}}{\sum_{j'} e^{s_j \tilde s_{j'} / \tau}} \qquad
    L = l_{S-I} + \lambda l_{S-S}

``train_stage: pretrain`` is L over batches of all domains, whose items are each other's negatives; ``inductive`` and
``transductive`` are fine-tuning, softmax(s · v_i / τ) over all items, transductive with an id vector e_i added to v_i
at input and at output. Fine-tuning starts from a pre-training's weights (``init_from``) and leaves the encoder as it
is (``freeze_encoder``): the adaptor learns, and e_i.

Given: all of this but the following. Read from the authors' code: cosines in the place of products, rows with the same
target are no negatives of each other, dropout before the experts, the norm of the input. Inferred: an item is adapted
once a step of pre-training, so its noise is the same wherever it stands; with several modalities an adaptor each, whose
vectors are added where the item has the modality; s̃ is s without a share of its items, at least one is left (the
publication also drops words, for which the text must be encoded anew). Not of the publication: fine-tuning may learn
from every position of a sequence (``train_sequences: shifted``).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.model.sequential_recommender.sasrec import SASRec
from torch import Tensor

from recbole_mm.errors import WrongUse
from recbole_mm.layer.loss import Terms, in_batch_info_nce
from recbole_mm.layer.transformer import SMALL_BATCH_PADDING, length_buckets
from recbole_mm.layer.whitening import WhiteningExperts
from recbole_mm.model.base import check_choices, item_features
from recbole_mm.model.sasrecmm import ItemVectors
from recbole_mm.model.traits import Traits

PRETRAIN, TRANSDUCTIVE = "pretrain", "transductive"


class UniSRec(Traits, SASRec):
    """Sequences of items known by their content, pre-trained over domains, fine-tuned on another.

    Switches: ``train_stage: pretrain | inductive | transductive``, ``cl_weight`` (λ), ``item_drop_ratio``,
    ``n_experts``, ``freeze_encoder``.
    """

    multimodal = True
    scores_from_features = True
    needs_features = True
    causal = True

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        check_choices(config, "train_stage")
        if config["train_stage"] == PRETRAIN and (config["train_sequences"], config["loader"]) != (
            "prefix",
            "recbole",
        ):
            raise WrongUse(
                "UniSRec: train_stage: pretrain compares the rows of a batch with each other; it takes "
                "train_sequences: prefix and loader: recbole"
            )
        self.features = item_features(config, dataset)
        if not self.features.names:
            raise WrongUse(
                f"UniSRec: no vectors of the items of {config['dataset']}, and it knows them by nothing else"
            )
        self.stage, self.temperature = config["train_stage"], config["temperature"]
        self.cl_weight, self.drop_ratio = config["cl_weight"], config["item_drop_ratio"]
        adaptor = partial(
            WhiteningExperts, experts=config["n_experts"], dropout=config["adaptor_dropout_prob"]
        )
        ids: Any = self.item_embedding
        # there in every stage, so that one stage can take up the weights of another
        ids.requires_grad_(self.stage == TRANSDUCTIVE)
        self.item_embedding: Any = ItemVectors(ids, self.features, adaptor, self.stage == TRANSDUCTIVE)
        freezes = config["freeze_encoder"] and self.stage != PRETRAIN
        self._idle_freeze = freezes and not config["init_from"]
        if freezes and config["init_from"]:
            for part in (self.position_embedding, self.LayerNorm, self.trm_encoder):
                part.requires_grad_(False)

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """The query s / (|s| τ), ``[B, d]``: its products with ``item_table`` are the scores."""
        return self._query(self.item_embedding(item_seq), item_seq, item_seq_len)

    def _query(self, vectors: Tensor, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """``forward`` from the items' ``vectors [B, l, d]``."""
        placed = vectors + self.position_embedding.weight[: item_seq.shape[1]]
        outputs = self.trm_encoder(self.dropout(self.LayerNorm(placed)), self.get_attention_mask(item_seq))
        last = self.gather_indexes(outputs[-1], item_seq_len - 1)
        return F.normalize(last, dim=-1) / self.temperature

    def _queries(self, table: Tensor, sequences: Tensor, length: Tensor) -> Tensor:
        """Those of ``sequences [B, L]`` of rows of ``table``, of about one length at a time: little is padded."""
        buckets = length_buckets(length, SMALL_BATCH_PADDING)
        cut = [(sequences[rows, : int(length[rows].max())], length[rows]) for rows in buckets]
        found = [self._query(F.embedding(part, table), part, size) for part, size in cut]
        return torch.cat(found)[torch.argsort(torch.cat(buckets))]

    def item_table(self) -> Tensor:
        """Vectors v (+ e) at unit length, ``[I, d]``."""
        return F.normalize(self.item_embedding.weight, dim=-1)

    def item_rows(self, items: Tensor) -> Tensor:
        """Those of the ``items`` alone are adapted."""
        return F.normalize(self.item_embedding(items), dim=-1)

    def calculate_loss(self, interaction: Interaction) -> Any:
        """l_SI and λ l_SS in pre-training, else the cross-entropy over all items."""
        sequence, length = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        target = interaction[self.POS_ITEM_ID]
        if self.stage != PRETRAIN:
            return F.cross_entropy(self.forward(sequence, length) @ self.item_table().t(), target)
        # an item is adapted once a step; row 0 is that of the padding
        items, row = torch.unique(
            torch.cat([sequence.flatten(), target, target.new_zeros(1)]), return_inverse=True
        )
        table, rows = self.item_embedding(items), row[: sequence.numel()].view_as(sequence)
        queries, positives = (
            self._queries(table, rows, length),
            F.embedding(row[sequence.numel() : -1], table),
        )
        contrast = None
        if self.cl_weight:
            augmented = self._queries(table, *drop_items(rows, length, self.drop_ratio))
            contrast = self.cl_weight * in_batch_info_nce(queries, augmented, target, self.temperature)
        of_items = in_batch_info_nce(queries, positives, target, self.temperature)
        return Terms(sequence_item=of_items, sequence_sequence=contrast)

    def predict(self, interaction: Interaction) -> Tensor:
        """Cosines over τ, ``[B]``."""
        of_sequence = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return (of_sequence * self.item_table()[interaction[self.ITEM_ID]]).sum(dim=1)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Cosines with all items, over τ, ``[B, I]``."""
        of_sequence = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return of_sequence @ self.item_table().t()

    def pretrained(self) -> dict[str, dict[str, tuple[Tensor, Tensor]]]:
        """Vectors v of all items that have a modality; its weights are what ``init_from`` takes."""
        return {"items": {"v": (self.item_embedding.weight, self.features.present.any(dim=1))}}

    def id_rows(self) -> dict[str, list[tuple[str, int]]]:
        """E."""
        return {"item_embedding.ids.weight": [("item", 1)]}

    def without_effect(self) -> list[str]:
        """An encoder that nothing was learned into is not frozen."""
        said = "UniSRec: freeze_encoder has no effect: there are no weights of a pre-training (init_from)"
        return [said] if self._idle_freeze else []


def drop_items(sequences: Tensor, length: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Sequences ``[B, L]``, padded behind, without a random ``ratio`` of their items; one is left.

    Returns:
        ``[B, L]`` in the order as before, and how long they are, ``[B]``.
    """
    there = torch.arange(sequences.shape[1], device=sequences.device) < length.unsqueeze(1)
    drawn = torch.rand(sequences.shape, device=sequences.device).masked_fill(~there, -1.0)
    kept = there & ((drawn >= ratio) | (drawn == drawn.amax(dim=1, keepdim=True)))
    order = torch.argsort((~kept).long(), dim=1, stable=True)
    left = kept.sum(dim=1)
    behind = torch.arange(sequences.shape[1], device=sequences.device) >= left.unsqueeze(1)
    return sequences.gather(1, order).masked_fill(behind, 0), left
