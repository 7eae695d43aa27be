"""How the threads of torch wait for each other, which has to be settled before torch is loaded.

A training step is hundreds of short parallel regions. After each, GNU's OpenMP lets idle threads spin for 300,000
rounds on cores that another process may need: with 2 threads on 2 cores at a load of 16 a step took 10 to 20 times as
long as with threads that sleep. Neither the number of threads nor a digit of a result changes.
"""

from __future__ import annotations

import os
import sys

#: what a person may have set: the choice is theirs
CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
SLEEP = "OMP_WAIT_POLICY=PASSIVE"
SPIN = f"they spin while they wait: slow where other work shares the cores; set {SLEEP}"
LATE = f"{SPIN}, or import recbole_mm before torch"
_found: list[str] = []


def sleep_while_waiting() -> None:
    """Let the threads of torch sleep while they wait, unless the environment says how or torch is loaded."""
    if _found:
        return
    if "torch" not in sys.modules and not any(name in os.environ for name in CHOICES):
        name, value = SLEEP.split("=")
        os.environ[name] = value  # before torch, and for the processes that this one starts
    chosen = ", ".join(f"{name}={os.environ[name]}" for name in CHOICES if name in os.environ)
    spins = os.environ.get("OMP_WAIT_POLICY", "").lower() == "active"
    _found.append(f"{chosen}: {SPIN}" if spins else chosen or LATE)


def waiting() -> str:
    """How the threads of torch wait, such as ``OMP_WAIT_POLICY=PASSIVE``, and what to do where they spin."""
    return _found[0]
