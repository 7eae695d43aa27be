"""Throughput of the extraction pipeline against a bare loop over the same encoder with ready tensors.

    python benchmarks/extract.py [--items 256] [--rounds 5] [--data ../shared/data/ml-100k-posters]

Both sides run in one process, in turns, and the median of the turns' quotients counts. The pipeline's side is
all of it: hashes of the content, loading and tokenising, batches, shards flushed to disk, the store. One JSON
line a modality: items per second of both at their best, `share_of_bare` by the clock, `share_of_bare_cpu` by CPU
time (a busy machine disturbs it less). Without the data, texts and images are made up; encoders that are not
installed are left out.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch

import recbole_mm  # noqa: F401  its hook lets torchvision import beside a CPU torch
from recbole_mm.errors import WrongUse
from recbole_mm.extract.encoder import Encoder
from recbole_mm.extract.engine import LocalEngine, available_cores, encode_prepared
from recbole_mm.extract.items import Items, join_fields, with_keys
from recbole_mm.extract.pipeline import extract
from recbole_mm.extract.settings import build_encoders, read_settings

DATA = Path(__file__).parents[1] / "../shared/data/ml-100k-posters"
ENCODERS = {"text": "minilm", "image": "efficientnet-lite0"}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--modality", choices=("text", "image", "both"), default="both")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for modality, name in ENCODERS.items():
        if args.modality not in (modality, "both"):
            continue
        try:
            encoder = build_encoders(read_settings(modality, name, {}))[modality]
        except WrongUse as error:
            print(f"{modality} left out: {error}", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as folder:
            raws = list(texts(args) if modality == "text" else images(args, Path(folder)))
            result = measure(encoder, modality, raws, args.rounds, args.threads)
        result |= {"encoder": name, "threads": args.threads, "made_up": not args.data.is_dir()}
        print(json.dumps(result), flush=True)
    return 0


def measure(encoder: Encoder, modality: str, raws: list[str], rounds: int, threads: int) -> dict[str, object]:
    ready = ready_batches(encoder, raws)
    sides: dict[str, Callable[[Path], object]] = {
        "bare": lambda folder: [encoder.encode(batch) for batch in ready],
        "pipeline": lambda folder: pipeline(encoder, modality, raws, folder, threads),
    }
    times: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    for turn in range(rounds):
        for side in sorted(sides, reverse=turn % 2 == 1):  # neither is always first
            with tempfile.TemporaryDirectory() as folder:
                times[side].append(timed(partial(sides[side], Path(folder))))
    # a turn's two sides met the same machine, so their quotient is the measure; its median forgets disturbed turns
    wall, cpu = (
        median(b[clock] / p[clock] for b, p in zip(times["bare"], times["pipeline"], strict=True))
        for clock in (0, 1)
    )
    return {
        "modality": modality,
        "share_of_bare": round(wall, 3),
        "share_of_bare_cpu": round(cpu, 3),
        "items_per_second": round(len(raws) / min(times["pipeline"])[0], 1),
        "items_per_second_bare": round(len(raws) / min(times["bare"])[0], 1),
        "items": len(raws),
        "rounds": rounds,
    }


def timed(run: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def ready_batches(encoder: Encoder, raws: list[str]) -> list[object]:
    """The very batches that the pipeline makes, ready on the device's doorstep."""
    batches: list[object] = []

    class Recorder:
        name, width, batch_size, identity = encoder.name, encoder.width, encoder.batch_size, encoder.identity
        shard_size = encoder.shard_size
        prepare, size, collate = encoder.prepare, encoder.size, encoder.collate

        def encode(self, batch: object) -> np.ndarray:
            batches.append(batch)
            return encoder.encode(batch)  # also warms up

    with ThreadPoolExecutor(1) as pool:
        for start in range(0, len(raws), encoder.shard_size):
            prepared = encoder.prepare(raws[start : start + encoder.shard_size])
            encode_prepared(Recorder(), prepared, pool, lambda count: None)
    return batches


def pipeline(encoder: Encoder, modality: str, raws: list[str], folder: Path, threads: int) -> None:
    items = Items([str(number) for number in range(len(raws))], raws)
    keyed = with_keys(items, encoder.identity, are_files=modality == "image", workers=threads)
    extract(keyed, encoder, folder / modality, modality=modality, engine=LocalEngine(threads))


def texts(args: argparse.Namespace) -> Iterator[str]:
    if args.data.is_dir():
        table = pd.read_csv(args.data / "items.csv", dtype=str, keep_default_na=False)[["title", "overview"]]
        yield from (join_fields(row, ". ") for row in table.head(args.items).itertuples(index=False))
        return
    rng = random.Random(0)
    words = ["".join(rng.choices("aeioubdgklmnrst", k=rng.randint(2, 9))) for _ in range(2000)]
    for _ in range(args.items):
        yield " ".join(rng.choices(words, k=rng.randint(20, 90)))


def images(args: argparse.Namespace, folder: Path) -> Iterator[str]:
    if args.data.is_dir():
        files = sorted((args.data / "posters").glob("*.jpg"))[: args.items]
        yield from map(str, files)
        return
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(args.items):
        path = folder / f"{number}.jpg"
        Image.fromarray(rng.integers(0, 256, (14, 10, 3), dtype=np.uint8)).resize((92, 138)).save(path)
        yield str(path)


if __name__ == "__main__":
    sys.exit(main())
