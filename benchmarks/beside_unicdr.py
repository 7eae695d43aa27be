"""Our UniCDR beside its authors' code, with the same weights on the same toy data; one JSON line.

    git clone https://github.com/cjx96/UniCDR
    python benchmarks/beside_unicdr.py --unicdr UniCDR

``scores``, ``loss``, ``contrast``: the largest difference of the scores of users of both domains with the items of
each, of the cross-entropy of a batch and of its contrast, each over the largest value. What was set alike: what is told
of a user is the mean over all of a user's items, in the shared vector over those of the other domain, nothing is masked
or dropped, the other user of the contrast is that of the row before. Theirs are given our batches, a domain at a time.
Nothing of that code is part of this project; it is imported from its clone.
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
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_mm.testing import Built, write_toy

SETTINGS = {"embedding_size": 16, "lambda": 0.4, "mask_ratio": 0.0, "dropout_prob": 0.0, "cl_weight": 0.5}


def with_weights(built: Built, code: Any) -> Any:
    """Their model with our weights; users and items keep their ids in every domain."""
    ours = built.model
    sizes = [ours.n_users] * 2, [ours.n_items - 1] * 2
    theirs = code.UniCDR(
        {"aggregator": "mean", "lambda_a": SETTINGS["lambda"], "latent_dim": SETTINGS["embedding_size"], "dropout": 0.0,
         "num_domains": 2, "task": "dual-user-intra", "user_max": sizes[0], "item_max": sizes[1], "cuda": False}
    )  # fmt: skip
    users = ours.user_id.weight.detach().view(ours.n_users, 2, -1)
    for d in range(2):
        theirs.specific_user_emb_list[d].weight.data = users[:, d].clone()
        theirs.specific_item_emb_list[d].weight.data = ours.item_id.weight.detach().clone()
        theirs.agg_list[d].W_agg.weight.data = ours.own[d].weight.detach()
        theirs.dis_list[d].load_state_dict(ours.critics[d].state_dict())
    theirs.share_user_embedding.weight.data = ours.shared_user_id.weight.detach()
    theirs.agg_list[2].W_agg.weight.data = ours.shared.weight.detach()
    theirs.item_embedding_select()
    return theirs


def taken(built: Built, users: Tensor, domain: int, without: Tensor) -> Tensor:
    """The items of a domain that each user took in training but its row's own, ``[n, t]``, 0 where there are fewer."""
    rows = built.train_data._dataset.inter_feat
    kept = built.model.item_domain[rows["item_id"]] == domain
    owner, items = rows["user_id"][kept], rows["item_id"][kept]
    lists = [
        [item for item in items[owner == user].tolist() if item != own]
        for user, own in zip(users, without.tolist(), strict=True)
    ]
    width = max(1, *map(len, lists))
    return torch.tensor([each + [0] * (width - len(each)) for each in lists])


def user_vectors(built: Built, theirs: Any, domain: int, users: Tensor, without: Tensor) -> Tensor:
    """Theirs ``[n, d]``; what they call global are the items of the other domain."""
    context, others = (taken(built, users, d, without) for d in (domain, 1 - domain))
    shared = torch.zeros(len(users), 2, others.shape[1], dtype=torch.long)
    shared[:, 1 - domain] = others
    found: Tensor = theirs.forward_user(domain, users, context, None, shared, None)
    return found


def beside(code: Any) -> dict[str, Any]:
    """The differences."""
    with tempfile.TemporaryDirectory() as folder:
        built = Built("UniCDR", {**write_toy(Path(folder), (), domains=2), **SETTINGS})
    ours = built.model
    ours.item_id.weight.data[0] = 0.0
    theirs = with_weights(built, code)
    both = (ours.history.count.t() > 0).all(dim=1).nonzero().squeeze(1)
    differences, largest, losses, contrasts, sizes = [], [], [], [], []
    batch = built.batch()
    torch.randint = lambda low, high, size: torch.tensor([high - 1])  # type: ignore[assignment]
    torch.Tensor.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]
    with torch.no_grad():
        for domain in range(2):
            items = (ours.item_domain == domain).nonzero().squeeze(1)
            items = items[items > 0]
            theirs.eval()
            vectors = user_vectors(built, theirs, domain, both, torch.zeros_like(both))
            scores = vectors @ theirs.forward_item(domain, items).t()
            differences.append(float((built.scores(both)[:, items - 1] - scores).abs().max()))
            largest.append(float(scores.abs().max()))
            own = batch[ours.item_domain[batch["item_id"]] == domain]
            theirs.train()
            vectors = user_vectors(built, theirs, domain, own["user_id"], own["item_id"])
            asked = torch.cat([own["item_id"].unsqueeze(1), own["neg_item_id"]], dim=1)
            logits = theirs.predict_dot(vectors, theirs.forward_item(domain, asked))
            labels = torch.zeros_like(logits).index_fill(1, torch.tensor([0]), 1.0)
            losses.append(F.binary_cross_entropy_with_logits(logits, labels))
            contrasts.append(theirs.critic_loss)
            sizes.append(len(own))
        ours.train()
        loss, contrast = ours.calculate_loss(Interaction(batch.interaction))
    share = torch.tensor(sizes) / sum(sizes)
    expected, critics = ((share * torch.stack(each)).sum() for each in (losses, contrasts))
    found = {
        "scores": max(differences) / max(largest), "loss": float((loss - expected).abs() / expected),
        "contrast": float((contrast / SETTINGS["cl_weight"] - critics).abs() / critics),
    }  # fmt: skip
    return {"model": "UniCDR", **{name: float(f"{value:.1e}") for name, value in found.items()}}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--unicdr", type=Path, required=True, help="a clone of UniCDR")
    sys.path.insert(0, str(parser.parse_args().unicdr / "UniCDR"))
    print(json.dumps(beside(importlib.import_module("model.UniCDR"))))


if __name__ == "__main__":
    main()
