"""Time of building two domains as one data set, against building each alone, all in one run.

    python benchmarks/merge.py [--rows 200000] [--repeat 5]

Prints JSON: rows, CPU seconds of each contender (the best of ``--repeat``, taken in turns) and ratio = merged / (first
alone + second alone); wall_ratio is the same by the clock, which other work on the machine falsifies. Building is
reading the atomic files, filtering and remapping, in one thread; the files are synthetic, with half of the users in
both sets, ratings, times and an item file.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_mm.config import Config
from recbole_mm.data import create_dataset

DOMAINS = ("garden", "kitchen")


def write_set(root: Path, name: str, rows: int, first_user: int, rng: np.random.Generator) -> None:
    users, items = rows // 20, rows // 40
    inter = pd.DataFrame(
        {
            "user_id:token": [f"A{first_user + u:09d}X" for u in rng.integers(users, size=rows)],
            "item_id:token": [f"{name[0]}{i:08d}" for i in rng.integers(items, size=rows)],
            "rating:float": rng.integers(1, 6, size=rows).astype(float),
            "timestamp:float": 1e9 + rng.permutation(rows),
        }
    )
    (root / name).mkdir()
    inter.to_csv(root / name / f"{name}.inter", sep="\t", index=False)
    tokens = sorted(inter["item_id:token"].unique())
    item = pd.DataFrame({"item_id:token": tokens, "brand:token": [f"b{k % 97}" for k in range(len(tokens))]})
    item.to_csv(root / name / f"{name}.item", sep="\t", index=False)


def build(root: Path, dataset: str, settings: dict[str, Any]) -> np.ndarray:
    """Seconds of one ``create_dataset``: of the CPU, of the clock."""
    config = Config(
        "BPR",
        dataset,
        config_dict={
            "data_path": str(root),
            "load_col": {
                "inter": ["user_id", "item_id", "rating", "timestamp"],
                "item": ["item_id", "brand"],
            },
            "checkpoint_dir": str(root / "saved"),
            **settings,
        },
    )
    start = time.process_time(), time.perf_counter()
    create_dataset(config)
    return np.array([time.process_time() - start[0], time.perf_counter() - start[1]])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000, help="interactions of each set")
    parser.add_argument("--repeat", type=int, default=5, help="rounds; the best time of each counts")
    args = parser.parse_args()
    logging.disable(logging.INFO)
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for k, name in enumerate(DOMAINS):
            write_set(root, name, args.rows, k * (args.rows // 40), rng)
        contenders: dict[str, dict[str, Any]] = {name: {} for name in DOMAINS}
        contenders["merged"] = {"domains": list(DOMAINS)}
        best = dict.fromkeys(contenders, np.array([np.inf, np.inf]))
        for _ in range(args.repeat):
            for name, settings in contenders.items():
                best[name] = np.minimum(best[name], build(root, name, settings))
    ratio, wall_ratio = best["merged"] / sum(best[name] for name in DOMAINS)
    report = {
        "rows": args.rows,
        "repeat": args.repeat,
        "seconds": {name: round(value[0], 4) for name, value in best.items()},
        "ratio": round(ratio, 4),
        "wall_ratio": round(wall_ratio, 4),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
