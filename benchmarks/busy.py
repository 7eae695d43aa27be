"""A training epoch beside a busy process, against the same epoch alone; one JSON line for each way of waiting.

    python benchmarks/busy.py [--ways set,passive,default,one] [--loops 1] [--turns 3] [--threads 2] [--rows 200000]

VBPR on random rows, each way in a process of its own (how threads wait is settled when torch is loaded): the wall time
of an epoch alone, and beside planted single-threaded loops; ``ratio`` is busy / alone of the medians of turns that
alternate. ``set`` is what recbole_mm sets, ``passive`` threads that sleep at once, ``spin1000`` threads that spin for
so many rounds, ``default`` what OpenMP does by itself, ``one`` a single thread.
``load``: the machine's before; above the number of cores nothing here means much.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

WAYS = {
    "set": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "default": {"GOMP_SPINCOUNT": "300000"},  # GNU's OpenMP where nothing is set
    "one": {"OMP_NUM_THREADS": "1"},
}


def environment(way: str) -> dict[str, str]:
    return {"GOMP_SPINCOUNT": way[4:]} if way.startswith("spin") else WAYS[way]


def epochs(turns: int, rows: int, loops: int) -> None:
    """In the child: print the seconds of each epoch, alone and busy in turn."""
    import recbole_mm  # noqa: F401, I001  (before torch, which train loads, or it settles nothing)
    import train

    train.ROWS = rows
    with tempfile.TemporaryDirectory() as name:
        train.write_random(Path(name))
        built = train.session("VBPR", "recbole", Path(name))
        import torch

        def epoch() -> float:
            start = time.perf_counter()
            built.trainer._train_epoch(built.train_data, 0)
            return time.perf_counter() - start

        epoch()
        alone, busy = [], []
        for _ in range(turns):
            alone.append(epoch())
            others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
            try:
                busy.append(epoch())
            finally:
                for loop in others:
                    loop.kill()
                    loop.wait()
        print(json.dumps({"alone": alone, "busy": busy, "threads": torch.get_num_threads()}))


def main() -> None:
    parser = argparse.ArgumentParser(description="Training beside a busy process")
    parser.add_argument("--ways", default="set,passive,default,one")
    parser.add_argument("--loops", type=int, default=1)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        epochs(args.turns, args.rows, args.loops)
        return
    for way in args.ways.split(","):
        load = os.getloadavg()[0]
        env = {
            k: v
            for k, v in os.environ.items()
            if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
        }
        env |= {"OMP_NUM_THREADS": str(args.threads), **environment(way)}
        command = [sys.executable, __file__, "--child"]
        command += ["--turns", str(args.turns), "--rows", str(args.rows), "--loops", str(args.loops)]
        done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        seconds = {name: round(median(found[name]), 3) for name in ("alone", "busy")}
        line = {
            "way": way,
            "loops": args.loops,
            "ratio": round(seconds["busy"] / seconds["alone"], 2),
            "seconds": seconds,
        }
        print(json.dumps({**line, "threads": found["threads"], "load": round(load, 1)}), flush=True)


if __name__ == "__main__":
    main()
