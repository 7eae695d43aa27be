"""Memory and time of EASE's weights: one matrix of items, against `numpy.linalg.inv` in float64.

    python benchmarks/linear.py [--items 4000] [--users 20000] [--each 60] [--dtype float32] [--repeat 3] [--no-inverse]

Prints one JSON line: items, matrix_mib, peak_mib (above interactions and libraries, of a process of its own),
peak_ratio (peak / matrix), cpu_s, inv_cpu_s and ratio_inv (ours / those of the bare inverse alone). Best of `--repeat`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy import sparse

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also without an installation
from recbole_mm.layer.linear import ease_weights


def interactions(users: int, items: int, each: int) -> sparse.csr_matrix:
    """About `each` items a user, low numbers more often."""
    rng = np.random.default_rng(0)
    chosen = (rng.random((users, each), dtype=np.float32) ** 2 * items).astype(np.int32).clip(max=items - 1)
    rows = np.repeat(np.arange(users, dtype=np.int32), each)
    matrix = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, chosen.ravel())), shape=(users, items))
    matrix.data[:] = 1
    return matrix


def child(args: argparse.Namespace) -> None:
    """One measurement in this process."""
    x = interactions(args.users, args.items, args.each)
    if args.child == "inv":
        gram = (x.T @ x).toarray().astype(np.float64)
        gram.flat[:: args.items + 1] += 250.0
    else:
        ease_weights(x[:, :64], 250.0, args.dtype)  # what the libraries take for themselves
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    if args.child == "inv":
        np.linalg.inv(gram)
    else:
        ease_weights(x, 250.0, args.dtype)
    seconds = time.process_time() - start
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"cpu_s": seconds, "peak_mib": peak}))


def measure(what: str, args: argparse.Namespace) -> dict[str, float]:
    """The least time and the highest peak of some processes."""
    command = [sys.executable, __file__, *sys.argv[1:], "--child", what]
    runs = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(args.repeat)
    ]
    return {"cpu_s": min(run["cpu_s"] for run in runs), "peak_mib": max(run["peak_mib"] for run in runs)}


def main() -> None:
    """Print the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=4000)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--each", type=int, default=60)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--no-inverse", action="store_true", help="memory alone")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args)
        return
    ours, matrix = measure("ease", args), args.items**2 * np.dtype(args.dtype).itemsize / 2**20
    line = {
        "items": args.items,
        "dtype": args.dtype,
        "matrix_mib": round(matrix, 1),
        "peak_mib": round(ours["peak_mib"], 1),
        "peak_ratio": round(ours["peak_mib"] / matrix, 3),
        "cpu_s": round(ours["cpu_s"], 2),
    }
    if not args.no_inverse:
        bare = measure("inv", args)
        line |= {"inv_cpu_s": round(bare["cpu_s"], 2), "ratio_inv": round(ours["cpu_s"] / bare["cpu_s"], 3)}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
