"""How the threads of torch wait for each other, which has to be settled before torch is loaded.

A training step is hundreds of short parallel regions. After each, GNU's OpenMP lets idle threads spin for 300,000
rounds (milliseconds) on cores that another process may need: with 2 threads on 2 cores at a load of 16 a step took 10
to 20 times as long as with threads that sleep. Threads that sleep at once lose where one core is busy: each region then
waits until the scheduler lets the woken thread in (an epoch took 4 times as long as alone). 1,000 rounds last about as
long as a sleep and a wake-up cost, so that at most as much again is lost by either choice (Karlin et al. 1991,
"Empirical studies of competitive spinning"). Neither the number of threads nor a digit of a result changes.
"""

from __future__ import annotations

import os
import sys

#: what a person may have set: the choice is theirs
CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
#: GNU's OpenMP, in torch's own builds, takes the rounds from the second; Intel's and LLVM's know the first alone
SET = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
BRIEFLY = ", ".join(f"{name}={value}" for name, value in SET.items())
SPIN = f"they spin while they wait: slow where other work shares the cores; set {BRIEFLY}"
LATE = f"{SPIN}, or import recbole_mm before torch"
_found: list[str] = []


def wait_briefly() -> None:
    """Let the threads of torch spin briefly and then sleep, unless the environment says how or torch is loaded."""
    if _found:
        return
    if "torch" not in sys.modules and not any(name in os.environ for name in CHOICES):
        os.environ.update(SET)  # before torch, and for the processes that this one starts
    chosen = ", ".join(f"{name}={os.environ[name]}" for name in CHOICES if name in os.environ)
    spins = os.environ.get("OMP_WAIT_POLICY", "").lower() == "active"
    _found.append(f"{chosen}: {SPIN}" if spins else chosen or LATE)


def waiting() -> str:
    """How the threads of torch wait, and what to do where they spin for long."""
    return _found[0]
