"""One validation of a context model over the whole catalogue of H&M, against scoring rows of pairs; JSON.

    python benchmarks/context.py [--models DeepFM] [--turns 3] [--hm FOLDER] [--queries N]

``seconds``: wall time of our evaluation, ``cpu`` of the process, ``ratio_plain``: CPU time of the plain way (each pair
a row of fields) / ours, the best of ``turns`` turns each. ``--queries`` cuts the plain way and ours alike, to try it.
``difference``: the largest between two scores of the two ways.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from measure import in_turns
from train import write_hm

from recbole_mm.evaluator.full import interaction_of
from recbole_mm.evaluator.score import Scorer
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec


def build(model: str, folder: Path) -> Session:
    settings = {
        "data_path": str(folder), "checkpoint_dir": str(folder / "saved"), "use_gpu": False, "show_progress": False,
        "state": "ERROR", "metrics": ["NDCG"], "topk": 10, "valid_metric": "NDCG@10", "seed": 1,
    }  # fmt: skip
    return Session.build(RunSpec.of(model, "hm", settings))


@torch.no_grad()
def measure(model: str, folder: Path, turns: int, queries: int | None) -> dict[str, Any]:
    built = build(model, folder)
    for parameter in built.model.parameters():
        parameter.normal_(std=0.1)
    built.model.eval()
    loader, config, evaluator = built.valid_data, built.config, built.trainer._evaluator
    task, _ = evaluator._task(loader, torch.device("cpu"))
    batches, some = [], 0
    for batch in task.batches:
        if queries is None or some < queries:
            batches.append(batch)
            some += batch.stop - batch.start
    scorers = [Scorer(built.model, loader, task.items, config["eval_batch_size"]) for _ in range(2)]
    scorers[1]._asked_context = True  # the plain way

    def score(scorer: Scorer) -> list[torch.Tensor]:
        return [scorer(interaction_of(loader, task, each), task.columns.get(each.domain)) for each in batches]

    ours, plain = (score(scorer) for scorer in scorers)
    largest = max((a - b)[a > -torch.inf].abs().max().item() for a, b in zip(ours, plain, strict=True))
    del ours, plain
    ways = {"ours": lambda: score(scorers[0]), "plain": lambda: score(scorers[1])}
    cpu = in_turns(ways, turns, time.process_time, enough=60)
    wall = None
    if queries is None:
        wall = in_turns({"whole": lambda: evaluator.evaluate(built.model, loader)}, turns)["whole"]
    pairs = sum((b.stop - b.start) * len(task.columns.get(b.domain, range(task.items))) for b in batches)
    return {
        "model": model,
        "queries": some,
        "pairs": pairs,
        "seconds": wall and round(wall, 2),
        "cpu": {name: round(seconds, 2) for name, seconds in cpu.items()},
        "ratio_plain": round(cpu["plain"] / cpu["ours"], 2),
        "difference": largest,
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Context models over the catalogue")
    parser.add_argument("--models", default="DeepFM")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--queries", type=int)
    parser.add_argument(
        "--hm", type=Path, default=Path("../shared/data/hm-week"), help="vectors of H&M's items"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        write_hm(args.hm, Path(name))
        for model in args.models.split(","):
            print(json.dumps(measure(model, Path(name), args.turns, args.queries)), flush=True)


if __name__ == "__main__":
    main()
