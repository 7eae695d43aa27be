from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recbole_mm.compat.threads import BRIEFLY
from recbole_mm.quick_start import doctor

ROOT = Path(__file__).parents[2]
# a process in which the named packages do not exist
WITHOUT = """
import importlib.abc, importlib.metadata, sys
missing = {missing!r}
class Nowhere(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Nowhere())
version = importlib.metadata.version
def without(name):
    if name in missing:
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = without
import argparse
from recbole_mm.quick_start import doctor
doctor.TRIALS = {{name: trial for name, trial in doctor.TRIALS.items() if trial[0] in missing}}
code = doctor.main(argparse.Namespace(json=True))
assert not missing & set(sys.modules)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    pytest.importorskip("recbole")
    return doctor.examine()


def test_versions_and_patches(found: dict[str, Any]) -> None:
    assert found["versions"]["recbole"] == "1.2.1" and found["remedy"] is None
    assert found["usable"]["recbole"] == {"ok": True, "detail": ""}
    patches = {patch["name"]: patch for patch in found["patches"]}
    assert patches["numpy-aliases"]["upstream"] == "config/configurator.py:625-635"
    assert all(patch["why"] and patch["drop_when"] for patch in patches.values())


def test_what_is_said_of_a_gpu_holds(found: dict[str, Any]) -> None:
    import torch

    assert found["usable"]["gpu"]["ok"] == torch.cuda.is_available()
    assert found["usable"]["gpu"]["detail"]


def test_how_threads_wait_is_said(found: dict[str, Any]) -> None:
    said = found["usable"]["threads"]
    assert said["ok"]
    assert f" (OMP_NUM_THREADS); {BRIEFLY}" in said["detail"]


@pytest.mark.parametrize(
    ("threads", "cores", "others", "fewer"),
    [("2", 2, 0, None), ("2", 2, 1, 1), ("1", 2, 1, None), ("8", 8, 3, 5), ("2", 2, 2, 1), ("1", 1, 1, None)],
)
def test_fewer_threads_where_cores_are_busy(threads: str, cores: int, others: int, fewer: int | None) -> None:
    said = doctor.crowded(f"{threads} (OMP_NUM_THREADS); …", cores, others)
    assert said == (
        f"; other processes keep {others} of {cores} cores busy: OMP_NUM_THREADS={fewer} is faster meanwhile"
        if fewer
        else ""
    )


def test_a_busy_core_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TRIALS", {"threads": ("numpy", "detail = '2 (OMP_NUM_THREADS)'\n")})
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 3})
    monkeypatch.setattr(doctor.psutil, "cpu_percent", lambda seconds, percpu: [100.0, 4.0, 100.0, 97.0])
    assert doctor.examine()["usable"]["threads"]["detail"] == (
        "2 (OMP_NUM_THREADS); other processes keep 1 of 2 cores busy: OMP_NUM_THREADS=1 is faster meanwhile"
    )


def test_every_extra_is_tried() -> None:
    declared = re.search(r"extras_require=(\{.*?\n    \})", (ROOT / "setup.py").read_text(), re.DOTALL)
    assert declared is not None
    extras = ast.literal_eval(declared[1])
    assert set(extras) - {"dev"} == set(doctor.EXTRAS.values())
    for name, extra in doctor.EXTRAS.items():
        assert any(need.startswith(doctor.TRIALS[name][0]) for need in extras[extra])


def test_text_is_for_people(found: dict[str, Any]) -> None:
    text = doctor._as_text(found)
    assert re.search("^recbole +1.2.1$", text, re.MULTILINE) and "patches active" in text
    assert "pip install --no-deps" not in text


def test_without_recbole_and_torch() -> None:
    missing = {"recbole", "torch", "ray", "transformers", "torchvision", "numpy", "pandas", "scipy"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert found["versions"]["recbole"] is None and found["versions"]["torch"] is None
    assert found["remedy"] == "pip install --no-deps recbole==1.2.1"
    assert found["usable"]["ray"]["detail"] == 'ray is not installed; run: pip install "recbole_mm[ray]"'


def test_a_library_that_does_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = {
        "recbole": ("numpy", "raise RuntimeError('broken build')\n"),
        "ray": ("numpy", "import os\nos._exit(9)\n"),
        "gpu": ("numpy", "import time\ntime.sleep(60)\n"),
    }
    monkeypatch.setattr(doctor, "TRIALS", trials)
    monkeypatch.setattr(doctor, "_SECONDS", 5)
    usable = doctor.examine()["usable"]
    assert usable["recbole"] == {"ok": False, "detail": "RuntimeError: broken build"}
    assert usable["ray"] == {"ok": False, "detail": "ended with code 9"}
    assert usable["gpu"] == {"ok": False, "detail": "not imported within 5 s"}


def test_a_part_of_an_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TRIALS", {"export": ("numpy", "import numpy\nimport onnx_that_is_not\n")})
    assert doctor.examine()["usable"]["export"] == {
        "ok": False,
        "detail": "ModuleNotFoundError: No module named 'onnx_that_is_not'; run: pip install \"recbole_mm[export]\"",
    }


def test_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TRIALS", {"recbole": ("numpy", "")})
    monkeypatch.setattr(doctor, "_version", lambda name: "1.1.1")
    text = doctor._as_text(doctor.examine())
    assert text.endswith("RecBole 1.2.1 is needed; run: pip install --no-deps recbole==1.2.1")
