"""A training step of SASRec with plugged vectors against one without, in turns, in one process; one JSON line a mode.

``python benchmarks/plug.py [--items 12000] [--steps 3]``: random interactions and 384-d vectors; ``ratio`` is the
processor time of the fastest step with them over that of the fastest without. A step of SASRec on 2,048 rows of 50
items is some 5 s of one core, whatever is plugged in, so there are few of them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from recbole_mm.modality import ModalityStore
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec


def write(folder: Path, users: int, items: int, rows: int) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"user_id:token": rng.integers(users, size=rows), "item_id:token": rng.integers(items, size=rows)}
    )
    frame["timestamp:float"] = np.arange(rows)
    (folder / "bench").mkdir()
    frame.to_csv(folder / "bench" / "bench.inter", sep="\t", index=False)
    tokens = np.array([str(i) for i in range(items)])
    values = rng.standard_normal((items, 384), dtype=np.float32)
    ModalityStore.write(folder / "text", values, tokens, modality="text", encoder="random")
    return {
        "data_path": str(folder), "checkpoint_dir": str(folder / "saved"), "show_progress": False,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
    }  # fmt: skip


class Steps:
    """A model that is trained step by step on the same batch."""

    def __init__(self, settings: dict[str, Any], batch: int) -> None:
        session = Session.build(RunSpec("SASRec", "bench", settings, seed=1))
        self.model, self.seconds = session.model.train(), float("inf")
        self.batch = next(iter(session.train_data))[:batch]
        self.optimizer = torch.optim.Adam(self.model.parameters())

    def step(self) -> None:
        """One step of the optimiser, timed."""
        start = time.process_time()
        self.optimizer.zero_grad()
        self.model.calculate_loss(self.batch).backward()
        self.optimizer.step()
        self.seconds = min(self.seconds, time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=4000)
    parser.add_argument("--items", type=int, default=12000)
    parser.add_argument("--rows", type=int, default=40000)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = write(folder, args.users, args.items, args.rows)
        given = {"pretrained_items": str(folder / "text")}
        modes = ("init", "add", "replace", "concat")
        cases = {mode: Steps({**settings, **given, "pretrained_mode": mode}, args.batch) for mode in modes}
        cases = {"ids": Steps(settings, args.batch), **cases}
        for _ in range(args.steps + 1):  # the first warms up
            for case in cases.values():
                case.step()
    for mode in modes:
        ratio = cases[mode].seconds / cases["ids"].seconds
        seconds = round(cases[mode].seconds, 3)
        print(json.dumps({"mode": mode, "step_seconds": seconds, "ratio": round(ratio, 3)}))


if __name__ == "__main__":
    main()
