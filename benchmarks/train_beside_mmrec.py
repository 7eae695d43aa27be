"""Ours and MMRec's model of the same name trained, each by its own trainer, on the same rows; one JSON line a model.

    PYTHONPATH=pyg python benchmarks/train_beside_mmrec.py --mmrec MMRec --data dataset --modality modality \
        [--dataset ml-100k] [--models FREEDOM,BM3] [--epochs 15] [--seeds 3]

See beside_mmrec.py for MMRec and what it needs. Both have the same split, vectors, batches, learning rate, budget and
hyper-parameters; the epoch that is best on validation counts; training items alone are masked, as MMRec does. Each code
is left as it is: MMRec trains the vectors of the items too, and its models differ where our docstrings say so.
``ours``, ``theirs``: means of the test's NDCG@20 over the seeds; ``difference`` with Welch's 95 % ``interval``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from beside_mmrec import Settings, import_theirs
from scipy.stats import ttest_ind

from recbole_mm.modality import ModalityStore
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec

METRIC = "ndcg@20"
#: as properties/model has them, by the names of MMRec
THEIRS: dict[str, dict[str, Any]] = {
    "LightGCN": {"n_layers": 2, "reg_weight": 1e-4, "is_multimodal_model": False},
    "VBPR": {"reg_weight": 1e-4},
    "FREEDOM": {"dropout": 0.8, "reg_weight": 1e-3, "n_ui_layers": 2},
    "BM3": {"n_layers": 1, "dropout": 0.3, "reg_weight": 0.1},
    "LATTICE": {"reg_weight": 1e-4, "learning_rate_scheduler": [1.0, 50], "weight_size": [64, 64]},
    "MGCN": {"cl_loss": 0.01, "reg_weight": 1e-4, "learning_rate_scheduler": [1.0, 50]},
    "LGMRec": {
        "n_ui_layers": 2, "n_mm_layers": 2, "n_hyper_layer": 1, "hyper_num": 4, "keep_rate": 0.5, "alpha": 0.3,
        "cl_weight": 1e-4, "reg_weight": 1e-6,
    },
    "SLMRec": {"reg": 1e-4, "ssl_alpha": 0.1, "ssl_temp": 0.2, "weight_decay": 0.0},
    "SMORE": {
        "n_ui_layers": 3, "image_knn_k": 10, "text_knn_k": 10, "reg_weight": 1e-4, "dropout_rate": 0.0,
        "learning_rate_scheduler": [1.0, 50],
    },
    "DRAGON": {"aggr_mode": "add", "reg_weight": 1e-4, "user_graph_dict_file": "users.npy"},
    "MMGCN": {"reg_weight": 1e-4},
    "GRCN": {"reg_weight": 1e-4},
}  # fmt: skip
#: of ours, where its own differ from what MMRec has no key for
OURS: dict[str, dict[str, Any]] = {"LightGCN": {"embedding_size": 64, "n_layers": 2, "reg_weight": 1e-4}}
#: how many neighbours of a user DRAGON chooses from
NEIGHBOURS = 200


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What both have."""
    return {
        "learning_rate": arguments.learning_rate, "train_batch_size": 2048, "epochs": arguments.epochs,
        "stopping_step": arguments.epochs, "eval_step": 1, "eval_batch_size": 4096, "use_gpu": False,
    }  # fmt: skip


def ours(name: str, seed: int, modality: Path, arguments: argparse.Namespace) -> Session:
    """A session that evaluates as MMRec does, with the vectors below ``modality``."""
    given = {
        **settings(arguments), **OURS.get(name, {}), "data_path": arguments.data, "modality_path": str(modality),
        "protocol": "mmrec", "mask_seen": "train", "valid_metric": METRIC.upper(), "topk": [20],
        "metrics": ["NDCG", "Recall"], "show_progress": False,
    }  # fmt: skip
    return Session.build(RunSpec(name, arguments.dataset, given, seed=seed))


def write(session: Session, folder: Path) -> None:
    """The rows, the vectors and DRAGON's neighbours in MMRec's form; its ids start at 0. The vectors for ours, too.

    An item without one gets a drawn one, in both: means, which are near every item, would be the nearest of all.
    """
    rng = np.random.default_rng(1)
    loaders = session.train_data, session.valid_data, session.test_data
    frames = []
    for part, loader in enumerate(loaders):
        rows = loader._dataset.inter_feat
        frames.append(
            pd.DataFrame(
                {"user": rows["user_id"].numpy() - 1, "item": rows["item_id"].numpy() - 1, "x_label": part}
            )
        )
    pd.concat(frames).to_csv(folder / "same.inter", sep="\t", index=False)
    features = session.model.features
    for modality in features.names:
        vectors = features(modality, torch.arange(1, session.dataset.item_num)).numpy()
        there = features.present[1:, features.names.index(modality)].numpy()
        known = vectors[there]
        vectors[~there] = rng.normal(
            known.mean(axis=0), known.std(axis=0), (int((~there).sum()), known.shape[1])
        )
        np.save(folder / f"{modality}.npy", vectors)
        tokens = session.dataset.id2token(session.dataset.iid_field, np.arange(1, session.dataset.item_num))
        target = folder / "modality" / session.config["dataset"] / modality
        ModalityStore.write(target, vectors, tokens, modality=modality, encoder="none")
    taken = np.zeros((session.dataset.user_num - 1, session.dataset.item_num - 1), dtype=np.float32)
    taken[frames[0]["user"], frames[0]["item"]] = 1
    common = taken @ taken.T
    np.fill_diagonal(common, 0)
    order = np.argsort(-common, axis=1, kind="stable")[:, :NEIGHBOURS]
    nearest = {
        user: [near[common[user, near] > 0].tolist(), common[user, near[common[user, near] > 0]].tolist()]
        for user, near in enumerate(order)
    }
    np.save(folder / "users.npy", nearest, allow_pickle=True)  # type: ignore[arg-type]


def theirs(name: str, seed: int, folder: Path, arguments: argparse.Namespace) -> float:
    """The test's figure of a run of MMRec's trainer."""
    tools = {part: importlib.import_module(f"utils.{part}") for part in ("dataset", "dataloader", "utils")}
    configs = arguments.mmrec / "src" / "configs"
    found: dict[str, Any] = {}
    for file in (configs / "overall.yaml", configs / "model" / f"{name}.yaml"):
        found |= yaml.safe_load(file.read_text())
    found |= {
        "model": name, "dataset": folder.name, "data_path": f"{folder.parent}/", "inter_file_name": "same.inter",
        "USER_ID_FIELD": "user", "ITEM_ID_FIELD": "item", "vision_feature_file": "image.npy",
        "text_feature_file": "text.npy", "device": "cpu", "valid_metric": METRIC.upper(), "valid_metric_bigger": True,
        "metrics": ["Recall", "NDCG"], "topk": [20], "seed": seed, "save_recommended_topk": False,
        **settings(arguments), **THEIRS[name],
    }  # fmt: skip
    config = Settings(found)
    tools["utils"].init_seed(seed)
    whole = tools["dataset"].RecDataset(config)
    str(whole)  # counts the rows, which its loader reads
    parts = whole.split()
    for part in parts:
        str(part)
    loaders = [tools["dataloader"].TrainDataLoader(config, parts[0], batch_size=2048, shuffle=True)]
    loaders += [
        tools["dataloader"].EvalDataLoader(config, part, additional_dataset=parts[0], batch_size=4096)
        for part in parts[1:]
    ]
    loaders[0].pretrain_setup()
    model = getattr(importlib.import_module(f"models.{name.lower()}"), name)(config, loaders[0])
    if name == "DRAGON":
        del model.result_embed  # a parameter, which only a GPU makes none of
    trainer = importlib.import_module("common.trainer").Trainer(config, model)
    *_, test = trainer.fit(
        loaders[0], valid_data=loaders[1], test_data=loaders[2], saved=False, verbose=False
    )
    return float(test[METRIC])


def beside(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Both, under each seed."""
    found: dict[str, list[float]] = {"ours": [], "theirs": []}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text) / "same"
        folder.mkdir()
        # a model that reads every modality, so that all are written
        write(ours("VBPR", 1, Path(arguments.modality), arguments), folder)
        for seed in range(1, arguments.seeds + 1):
            result = ours(name, seed, folder / "modality", arguments).run()
            found["ours"].append(result.record["test_result"][METRIC])
            found["theirs"].append(theirs(name, seed, folder, arguments))
    test = ttest_ind(found["ours"], found["theirs"], equal_var=False)
    interval = test.confidence_interval()
    means = {key: float(np.mean(values)) for key, values in found.items()}
    return {
        "model": name, **{key: round(value, 4) for key, value in means.items()},
        "difference": round(means["ours"] - means["theirs"], 4),
        "interval": [round(float(interval.low), 4), round(float(interval.high), 4)],
        "values": {key: [round(v, 4) for v in values] for key, values in found.items()},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mmrec", type=Path, required=True, help="a clone of MMRec")
    parser.add_argument("--data", default="dataset")
    parser.add_argument("--modality", default="modality")
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--models", default=",".join(THEIRS))
    parser.add_argument("--learning-rate", type=float, default=0.003)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    import_theirs(arguments.mmrec)
    for module in ("matplotlib", "matplotlib.pyplot"):  # its trainer could draw its losses
        sys.modules.setdefault(module, types.ModuleType(module))
    for name in arguments.models.split(","):
        print(json.dumps(beside(name, arguments)), flush=True)


if __name__ == "__main__":
    main()
