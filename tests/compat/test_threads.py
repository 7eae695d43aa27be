"""How torch's threads wait is settled before torch is loaded, and left to who has settled it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_mm.compat.threads import BRIEFLY, CHOICES, LATE, SPIN

SHOW = (
    "import os, recbole_mm; print(recbole_mm.compat.waiting());"
    "print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('GOMP_SPINCOUNT'))"
)
LOADED = "import sys, types; sys.modules['torch'] = types.ModuleType('torch'); "


@pytest.mark.parametrize(
    ("given", "before", "expected"),
    [
        ({}, "", [BRIEFLY, "PASSIVE 1000"]),
        ({"GOMP_SPINCOUNT": "7"}, "", ["GOMP_SPINCOUNT=7", "None 7"]),
        ({"KMP_BLOCKTIME": "200"}, "", ["KMP_BLOCKTIME=200", "None None"]),
        ({"OMP_WAIT_POLICY": "active"}, "", [f"OMP_WAIT_POLICY=active: {SPIN}", "active None"]),
        ({}, LOADED, [LATE, "None None"]),
    ],
)
def test_threads_wait_briefly_unless_somebody_chose(
    given: dict[str, str], before: str, expected: list[str]
) -> None:
    env = {name: value for name, value in os.environ.items() if name not in CHOICES}
    env |= {**given, "PYTHONPATH": str(Path(__file__).parents[2])}
    shown = subprocess.run(
        [sys.executable, "-c", before + SHOW], env=env, capture_output=True, text=True, check=True
    )
    assert shown.stdout.splitlines() == expected


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP")
def test_the_library_that_torch_loads_reads_both() -> None:
    """What the runtime says of itself: sleeping where threads outnumber cores, 1,000 rounds elsewhere."""
    env = {name: value for name, value in os.environ.items() if name not in CHOICES}
    env |= {"OMP_DISPLAY_ENV": "VERBOSE", "PYTHONPATH": str(Path(__file__).parents[2])}
    code = "import recbole_mm, torch; print(any('gomp' in line for line in open('/proc/self/maps')))"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    if done.stdout.split() != ["True"]:
        pytest.skip("this torch brings another OpenMP")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr and "GOMP_SPINCOUNT = '1000'" in done.stderr
