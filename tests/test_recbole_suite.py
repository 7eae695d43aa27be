"""The runner of RecBole's own tests, without RecBole's tree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).parent / "recbole_suite"


def test_without_a_tree_it_says_how_to_get_one() -> None:
    done = subprocess.run([sys.executable, str(HERE / "run.py"), ""], capture_output=True, text=True)
    assert done.returncode == 2
    assert "git clone --depth 1 --branch v1.2.1 https://github.com/RUCAIBox/RecBole" in done.stderr


def test_each_outcome_that_is_not_passed_has_a_reason() -> None:
    entries = yaml.safe_load((HERE / "expected.yaml").read_text())
    names = [entry["test"] for entry in entries]
    assert len(set(names)) == len(names)
    for entry in entries:
        assert entry["reason"]
        assert ("needs" in entry) != ("message" in entry)
