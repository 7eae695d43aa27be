"""What the benchmarks measure with: contenders in turns, and memory above a beginning."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def in_turns(
    contenders: Mapping[str, Callable[[], Any]],
    turns: int,
    clock: Callable[[], float] = time.perf_counter,
    enough: float = float("inf"),
) -> dict[str, float]:
    """The best time of each contender by ``clock`` over ``turns`` rounds in which each works once.

    Other work on the machine then weighs on all alike. One that takes more than ``enough`` works twice at most.
    """
    best = dict.fromkeys(contenders, float("inf"))
    for turn in range(turns):
        for name, work in contenders.items():
            if turn > 1 and best[name] > enough:
                continue
            start = clock()
            work()
            best[name] = min(best[name], clock() - start)
    return best


def peak_above(work: Callable[[], Any]) -> float:
    """Highest resident memory during ``work`` above that before it, MiB, sampled every millisecond."""
    page = resource.getpagesize()

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * page

    before, highest, stop = resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not stop.is_set():
            highest = max(highest, resident())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    stop.set()
    watcher.join()
    return (highest - before) / 2**20
