"""Nearest neighbours against the bare blockwise product of the same vectors, in one process; one JSON line.

``python benchmarks/neighbours.py [--rows 100000] [--width 512] [--k 10] [--repeat 1] [--faiss]``: ``ratio_bare`` is CPU
time over that of the product, block by block into one buffer; ``peak_mib`` the memory above the vectors. With
``--faiss`` the same by HNSW, and the share of the exact neighbours that it finds.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recbole_mm.layer.graph import BLOCK_BYTES
from recbole_mm.layer.neighbours import nearest_neighbours


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def product(vectors: Tensor) -> None:
    step = min(len(vectors), max(1, BLOCK_BYTES // (4 * len(vectors))))
    out = torch.empty(step, len(vectors))
    for part in vectors.split(step):
        torch.matmul(part, vectors.t(), out=out[: len(part)])


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("rows", 100_000), ("width", 512), ("k", 10), ("repeat", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--faiss", action="store_true")
    args = parser.parse_args()
    vectors = torch.randn(args.rows, args.width, generator=torch.Generator().manual_seed(1))
    vectors[:1000] @ vectors[:1000].t()  # what the first product allocates
    before = peak_mib()
    ours, bare = [], []
    for _ in range(args.repeat):
        seconds, (exact, _) = timed(lambda: nearest_neighbours(vectors, args.k))
        ours.append(seconds)
        peak = peak_mib() - before
        bare.append(timed(lambda: product(vectors))[0])
    line = {
        "rows": args.rows, "width": args.width, "k": args.k, "seconds": round(min(ours), 2),
        "ratio_bare": round(min(ours) / min(bare), 3), "peak_mib": round(peak), "threads": torch.get_num_threads(),
    }  # fmt: skip
    if args.faiss:
        seconds, (near, _) = timed(lambda: nearest_neighbours(vectors, args.k, approximate=True))
        shared = (near.unsqueeze(2) == exact.unsqueeze(1)).any(dim=2).float().mean()
        line |= {"faiss_ratio": round(seconds / min(ours), 3), "faiss_recall": round(float(shared), 4)}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
