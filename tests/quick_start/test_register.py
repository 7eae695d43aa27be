"""RecBole's own script works with our models, in a process of its own (register changes RecBole's modules)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from recbole_mm.testing import write_toy

SCRIPT = """
import recbole_mm
recbole_mm.register()
recbole_mm.register()
from recbole.quick_start import run_recbole

for model in ("CMC", "BPR"):
    result = run_recbole(model=model, dataset="toy", config_dict={settings!r})
    assert set(result) == {{"best_valid_score", "valid_score_bigger", "best_valid_result", "test_result"}}
    print("done", model, result["test_result"]["ndcg@10"])
"""


def test_recboles_run_recbole_runs_our_model(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(settings=write_toy(tmp_path)))
    done = subprocess.run(
        [sys.executable, str(script), "--epochs=1", "--state=ERROR"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("done")] == ["CMC", "BPR"]


FOREIGN = """
import recbole_mm
recbole_mm.register()
from recbole.quick_start import run_recbole
from recbole.quick_start.quick_start import Config

settings = {{**{settings!r}, "learning_rate": 0, "eval_setting": "RO_RS,full"}}
assert run_recbole(model="BPR", dataset="toy", config_dict=settings)["test_result"]
config = Config(model="BPR", dataset="toy", config_dict=settings)
assert config["epochs"] == 1 and "tb" not in config and config["learning_rate"] == 0
"""


def test_the_command_line_of_another_program_is_left_alone_and_a_key_on_it_counts(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(FOREIGN.format(settings=write_toy(tmp_path)))
    words = "--f=/run/user/kernel-1.json --tb=short --deselect=a --deselect=b -x tests a.b=c --epochs=1"
    done = subprocess.run(
        [sys.executable, str(script), *words.split()], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "unknown key 'eval_setting'" in done.stderr
