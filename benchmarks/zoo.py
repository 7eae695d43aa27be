"""An epoch of ours beside one of MMRec's, same data and sizes, its own loader; one JSON line a model.

    PYTHONPATH=pyg python benchmarks/zoo.py --mmrec MMRec --data dataset --modality modality [--dataset hm]
    python benchmarks/zoo.py --memory [--models GRCN,FREEDOM]

See beside_mmrec.py for MMRec and what it needs. ``ratio_mmrec``: seconds of MMRec's epoch over ours, medians of epochs
taken in turn, negatives drawn and weights stepped. It trains the features as well, as it does by default; ours do not.

``--memory``: ``peak_mib`` of a process that builds a model of ours over 100,000 items with 512 numbers each, 20,000
users and 400,000 rows, and takes three steps; ``before_mib`` before the model. Nearest neighbours are drawn here:
neighbours.py measures their search.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch
from beside_mmrec import THEIRS, Settings, import_theirs

from recbole_mm.layer import item_graph
from recbole_mm.layer.loss import total
from recbole_mm.modality import ModalityStore
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec

#: settings of MMRec's form beside those of beside_mmrec.py; ours have the same
CASES: dict[str, dict[str, Any]] = {
    "LightGCN": {"reg_weight": 1e-4, "is_multimodal_model": False},
    "FREEDOM": {"reg_weight": 1e-3, "dropout": 0.8, "knn_k": 10},
    "BM3": {"reg_weight": 0.1, "dropout": 0.3, "cl_weight": 2.0, "n_layers": 1, "use_neg_sampling": False},
}
SIZE = 2048
ITEMS, USERS, ROWS = 100_000, 20_000, 400_000
#: further models whose memory is measured
MORE = ("LATTICE", "MGCN", "LGMRec", "SLMRec", "SMORE", "DRAGON", "MMGCN", "GRCN")


def theirs_of(name: str, made: Session, folder: Path) -> tuple[Any, Any]:
    """MMRec's model and loader over the training rows of ``made``."""
    dataset = made.train_data._dataset
    rows = dataset.inter_feat
    frame = pd.DataFrame(
        {"user": rows["user_id"].numpy() - 1, "item": rows["item_id"].numpy() - 1, "part": 0}
    )
    (folder / "toy").mkdir(exist_ok=True)
    frame.to_csv(folder / "toy" / "toy.inter", sep="\t", index=False)
    for modality in made.model.features.names if hasattr(made.model, "features") else ():
        vectors = made.model.features(modality, torch.arange(1, dataset.item_num))
        np.save(folder / "toy" / f"{modality}.npy", vectors.numpy())
    given = {
        "data_path": f"{folder}/", "inter_file_name": "toy.inter", "inter_splitting_label": "part",
        "field_separator": "\t", "use_neg_sampling": True, "train_batch_size": SIZE, **CASES[name],
    }  # fmt: skip
    config = Settings(THEIRS, **given)
    whole = importlib.import_module("utils.dataset").RecDataset(config)
    whole.item_num, whole.user_num = dataset.item_num - 1, dataset.user_num - 1
    str(whole)  # counts the rows, which its loader reads
    loader = importlib.import_module("utils.dataloader").TrainDataLoader(
        config, whole, batch_size=SIZE, shuffle=True
    )
    model = getattr(importlib.import_module(f"models.{name.lower()}"), name)(config, loader)
    return model, loader


def their_epoch(model: Any, loader: Any, optimizer: torch.optim.Optimizer) -> None:
    """As its trainer goes."""
    model.train()
    model.pre_epoch_processing()
    for batch in loader:
        optimizer.zero_grad()
        loss = model.calculate_loss(batch)
        loss.item()
        loss.backward()
        optimizer.step()


def seconds(epoch: Any, *given: Any) -> float:
    start = time.perf_counter()
    epoch(*given)
    return time.perf_counter() - start


def beside(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The times of epochs taken in turn."""
    given = {
        "data_path": arguments.data, "modality_path": arguments.modality, "train_batch_size": SIZE, "use_gpu": False,
        "show_progress": False, "embedding_size": 64, "n_layers": CASES[name].get("n_layers", 2),
        "loader": arguments.loader,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        made = Session.build(RunSpec(name, arguments.dataset, given, seed=1))
        model, loader = theirs_of(name, made, Path(folder))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        made.model.train()
        ours, theirs = [], []
        for epoch in range(arguments.epochs + 1):
            ours.append(seconds(made.trainer._train_epoch, made.train_data, epoch))
            theirs.append(seconds(their_epoch, model, loader, optimizer))
    mean = median(ours[1:]), median(theirs[1:])
    return {"model": name, "seconds": round(mean[0], 2), "ratio_mmrec": round(mean[1] / mean[0], 2)}


def memory(name: str) -> dict[str, Any]:
    """In this process."""
    rng = np.random.default_rng(1)
    item_graph.nearest_neighbours = drawn_neighbours
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        tokens = np.char.add("i", np.arange(ITEMS).astype(str))
        vectors = rng.standard_normal((ITEMS, 512), dtype=np.float32)
        ModalityStore.write(folder / "modality/many/text", vectors, tokens, modality="text", encoder="none")
        del vectors
        taken = np.concatenate([np.arange(ITEMS), rng.integers(ITEMS, size=ROWS - ITEMS)])
        (folder / "many").mkdir()
        frame = pd.DataFrame({"user_id:token": np.arange(ROWS) % USERS, "item_id:token": tokens[taken]})
        frame.to_csv(folder / "many/many.inter", sep="\t", index=False)
        given = {
            "data_path": text, "modality_path": f"{text}/modality", "modalities": ["text"], "train_batch_size": SIZE,
            "split": {"random": [0.8, 0.1, 0.1]}, "use_gpu": False, "show_progress": False,
        }  # fmt: skip
        del frame, taken, tokens
        before = peak_mib()
        made = Session.build(RunSpec(name, "many", given, seed=1))
        made.model.train()
        for _, batch in zip(range(3), made.train_data, strict=False):
            made.trainer.optimizer.zero_grad()
            total(made.model.calculate_loss(batch)).backward()
            made.trainer.optimizer.step()
    return {"model": name, "before_mib": before, "peak_mib": peak_mib()}


def drawn_neighbours(vectors: torch.Tensor, k: int, approximate: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """In the place of `nearest_neighbours`: ids and cosines ``[n, k]``, drawn."""
    generator = torch.Generator().manual_seed(1)
    shape = len(vectors), k
    return torch.randint(len(vectors), shape, generator=generator), torch.rand(shape, generator=generator)


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mmrec", type=Path, help="a clone of MMRec")
    parser.add_argument("--memory", action="store_true", help="the memory of ours alone")
    parser.add_argument("--data", default="dataset")
    parser.add_argument("--modality", default="modality")
    parser.add_argument("--dataset", default="hm")
    parser.add_argument("--models")
    parser.add_argument("--loader", default="recbole")
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    names = arguments.models.split(",") if arguments.models else [*CASES, *(MORE if arguments.memory else ())]
    if arguments.memory and len(names) > 1:  # a process each
        for name in names:
            subprocess.run([sys.executable, __file__, "--memory", "--models", name], check=True)
        return
    if not arguments.memory and arguments.mmrec is None:
        parser.error("--mmrec or --memory")
    if not arguments.memory:
        import_theirs(arguments.mmrec)
    for name in names:
        print(json.dumps(memory(name) if arguments.memory else beside(name, arguments)), flush=True)


if __name__ == "__main__":
    main()
