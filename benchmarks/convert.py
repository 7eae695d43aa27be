"""How fast, and in how much memory, `recbole-mm convert amazon` reads JSON lines.

Writes two files of generated reviews (the second twice as large, with the same users and items) into a
temporary folder; converts each in a process of its own, best of `--repeat`; a bare orjson loop over the same
lines is the yardstick. Prints one JSON object:

    mb_per_s     uncompressed MB/s of the whole conversion (5-core, reviews.parquet included), larger file
    ratio_bare   its seconds / seconds of `for line in file: orjson.loads(line)`
    mb_per_cpu_s, ratio_bare_cpu   the same by CPU time of all threads, for a machine that is busy
    peak_mib     peak resident memory for the two sizes; `peak_growth` is their quotient

    python benchmarks/convert.py [--mb 100] [--repeat 3] [--gzip]
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also without an installation
USERS, ITEMS = 20_000, 8_000


def write_reviews(path: Path, size: int, packed: bool) -> None:
    """Lines like the 2018 edition's, about 600 bytes each, until `size` bytes are written."""
    rng = np.random.default_rng(0)
    words = np.array(
        ["good", "skin", "smell", "bought", "again", "would", "not", "the", "a", "product", "price"]
    )
    texts = [" ".join(rng.choice(words, rng.integers(20, 130))) for _ in range(500)]
    with gzip.open(path, "wb", compresslevel=1) if packed else open(path, "wb") as file:
        written = 0
        while written < size:
            lines = []
            users, items = rng.integers(0, USERS, 10_000), rng.integers(0, ITEMS, 10_000)
            for user, item in zip(users.tolist(), items.tolist(), strict=True):
                row = {
                    "overall": float(user % 5 + 1),
                    "verified": True,
                    "reviewTime": "09 1, 2016",
                    "reviewerID": f"A{user:013d}",
                    "asin": f"B{item:09d}",
                    "style": {"Size:": " 7.0 oz", "Flavor:": " Classic Ice Blue"},
                    "reviewerName": "Somebody",
                    "reviewText": texts[(user + item) % 500],
                    "summary": "Five Stars",
                    "unixReviewTime": 1_400_000_000 + user * 1000 + item,
                }
                lines.append(json.dumps(row).encode() + b"\n")
            block = b"".join(lines)
            file.write(block)
            written += len(block)


def bare(path: Path) -> None:
    import orjson

    with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
        for line in file:
            orjson.loads(line)


def convert(path: Path, out: str) -> None:
    from recbole_mm.convert import amazon

    parser = argparse.ArgumentParser()
    amazon.add_arguments(parser)
    amazon.main(parser.parse_args([f"Bench={path}", "--out", out, "--k-core", "5", "--json", "-"]))


def measure(what: str, path: Path, repeat: int) -> dict[str, float]:
    """Best wall and CPU seconds (imports not counted) and the peak MiB of that many fresh processes."""
    runs = []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory(dir=path.parent) as out:
            command = [sys.executable, __file__, "--child", what, str(path), out]
            lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
            runs.append(json.loads(lines[-1]))
    best = {name: min(run[name] for run in runs) for name in ("seconds", "cpu_seconds")}
    return {**best, "peak_mib": max(run["peak_mib"] for run in runs)}


def child(what: str, path: Path, out: str) -> None:
    import orjson  # noqa: F401 - imports are not what is measured

    import recbole_mm.convert.amazon  # noqa: F401

    start, cpu_start = time.perf_counter(), time.process_time()
    if what == "bare":
        bare(path)
    else:
        convert(path, out)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mib": peak}))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb", type=int, default=100, help="size of the smaller file")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--gzip", action="store_true")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], Path(args.child[1]), args.child[2])
        return 0
    with tempfile.TemporaryDirectory() as folder:
        sizes = [args.mb, 2 * args.mb]
        paths = [Path(folder, f"{size}.json" + (".gz" if args.gzip else "")) for size in sizes]
        for path, size in zip(paths, sizes, strict=True):
            write_reviews(path, size * 1_000_000, args.gzip)
        found = [measure("convert", path, args.repeat) for path in paths]
        yardstick = measure("bare", paths[1], args.repeat)
        peaks = [round(run["peak_mib"], 1) for run in found]
        figures = {
            "mb": sizes,
            "gzip": args.gzip,
            "mb_per_s": round(sizes[1] / found[1]["seconds"], 1),
            "mb_per_cpu_s": round(sizes[1] / found[1]["cpu_seconds"], 1),
            "bare_mb_per_s": round(sizes[1] / yardstick["seconds"], 1),
            "ratio_bare": round(found[1]["seconds"] / yardstick["seconds"], 3),
            "ratio_bare_cpu": round(found[1]["cpu_seconds"] / yardstick["cpu_seconds"], 3),
            "peak_mib": peaks,
            "peak_growth": round(peaks[1] / peaks[0], 3),
        }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
