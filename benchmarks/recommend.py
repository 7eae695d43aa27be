"""Time of lists for all users against an evaluation of the same users, and whether memory grows with users.

    python benchmarks/recommend.py [--cases small,memory] [--repeat 5]

``small``: 6,000 users × 3,700 items; one JSON line with ``ratio``, the time of `Recommender.write_all` (K = 20, into
parquet) over that of an evaluation with the metrics of a table at 20. They take turns and the best time of each counts.
``memory``: 100,000 items; ``peak_mib`` above model and data for 2,000 and for 20,000 users.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evaluator import CASES, K, build, peak_above

from recbole_mm.evaluator import Evaluator
from recbole_mm.serve.recommend import Recommender


def parts(case: dict[str, Any], folder: Path) -> tuple[Any, Any, Any, Recommender]:
    """Configuration, model, test loader, recommender."""
    config, model, _, train, test = build(case, False, folder)
    return config, model, test, Recommender(config, model, [train._dataset, None, test._dataset])


@torch.no_grad()
def small(repeat: int) -> dict[str, Any]:
    """Ratio to an evaluation."""
    with tempfile.TemporaryDirectory() as name:
        config, model, test, recommender = parts(CASES["small"], Path(name))
        work = {
            "recommend": lambda: recommender.write_all(Path(name) / "recs.parquet", K),
            "evaluate": lambda: Evaluator(config).evaluate(model, test).metrics,
        }
        best = dict.fromkeys(work, float("inf"))
        for _ in range(repeat):
            for key, call in work.items():
                start = time.process_time()
                call()
                best[key] = min(best[key], time.process_time() - start)
    ratio = round(best["recommend"] / best["evaluate"], 3)
    seconds = {key: round(value, 3) for key, value in best.items()}
    return {"case": "small", "users": 6_000, "items": 3_700, "ratio": ratio, "cpu_seconds": seconds}


def memory() -> dict[str, Any]:
    """Peaks for more and more users."""
    with tempfile.TemporaryDirectory() as name:
        _, _, _, recommender = parts(CASES["large"], Path(name))
        recommender.recommend([str(recommender.tokens.users[1])], K)  # caches and threads
        peaks = {}
        every = recommender.dataset.user_num - 1
        for users in (every // 10, every):
            groups = recommender.ranker.lists(np.arange(1, users + 1), K)
            peaks[users] = round(peak_above(lambda groups=groups: [None for _ in groups]))
        peaks["written"] = round(peak_above(lambda: recommender.write_all(Path(name) / "recs.parquet", K)))
    return {"case": "memory", "items": 100_700, "peak_mib": peaks}


def main() -> None:
    """Print one JSON line a case."""
    parser = argparse.ArgumentParser(
        description="Lists for all users: time against an evaluation, and memory"
    )
    parser.add_argument("--cases", default="small,memory")
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    for case in args.cases.split(","):
        print(json.dumps(small(args.repeat) if case == "small" else memory()), flush=True)


if __name__ == "__main__":
    main()
