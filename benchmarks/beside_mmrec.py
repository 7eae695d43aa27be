"""Our models beside MMRec's of the same name, with the same weights on the same toy data; one JSON line a model.

    git clone https://github.com/enoche/MMRec
    pip install --no-deps --target pyg torch_geometric lmdb xxhash aiohttp fsspec   # what it imports, in a folder apart
    PYTHONPATH=pyg python benchmarks/beside_mmrec.py --mmrec MMRec [--models FREEDOM,BM3]

``scores``, ``loss``, ``gradient``: the largest difference of the scores of all users and items, of the loss of a batch,
and of its gradients by the parameters that both have, each over the largest value. ``settled``: what had to be set
alike first, in which the two differ on purpose (the model's docstring).
Nothing of MMRec is part of this project; its code is imported from where it was cloned to.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from scipy.sparse import coo_matrix, dok_matrix
from torch import Tensor

from recbole_mm.testing import Built, write_toy

WIDTH, BATCH, NEAREST = 64, 24, 5
#: of every model of MMRec
THEIRS: dict[str, Any] = {
    "USER_ID_FIELD": "user", "ITEM_ID_FIELD": "item", "NEG_PREFIX": "neg_", "device": "cpu", "end2end": False,
    "is_multimodal_model": True, "dataset": "toy", "vision_feature_file": "image.npy",
    "text_feature_file": "text.npy", "train_batch_size": BATCH, "embedding_size": WIDTH, "feat_embed_dim": WIDTH,
    "cf_model": "lightgcn", "knn_k": NEAREST, "mm_image_weight": 0.1, "n_layers": 2, "n_mm_layers": 1,
    "n_ui_layers": 2, "weight_size": [WIDTH, WIDTH], "reg_weight": 0.01, "dropout": 0.0,
}  # fmt: skip
IDS = {"user_embedding.weight": "ids.user.weight", "item_id_embedding.weight": "ids.item.weight"}


def linear(theirs: str, ours: str, bias: bool = True) -> dict[str, str]:
    """The names of a linear map's parameters."""
    return {f"{theirs}.{part}": f"{ours}.{part}" for part in ["weight", *["bias"] * bias]}


@dataclass
class Case:
    """How a model of MMRec and ours of that name are made equal.

    Attributes:
        weights: by the name of their parameter, that of ours.
        ours, theirs: settings that only this model needs.
        prepare: called with (theirs, ours) once the weights are there.
        settled: the differences that ``ours``, ``theirs`` and ``prepare`` take away.
    """

    weights: dict[str, str]
    ours: dict[str, Any] = field(default_factory=dict)
    theirs: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[Any, Any], None] = lambda theirs, ours: None
    settled: str = ""


def both(theirs: str, ours: str) -> dict[str, str]:
    """Linear maps of text and image: {name} is text or image, {short} t or v, {k} the place in ours."""
    found: dict[str, str] = {}
    for k, (name, short) in enumerate((("text", "t"), ("image", "v"))):
        found |= linear(theirs.format(name=name, short=short), ours.format(name=name, k=k))
    return found


def without_padding_row(theirs: Any, ours: Any) -> None:
    """Ours has rows for [PAD], which BM3's norm of all vectors counts."""
    for table in (ours.ids.user, ours.ids.item):
        table.weight.data[0] = 0


def symmetric_edges(theirs: Any, ours: Any) -> None:
    """LightGCN's weights of the edges."""
    pairs = ours.ids.pairs.numpy() - 1
    size = theirs.n_users + theirs.n_items
    edges = np.concatenate(
        [[pairs[0], pairs[1] + theirs.n_users], [pairs[1] + theirs.n_users, pairs[0]]], axis=1
    )
    degree = np.bincount(edges[0], minlength=size).clip(min=1)
    weight = torch.tensor(1 / np.sqrt(degree[edges[0]] * degree[edges[1]]), dtype=torch.float32)
    theirs.norm_adj = torch.sparse_coo_tensor(torch.from_numpy(edges), weight, (size, size))


def dragon_users(theirs: Any, ours: Any) -> None:
    """The users' vectors, and their graph as ours has it: theirs draws some again where there are too few."""
    image, text = ours.user_preference.weight.detach()[1:].chunk(2, dim=1)
    theirs.v_gcn.preference.data, theirs.t_gcn.preference.data = image.clone(), text.clone()
    theirs.weight_u.data = ours.user_share.weight.detach()[1:].unsqueeze(2)
    del theirs.result_embed  # a parameter, which only a GPU makes none of
    n = theirs.n_users
    dense = torch.eye(n + 1)
    shares = ours.user_graph(dense).detach()[1:, 1:]
    theirs.epoch_user_graph = [list(range(n)) for _ in range(n)]
    theirs.user_weight_matrix = shares
    theirs.pre_epoch_processing = lambda: None


def elementwise(theirs: Any, ours: Any) -> None:
    """MMGCN without concatenation: [W_3, 1] of [h, x̂]; no biases; its ids and preferences are no parameters."""
    ids = ours.node.weight.detach()
    users, items = ids[1 : ours.n_users], ids[ours.n_users + 1 :]
    theirs.id_embedding = torch.cat([users, items])
    branch, net = ours.branches["image"], theirs.v_gcn
    net.preference = branch.user_preference.weight.detach()[1:]
    for depth, maps in enumerate(branch.maps, start=1):
        heard, own, together = (each.weight.detach() for each in maps)
        getattr(net, f"conv_embed_{depth}").weight.data = heard.t().clone()
        getattr(net, f"linear_layer{depth}").weight.data = own
        getattr(net, f"linear_layer{depth}").bias.data.zero_()
        joined = getattr(net, f"g_layer{depth}")
        joined.weight.data = torch.cat([together, torch.eye(len(together))], dim=1)
        joined.bias.data.zero_()


def grcn_ids(theirs: Any, ours: Any) -> None:
    """One table of theirs for users and items."""
    theirs.id_gcn.id_embedding.data = torch.cat([ours.user_id.weight[1:], ours.item_id.weight[1:]]).detach()
    # theirs: image, text
    confidence = [each.weight.detach()[1:].flip(1) for each in ours.confidence.values()]
    theirs.model_specific_conf.data = torch.cat(confidence)


def lgmrec_maps(theirs: Any, ours: Any) -> None:
    """Theirs are applied from the right, and there is no Gumbel noise."""
    F.gumbel_softmax = lambda logits, tau=1.0, hard=False, dim=-1: F.softmax(logits / tau, dim)  # type: ignore[assignment]
    for k, (name, short) in enumerate((("image", "v"), ("text", "t"))):  # theirs contrasts in this order
        getattr(theirs, f"item_{name}_trs").data = ours.local[k].weight.detach().t().clone()
        getattr(theirs, f"{short}_hyper").data = ours.hyper[k].weight.detach().t().clone()


def smore_filters(theirs: Any, ours: Any) -> None:
    """Theirs have a row for a batch."""
    for name, each in zip(("text", "image", "fusion"), ours.filters, strict=True):
        getattr(theirs, f"{name}_complex_weight").data = each.weight.detach()[None].clone()


ATTENTION = {**linear("query_common.0", "attention.0"), "query_common.2.weight": "attention.2.weight"}
CASES: dict[str, Case] = {
    "FREEDOM": Case(
        {**IDS, **both("{name}_trs", "projections.{name}")},
        ours={"modal_weight": 0.01, "drop_ratio": 0.0}, settled="no edge left out",
    ),
    "BM3": Case(
        {**IDS, **both("{name}_trs", "projections.{name}"), **linear("predictor", "predictor")},
        ours={"dropout_prob": 0.0, "n_layers": 2, "reg_weight": 0.01 * 31 / 30},
        theirs={"cl_weight": 2.0},
        prepare=without_padding_row, settled="no dropout; the norms' divisor, which counts [PAD]",
    ),
    "LATTICE": Case(
        IDS, ours={"frozen_share": 1.0}, theirs={"lambda_coeff": 1.0, "n_layers": 1},
        prepare=symmetric_edges, settled="the learned graphs off; weights of the edges",
    ),
    "MGCN": Case(
        {
            **IDS, **ATTENTION,
            **both("{name}_trs", "purifiers.{k}.0"), **both("gate_{short}.0", "purifiers.{k}.1"),
            **both("gate_{name}_prefer.0", "preferences.{k}.0"),
        },
        theirs={"cl_loss": 0.01, "n_layers": 1},
    ),
    "LGMRec": Case(
        IDS,
        ours={"modalities": ["image", "text"], "n_modal_layers": 1, "dropout_prob": 0.0, "reg_weight": 0.0,
              "cl_weight": 0.01},
        theirs={"n_hyper_layer": 1, "hyper_num": 4, "keep_rate": 1.0, "alpha": 0.3, "cl_weight": 0.01,
                "reg_weight": 0.0},
        prepare=lgmrec_maps, settled="no Gumbel noise, no dropout, no L2",
    ),
    "SLMRec": Case(
        {
            "embedding_user.weight": "ids.user.weight", "embedding_item.weight": "ids.item.weight",
            **linear("v_dense", "projections.image"), **linear("t_dense", "projections.text"),
            **linear("embedding_user_after_GCN", "user_fusion"), **linear("embedding_item_after_GCN", "item_fusion"),
        },
        ours={"cl_weight": 0.0, "n_layers": 2, "modalities": ["image", "text"]},
        theirs={"recdim": WIDTH, "layer_num": 2, "mm_fusion_mode": "concat", "temp": 0.2, "ssl_task": "FAC",
                "ssl_alpha": 0.0, "ssl_temp": 0.2, "init": "xavier", "adj_type": "pre"},
        settled="the second contrast off; the sigmoid of their scores undone",
    ),
    "SMORE": Case(
        {
            **IDS, **both("{name}_trs", "projections.{k}"), **both("gate_{short}.0", "gates.{k}.0"),
            **linear("gate_f.0", "gates.2.0"),
            **both("gate_{name}_prefer.0", "preferences.{k}.0"), **linear("gate_fusion_prefer.0", "preferences.2.0"),
            **both("query_{short}.0", "queries.{k}.0"),
            "query_t.2.weight": "queries.0.2.weight", "query_v.2.weight": "queries.1.2.weight",
        },
        ours={"n_layers": 2},
        theirs={"cl_loss": 0.01, "image_knn_k": NEAREST, "text_knn_k": NEAREST, "dropout_rate": 0.0, "n_layers": 1},
        prepare=smore_filters,
    ),
    "DRAGON": Case(
        {
            **both("{short}_gcn.MLP", "projections.{name}.0"), **both("{short}_gcn.MLP_1", "projections.{name}.2"),
        },
        ours={"modalities": ["image", "text"], "reg_weight": 0.0, "user_graph_k": 40},
        theirs={"aggr_mode": "add", "user_graph_dict_file": "users.npy", "reg_weight": 0.0},
        prepare=dragon_users,
        settled="the users' graph where someone has fewer than k, no L2, BPR's logarithm (theirs: base 2)",
    ),
    "MMGCN": Case(
        linear("v_gcn.MLP", "projections.image"),
        ours={"modalities": ["image"], "latent_dimension": 256, "n_layers": 3, "reg_weight": 0.0},
        theirs={"text_feature_file": "none", "reg_weight": 0.0},
        prepare=elementwise, settled="one modality, three layers, no biases, element-wise combination, no L2",
    ),
    "GRCN": Case(
        {
            "t_gcn.preference": "user_preference.text.weight", "v_gcn.preference": "user_preference.image.weight",
            **both("{short}_gcn.MLP", "projections.{name}"),
        },
        ours={"n_routing": 0, "reg_weight": 0.0, "n_layers": 2}, theirs={"latent_embedding": WIDTH, "n_layers": 3,
                                                                      "reg_weight": 0.0},
        prepare=grcn_ids, settled="no routing (theirs sends its messages to items), no L2",
    ),
}  # fmt: skip


class Settings(dict[str, Any]):
    """None for what is not set."""

    def __missing__(self, key: str) -> None:
        return None


class Pairs:
    """What MMRec's models ask of a data loader and its data set, whose ids start at 0."""

    def __init__(self, users: np.ndarray, items: np.ndarray, n_users: int, n_items: int):
        ones = np.ones(len(users))
        self.matrix = coo_matrix((ones, (users, items)), shape=(n_users, n_items))
        self.dataset = self

    def get_user_num(self) -> int:
        return int(self.matrix.shape[0])

    def get_item_num(self) -> int:
        return int(self.matrix.shape[1])

    def inter_matrix(self, form: str = "coo") -> Any:
        return self.matrix.asformat(form)


def import_theirs(folder: Path) -> None:
    """Let ``models.x`` be imported, on this machine and with today's libraries."""
    sys.path.insert(0, str(folder / "src"))
    torch.Tensor.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]
    if not hasattr(dok_matrix, "_update"):
        dok_matrix._update = lambda self, pairs: self._dict.update(pairs)
    scatter = types.ModuleType("torch_scatter")

    def scatter_add(src: Tensor, index: Tensor, dim: int, dim_size: int) -> Tensor:
        return src.new_zeros(dim_size).index_add(dim, index, src)

    scatter.scatter_add = scatter.scatter = scatter_add  # type: ignore[attr-defined]
    sys.modules.setdefault("torch_scatter", scatter)


def without_padding(ours: Tensor, theirs: Tensor) -> Tensor:
    """``ours`` without the row of [PAD], where it has one more."""
    return ours[1:] if len(theirs) == len(ours) - 1 else ours


def largest_difference(
    weights: dict[str, str], known: dict[str, Any], own: dict[str, Any], theirs: Tensor, ours: Tensor
) -> float:
    """Of the gradients of parameters that both have, over the largest of all."""
    wanted = [(known[target], own[source]) for target, source in weights.items()]
    found = (
        torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        for loss, parameters in zip((theirs, ours), zip(*wanted, strict=True), strict=True)
    )
    pairs = [(a, without_padding(b, a)) for a, b in zip(*found, strict=True)]
    largest = max(a.abs().max() for a, _ in pairs)
    return float(max((a - b).abs().max() for a, b in pairs) / largest)


def beside(name: str, case: Case) -> dict[str, Any]:
    """Both models with the same weights: the largest differences of scores and of a loss."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        given = {**write_toy(folder, missing=0.0), "graph_k": NEAREST, "reg_weight": 0.01, **case.ours}
        made = Built(name, given)
        ours, dataset = made.model, made.train_data._dataset
        n_users, n_items = ours.n_users - 1, ours.n_items - 1
        for modality in ours.features.names:
            vectors = ours.features(modality, torch.arange(1, ours.n_items))
            np.save(folder / "toy" / f"{modality}.npy", vectors.numpy())
        np.save(folder / "toy" / "users.npy", {u: [[], []] for u in range(n_users)}, allow_pickle=True)  # type: ignore[arg-type]
        rows = dataset.inter_feat
        pairs = Pairs(rows["user_id"].numpy() - 1, rows["item_id"].numpy() - 1, n_users, n_items)
        config = Settings(THEIRS, **{"data_path": f"{folder}/", **case.theirs})
        theirs = getattr(importlib.import_module(f"models.{name.lower()}"), name)(config, pairs)
    known, own = dict(theirs.named_parameters()), dict(ours.named_parameters())
    for target, source in case.weights.items():
        known[target].data = without_padding(own[source].detach(), known[target]).clone()
    case.prepare(theirs, ours)
    rng = torch.Generator().manual_seed(1)
    users, items, negatives = (
        1 + torch.randperm(n, generator=rng)[:BATCH] for n in (n_users, n_items, n_items)
    )
    theirs.pre_epoch_processing()
    asked = torch.stack([users, items, negatives]) - 1
    their_loss = theirs.calculate_loss(asked.clone()) * (np.log(2) if name == "DRAGON" else 1)
    batch = Interaction({"user_id": users, "item_id": items, "neg_item_id": negatives.unsqueeze(1)})
    ours.train()
    our_loss = made.loss(batch)
    gradient = largest_difference(case.weights, known, own, theirs=their_loss, ours=our_loss)
    loss, own_loss = their_loss.item(), our_loss.item()
    every = torch.arange(n_users)
    with torch.no_grad():
        theirs.eval()
        scores = theirs.full_sort_predict([every, every])
    scores = torch.logit(scores) if name == "SLMRec" else scores
    difference = (made.scores(every + 1) - scores).abs().max() / scores.abs().max()
    return {
        "model": name, "scores": float(f"{float(difference):.1e}"),
        "loss": float(f"{abs(own_loss - loss) / abs(loss):.1e}"), "gradient": float(f"{gradient:.1e}"),
        "settled": case.settled,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mmrec", type=Path, required=True, help="a clone of MMRec")
    parser.add_argument("--models", default=",".join(CASES))
    arguments = parser.parse_args()
    import_theirs(arguments.mmrec)
    for name in arguments.models.split(","):
        print(json.dumps(beside(name, CASES[name])), flush=True)


if __name__ == "__main__":
    main()
