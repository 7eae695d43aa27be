"""What a search and a distributed training cost; one JSON line a case.

``python benchmarks/tune.py CASE [--epochs 30] [--samples N] [--dataset ml-100k]``

- ``asha``: 12 trials of BPR with ASHA and without; ``epochs_saved`` and ``lost`` (of the best validation) are shares.
- ``wall``: 4 trials on Ray; ``ratio`` is the time of the search over the sum of the trials' own time divided by how
  many ran at once.
- ``workers``: the loss curve of 2 workers against 1 with the same global batch, without sampling and dropout (GRU4Rec
  on windows); ``relative`` is the largest difference.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from recbole_mm.config import Config
from recbole_mm.quick_start.cluster import connected
from recbole_mm.quick_start.distributed import Group, run_distributed
from recbole_mm.quick_start.search.method import Method
from recbole_mm.quick_start.session import Session
from recbole_mm.quick_start.tune import tune

SPACE = (
    "learning_rate: {loguniform: [0.0003, 0.03]}\nembedding_size: [16, 32, 64]\ntrain_batch_size: [1024]\n"
)


def searched(args: argparse.Namespace, folder: Path, name: str, scheduler: str, samples: int) -> Any:
    space = folder / "space.yaml"
    space.write_text(SPACE)
    settings = {"epochs": args.epochs, "stopping_step": args.epochs}
    method = Method("ray", "random", {"scheduler": scheduler})
    began = time.perf_counter()
    found = tune(
        "BPR", args.dataset, samples, space=space, out=folder / name, config_dict=settings, method=method
    )  # fmt: skip
    return found, time.perf_counter() - began


def asha(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    pruned, _ = searched(args, folder, "asha", "asha", args.samples or 12)
    whole, _ = searched(args, folder, "none", "none", args.samples or 12)
    best = [found.best["best_valid_score"] for found in (pruned, whole)]
    return {
        "epochs": [pruned.epochs, whole.epochs],
        "epochs_saved": round(1 - pruned.epochs / whole.epochs, 3),
        "best": best,
        "lost": round(1 - best[0] / best[1], 4),
    }


def wall(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    found, _ = searched(args, folder, "wall", "none", args.samples or 4)
    at_once = min(len(os.sched_getaffinity(0)), len(found.trials))
    alone = sum(trial["seconds"] for trial in found.trials) / at_once
    took = found.how["search_seconds"]
    return {
        "seconds": took,
        "of_the_trials": round(alone, 1),
        "at_once": at_once,
        "ratio": round(took / alone, 3),
    }


def workers(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    given = {
        "epochs": args.epochs, "loss_type": "CE", "dropout_prob": 0.0, "train_neg_sample_args": None,
        "train_sequences": "shifted", "checkpoint_dir": str(folder / "saved"), "show_progress": False,
    }  # fmt: skip
    config = Config("GRU4Rec", args.dataset, config_dict=given)
    alone = Session.build(config.spec).run(show_progress=False)
    shared = run_distributed(Config("GRU4Rec", args.dataset, config_dict=given), Group(2)).result()
    curves = [[each["loss"] for each in run.history] for run in (alone, shared)]
    relative = max(abs(a - b) / abs(a) for a, b in zip(*curves, strict=True))
    test = [run.record["test_result"] for run in (alone, shared)]
    return {"relative": relative, "epochs": len(curves[0]), "test": test}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=("asha", "wall", "workers"))
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--samples", type=int)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, connected(None):
        found = {"asha": asha, "wall": wall, "workers": workers}[args.case](args, Path(folder))
    print(json.dumps({"case": args.case, "dataset": args.dataset, **found}))


if __name__ == "__main__":
    main()
