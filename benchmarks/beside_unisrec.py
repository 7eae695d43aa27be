"""Our UniSRec beside its authors' code, with the same weights on the same toy data; one JSON line a stage.

    git clone https://github.com/RUCAIBox/UniSRec
    python benchmarks/beside_unisrec.py --unisrec UniSRec

``scores``, ``loss``: the largest difference of the scores of all items for each sequence, and of the loss of a batch,
each over the largest value. What was set alike: no dropout, no noise; ``[PAD]``, which their softmax has by (0 - b) W,
has no vector; in pre-training no two rows have the same target (they give such rows a weight of e⁰ as negatives), and
both take the same shortened sequences. Their scores are cosines, ours are over τ. Nothing of that code is part of this
project; it is imported from its clone.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recbole_mm.model.unisrec import UniSRec, drop_items
from recbole_mm.testing import Built, write_toy

STAGES = {"pretrain": "pretrain", "inductive": "inductive_ft", "transductive": "transductive_ft"}
SIZES: dict[str, Any] = {
    "hidden_size": 16, "inner_size": 32, "n_layers": 2, "n_heads": 2, "n_experts": 3, "MAX_ITEM_LIST_LENGTH": 6,
    "sequence_split": "interactions", "temperature": 0.3, "cl_weight": 0.1, "item_drop_ratio": 0.4,
    "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "adaptor_dropout_prob": 0.0,
}  # fmt: skip
#: of the Transformer, which both have from RecBole
SHARED = ("position_embedding", "LayerNorm", "trm_encoder")


class Both:
    """The settings of ours, and those that theirs have by another name."""

    def __init__(self, ours: Any, own: dict[str, Any]):
        self.ours, self.own = ours, own

    def __getitem__(self, key: str) -> Any:
        return self.own[key] if key in self.own else self.ours[key]


def with_weights(built: Built, code: Any, stage: str) -> Any:
    """Their model with our weights."""
    ours, dataset = built.model, built.train_data._dataset
    vectors = ours.features("text").clone()
    vectors[~ours.features.present[:, 0]] = 0.0
    dataset.plm_embedding = nn.Embedding.from_pretrained(vectors)
    names = {
        "lambda": SIZES["cl_weight"], "n_exps": SIZES["n_experts"], "train_stage": STAGES[stage],
        "adaptor_layers": [vectors.shape[1], SIZES["hidden_size"]],
    }  # fmt: skip
    theirs = code.UniSRec(Both(built.config, names), dataset)
    for part in SHARED:
        getattr(theirs, part).load_state_dict(getattr(ours, part).state_dict())
    adaptor = ours.item_embedding.projections["text"]
    for expert, shift, matrix in zip(theirs.moe_adaptor.experts, adaptor.shift, adaptor.maps, strict=True):
        expert.bias.data, expert.lin.weight.data = shift.detach(), matrix.detach().t().clone()
    theirs.moe_adaptor.w_gate.data = adaptor.gate.detach()
    if stage == "transductive":
        theirs.item_embedding.weight.data = ours.item_embedding.ids.weight.detach()
    adapt = theirs.moe_adaptor.forward
    theirs.moe_adaptor.forward = lambda x: adapt(x) * (x != 0).any(dim=-1, keepdim=True)
    return theirs.eval()


def beside(stage: str, code: Any) -> dict[str, Any]:
    """The differences in one stage of training."""
    with tempfile.TemporaryDirectory() as folder:
        given = {**write_toy(Path(folder), ("text",), missing=0.0), **SIZES, "train_stage": stage}
        built = Built("UniSRec", given)
    ours: UniSRec = built.model
    with torch.no_grad():
        for name, value in ours.item_embedding.named_parameters():
            if ".shift" in name or ".gate" in name:
                value.normal_()
        ours.item_embedding.ids.weight[0] = 0.0
    theirs = with_weights(built, code, stage)
    ours.eval()
    batch = built.batch()
    targets = batch["item_id"].tolist()
    batch = batch[torch.tensor([targets.index(item) for item in sorted(set(targets))])]
    with torch.no_grad():
        torch.manual_seed(1)
        own_loss = float(built.loss(batch))
        if stage == "pretrain":
            torch.manual_seed(1)
            shorter, length = drop_items(
                batch["item_id_list"], batch["item_length"], SIZES["item_drop_ratio"]
            )
            table = built.train_data._dataset.plm_embedding
            batch.interaction |= {
                "item_id_list_aug": shorter, "item_length_aug": length, "item_emb_list_aug": table(shorter),
                "item_emb_list": table(batch["item_id_list"]), "pos_item_emb": table(batch["item_id"]),
            }  # fmt: skip
            theirs.plm_embedding, theirs.item_embedding = table, None
        loss = float(theirs.calculate_loss(batch))
        scores = theirs.full_sort_predict(batch)[:, 1:]
        own = ours.full_sort_predict(batch)[:, 1:] * SIZES["temperature"]
    return {
        "stage": stage, "scores": float(f"{float((scores - own).abs().max() / scores.abs().max()):.1e}"),
        "loss": float(f"{abs(own_loss - loss) / loss:.1e}"),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--unisrec", type=Path, required=True, help="a clone of UniSRec")
    sys.path.insert(0, str(parser.parse_args().unisrec))
    code = importlib.import_module("unisrec")
    for stage in STAGES:
        print(json.dumps(beside(stage, code)), flush=True)


if __name__ == "__main__":
    main()
