"""SASRec on windows and on unpadded prefixes against RecBole's, its memory with many items; one JSON line a case.

    python benchmarks/sequence.py --data dataset [--dataset beauty] [--batches 20] [--seconds 600]

``ratio_recbole``: the time of an epoch of RecBole's loader and model, with autograd's anomaly mode as RecBole leaves it
on, over that of ours, both from the median of some batches, taken in turn, and the number of batches in an epoch;
``ratio_mended``: the same with the mode off, as it is after ``import recbole_mm``; ``peak_mib``: the most memory of the
process until then. ``prefix`` are RecBole's rows without their padding (``loader: fast``), the other cases losses of
``train_sequences: shifted``. ``--seconds`` trains RecBole's form and each case for so long and prints their best.
``--cases memory`` needs no data: an epoch with full softmax over 100,000 items in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch

from recbole_mm.config.sequence import cuts_padding
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec
from recbole_mm.trainer import Callback
from recbole_mm.trainer.prefix import PrefixObjective
from recbole_mm.trainer.shifted import ShiftedObjective

SETTINGS: dict[str, Any] = {
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
    "sequence_split": "interactions", "MAX_ITEM_LIST_LENGTH": 50, "hidden_size": 64, "hidden_dropout_prob": 0.3,
    "attn_dropout_prob": 0.3, "show_progress": False, "metrics": ["NDCG"], "topk": [10], "valid_metric": "NDCG@10",
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "prefix": {"loader": "fast"},
    "ce": {"train_sequences": "shifted"},
    "sampled_softmax": {
        "train_sequences": "shifted", "sequence_loss": "sampled_softmax", "sequence_negatives": 1024,
    },
}  # fmt: skip
ITEMS, USERS, EVENTS = 100_000, 20_000, 23


def steps(made: Session) -> Iterator[float]:
    """Seconds of each training step, its batch made included, epoch after epoch."""
    loss: Any = made.model.calculate_loss
    if made.config["train_sequences"] == "shifted":
        loss = ShiftedObjective(made.config, made.model, made.train_data)
    elif cuts_padding(made.config):
        loss = PrefixObjective(made.config, made.model, made.train_data._dataset)
    made.model.train()
    start = time.perf_counter()
    while True:
        for batch in made.train_data:
            made.trainer.optimizer.zero_grad()
            value = loss(batch)
            value.backward()
            made.trainer.optimizer.step()
            value.item()  # as RecBole's loop
            yield time.perf_counter() - start
            start = time.perf_counter()


def epoch_times(data: dict[str, Any], dataset: str, case: str, batches: int) -> dict[str, Any]:
    """RecBole's batches of 2048 rows, ours of as many targets."""
    recbole, own = (
        Session.build(
            RunSpec("SASRec", dataset, {**SETTINGS, **data, "train_batch_size": 2048, **form}, seed=1)
        )
        for form in ({}, CASES[case])
    )
    ours, theirs = steps(own), steps(recbole)
    ways = [(own, ours, False), (recbole, theirs, True), (recbole, theirs, False)]
    seconds: list[list[float]] = [[], [], []]
    for _ in range(batches + 1):
        for (_, timer, anomaly), found in zip(ways, seconds, strict=True):
            with torch.autograd.set_detect_anomaly(anomaly):
                found.append(next(timer))
    epoch, alone, mended = (
        median(found[1:]) * len(made.train_data) for found, (made, *_) in zip(seconds, ways, strict=True)
    )
    return {
        "model": f"SASRec {case}", "epoch_seconds": round(epoch, 2),
        "ratio_recbole": round(alone / epoch, 2), "ratio_mended": round(mended / epoch, 2), "peak_mib": peak_mib(),
    }  # fmt: skip


class Deadline(Callback):
    """Ends a run after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.end = time.perf_counter() + seconds

    def on_validation(self, record: dict[str, Any]) -> bool:
        """Whether the time is over."""
        return time.perf_counter() > self.end


def best_in(data: dict[str, Any], dataset: str, case: str | None, seconds: float) -> dict[str, Any]:
    """Best validation NDCG@10 after so long, validation included; RecBole's form where there is no case."""
    form = CASES[case] if case else {}
    given = {**SETTINGS, **data, "train_batch_size": 2048, "epochs": 1000, "stopping_step": 1000, **form}
    made = Session.build(RunSpec("SASRec", dataset, given, seed=1), [Deadline(seconds)])
    start = time.perf_counter()
    with torch.autograd.set_detect_anomaly(not case):  # as RecBole leaves it
        record = made.run(test=False, saved=False).record
    return {
        "model": f"SASRec {case}" if case else "SASRec, RecBole", "epochs": record["epochs_run"],
        "seconds": round(time.perf_counter() - start), "valid": record["best_valid_score"],
    }  # fmt: skip


def memory() -> dict[str, Any]:
    """An epoch with full softmax over many items, in this process."""
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "many"
        folder.mkdir()
        taken = np.concatenate([np.arange(ITEMS), rng.integers(ITEMS, size=USERS * EVENTS - ITEMS)])
        frame = pd.DataFrame(
            {
                "user_id:token": np.arange(len(taken)) % USERS,
                "item_id:token": taken,
                "timestamp:float": np.arange(len(taken)),
            }
        )
        frame.to_csv(folder / "many.inter", sep="\t", index=False)
        del frame, taken
        given = {**SETTINGS, **CASES["ce"], "data_path": name, "epochs": 1, "train_batch_size": 2048}
        made = Session.build(RunSpec("SASRec", "many", given, seed=1))
        before = peak_mib()
        made.trainer.fit(made.train_data, None, saved=False, verbose=False)
        items = made.train_data._dataset.item_num - 1
    return {"model": "SASRec ce", "items": items, "peak_mib_before": before, "peak_mib": peak_mib()}


def peak_mib() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="dataset", help="folder of the data set's folder")
    parser.add_argument("--dataset", default="beauty")
    parser.add_argument("--cases", default="prefix,ce,sampled_softmax,memory")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    data = {"data_path": arguments.data, "use_gpu": torch.cuda.is_available()}
    if arguments.seconds:
        for case in (None, *arguments.cases.replace(",memory", "").split(",")):
            print(json.dumps(best_in(data, arguments.dataset, case, arguments.seconds)), flush=True)
        return
    for case in arguments.cases.split(","):
        if case == "memory" and not arguments.here:
            subprocess.run([sys.executable, __file__, "--cases", "memory", "--here"], check=True)
            continue
        line = memory() if case == "memory" else epoch_times(data, arguments.dataset, case, arguments.batches)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
