"""How torch's threads wait is settled before torch is loaded, and left to who has settled it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_mm.compat.threads import CHOICES, LATE, SPIN

SHOW = "import os, recbole_mm; print(recbole_mm.compat.waiting()); print(os.environ.get('OMP_WAIT_POLICY'))"
LOADED = "import sys, types; sys.modules['torch'] = types.ModuleType('torch'); "


@pytest.mark.parametrize(
    ("given", "before", "expected"),
    [
        ({}, "", ["OMP_WAIT_POLICY=PASSIVE", "PASSIVE"]),
        ({"GOMP_SPINCOUNT": "1000"}, "", ["GOMP_SPINCOUNT=1000", "None"]),
        ({"OMP_WAIT_POLICY": "active"}, "", [f"OMP_WAIT_POLICY=active: {SPIN}", "active"]),
        ({}, LOADED, [LATE, "None"]),
    ],
)
def test_threads_sleep_unless_somebody_chose(given: dict[str, str], before: str, expected: list[str]) -> None:
    env = {name: value for name, value in os.environ.items() if name not in CHOICES}
    env |= {**given, "PYTHONPATH": str(Path(__file__).parents[2])}
    shown = subprocess.run(
        [sys.executable, "-c", before + SHOW], env=env, capture_output=True, text=True, check=True
    )
    assert shown.stdout.splitlines() == expected
