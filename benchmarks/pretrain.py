"""An epoch of CPMM, and how much of it are not matrix products; one JSON line.

``python benchmarks/pretrain.py [--items 12000] [--width 512] [--rows 200000] [--repeat 3]``: random vectors of two
modalities. The products of a step, forward and backward, are recorded with their operands and run again by themselves;
``outside`` is 1 - (their CPU time times the steps) / (the CPU time of an epoch).
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from recbole_mm.config import Config
from recbole_mm.modality import ModalityStore
from recbole_mm.quick_start.session import Session

PRODUCTS = {torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default}


def session(folder: Path, items: int, width: int, rows: int) -> Session:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "user_id:token": rng.integers(max(rows // 9, 1), size=rows),
            "item_id:token": np.concatenate([np.arange(items), rng.integers(items, size=rows - items)]),
        }
    )
    frame = frame.drop_duplicates()
    (folder / "bench").mkdir()
    frame.to_csv(folder / "bench" / "bench.inter", sep="\t", index=False)
    tokens = np.array([str(i) for i in range(items)])
    for name in ("text", "image"):
        values = rng.standard_normal((items, width), dtype=np.float32)
        ModalityStore.write(
            folder / f"modality/bench/{name}", values, tokens, modality=name, encoder="random"
        )
    given = {
        "data_path": str(folder), "modality_path": str(folder / "modality"), "checkpoint_dir": str(folder / "saved"),
        "load_col": {"inter": ["user_id", "item_id"]}, "show_progress": False, "use_gpu": False, "input_size": width,
    }  # fmt: skip
    return Session.build(Config("CPMM", "bench", config_dict=given).spec)


class Recorded(TorchDispatchMode):
    """Keeps the matrix products and their operands."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            self.calls.append((func, args))
        return func(*args, **(kwargs or {}))


def products(model: Any, batch: Any) -> list[tuple[Any, Any]]:
    with Recorded() as recorded:
        sum(model.calculate_loss(batch)).backward()
    return [
        (func, [a.detach() if isinstance(a, torch.Tensor) else a for a in args])
        for func, args in recorded.calls
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("items", 12_000), ("width", 512), ("rows", 200_000), ("repeat", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = session(Path(folder), args.items, args.width, args.rows)
        loader, trainer = made.train_data, made.trainer
        calls = products(made.model.train(), next(iter(loader)))
        epochs, bare = [], []
        for epoch in range(args.repeat):
            start = time.process_time()
            trainer._train_epoch(loader, epoch)
            epochs.append(time.process_time() - start)
            start = time.process_time()
            for _ in range(len(loader)):
                for func, operands in calls:
                    func(*operands)
            bare.append(time.process_time() - start)
    print(
        json.dumps(
            {
                "items": args.items,
                "width": args.width,
                "steps": len(loader),
                "epoch_seconds": round(min(epochs), 2),
                "outside": round(1 - min(bare) / min(epochs), 3),
                "products": len(calls),
                "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                "threads": torch.get_num_threads(),
            }
        )
    )


if __name__ == "__main__":
    main()
