"""Time of a training epoch against RecBole's own and against a bare loop over ready tensors, all in one run.

    python benchmarks/train.py [--cases BPR,…] [--loaders recbole,fast] [--turns 3] [--hm FOLDER] [--skip-recbole]

One JSON line a case: model, loader, ratio_recbole (RecBole's time / ours; null for our models), ratio_bare (ours /
bare), peak_mib (memory of our epoch above that before it). Bare is the same model's ``calculate_loss`` and an
optimiser's step over the batches of an epoch that lie ready. CPU time of the process, the best of ``turns`` turns in
which each contender works once. BPR, LightGCN, NeuMF and VBPR train on 6,000 users, 3,700 items and 780,000 rows drawn
at random, CMC on H&M (FOLDER: ``hm-week`` of the shared data).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import in_turns, peak_above

import recbole_mm  # noqa: F401  (before recbole)
from recbole_mm.cli import main as command
from recbole_mm.layer.loss import total
from recbole_mm.modality import ModalityStore
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec

USERS, ITEMS, ROWS, WIDTH = 6_000, 3_700, 780_000, 64
# LightGCN passes its graph once a step: batches of 2,048 would take minutes an epoch
CASES: dict[str, dict[str, Any]] = {
    "BPR": {},
    "LightGCN": {"train_batch_size": 16384},
    "NeuMF": {},
    "VBPR": {},
    "CMC": {},
}
HM_STORES = {"text": "text_minilm_384.npy", "image": "image_efficientnet_lite0_1280.npy"}


def write_random(folder: Path) -> None:
    """The random set and a store of random vectors."""
    rng = np.random.default_rng(0)
    pairs = np.sort(rng.choice(USERS * ITEMS, ROWS, replace=False))
    lines = [f"{pair // ITEMS}\t{pair % ITEMS}" for pair in pairs.tolist()]
    (folder / "random").mkdir()
    (folder / "random" / "random.inter").write_text(
        "user_id:token\titem_id:token\n" + "\n".join(lines) + "\n", encoding="utf-8"
    )
    tokens = np.array([str(i) for i in range(ITEMS)])
    values = rng.standard_normal((ITEMS, 128), dtype=np.float32)
    ModalityStore.write(
        folder / "modality" / "random" / "image", values, tokens, modality="image", encoder="random"
    )


def write_hm(source: Path, folder: Path) -> None:
    """H&M as ``docs/cross_domain.md`` makes it."""
    table = [
        "--interactions",
        str(source / "split_ladieswear_divided.csv"),
        "--user",
        "user",
        "--item",
        "item",
    ]
    with redirect_stdout(sys.stderr):
        command(
            ["convert", "table", "--name", "hm", *table, "--keep", "section", "part", "--out", str(folder)]
        )
    tokens = np.array((source / "item_tokens.txt").read_text(encoding="utf-8").split())
    for modality, file in HM_STORES.items():
        path = folder / "modality" / "hm" / modality
        ModalityStore.write(path, np.load(source / file), tokens, modality=modality, encoder="shared")


def session(model: str, loader: str, folder: Path) -> Session:
    """One run, ready to train."""
    settings = {
        "data_path": str(folder), "modality_path": str(folder / "modality"), "checkpoint_dir": str(folder / "saved"),
        "loader": loader, "embedding_size": WIDTH, "use_gpu": False, "show_progress": False, "state": "ERROR",
        **CASES[model],
    }  # fmt: skip
    if model != "CMC":
        settings |= {"eval_args": {"order": "RO", "split": {"RS": [1, 0, 0]}, "mode": "full"}}
    return Session.build(RunSpec.of(model, "hm" if model == "CMC" else "random", {**settings, "seed": 1}))


def bare_epoch(model: Any, batches: list[Any], learning_rate: float) -> Callable[[], None]:
    """The least any trainer does."""
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)

    def run() -> None:
        model.train()
        for batch in batches:
            optimizer.zero_grad()
            total(model.calculate_loss(batch)).backward()
            optimizer.step()

    return run


def recbole_epoch(built: Session) -> Callable[[], None]:
    """RecBole's trainer over its loader and sampler."""
    from recbole.data.dataloader import TrainDataLoader
    from recbole.data.interaction import Interaction
    from recbole.sampler import Sampler
    from recbole.trainer import Trainer

    ours = built.train_data._dataset
    part = ours.copy(
        Interaction(ours.inter_feat.interaction)
    )  # RecBole's table, whose rows are picked by lists
    sampler = Sampler(["train"], [part]).set_phase("train")
    loader = TrainDataLoader(built.config, part, sampler, shuffle=True)
    trainer = Trainer(built.config, built.model)
    return lambda: trainer._train_epoch(loader, 0)


def measure(model: str, loader: str, turns: int, folder: Path, *, with_recbole: bool) -> dict[str, Any]:
    """One case."""
    built = session(model, loader, folder)
    bare = bare_epoch(built.model, list(built.train_data), built.config["learning_rate"])
    contenders: dict[str, Callable[[], Any]] = {
        "ours": lambda: built.trainer._train_epoch(built.train_data, 0),
        "bare": bare,
    }
    if with_recbole and type(built.model).__module__.startswith("recbole."):
        contenders["recbole"] = recbole_epoch(built)
    peak = peak_above(contenders["ours"])
    best = in_turns(contenders, turns, time.process_time, enough=60)
    return {
        "model": model,
        "loader": loader,
        "ratio_recbole": round(best["recbole"] / best["ours"], 2) if "recbole" in best else None,
        "ratio_bare": round(best["ours"] / best["bare"], 2),
        "peak_mib": round(peak),
        "seconds": {name: round(seconds, 3) for name, seconds in best.items()},
        "batches": len(built.train_data),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Print one JSON line a case."""
    parser = argparse.ArgumentParser(description="Training: ours against RecBole's and against a bare loop")
    parser.add_argument("--cases", default=",".join(CASES), help="comma-separated, of " + ", ".join(CASES))
    parser.add_argument("--loaders", default="recbole,fast")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--hm", type=Path, default=Path("../shared/data/hm-week"), help="vectors of H&M's items"
    )
    parser.add_argument("--skip-recbole", action="store_true")
    args = parser.parse_args()
    cases = args.cases.split(",")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_random(folder)
        if "CMC" in cases:
            write_hm(args.hm, folder)
        for model in cases:
            for loader in args.loaders.split(","):
                line = measure(model, loader, args.turns, folder, with_recbole=not args.skip_recbole)
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
