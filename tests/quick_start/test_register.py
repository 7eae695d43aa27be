"""RecBole's own scripts work with our models, in a process of their own (register changes RecBole's modules)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from recbole_mm.testing import write_toy

OWN_MODEL = """
from recbole.model.general_recommender import BPR

class TinyMF(BPR):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.bias = config["tiny_bias"]
"""
SCRIPT = """
from pathlib import Path
import recbole_mm
recbole_mm.register()
recbole_mm.register()
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.quick_start.quick_start import Config
from recbole.utils import get_trainer

settings = {settings!r}
own = {{"tiny_bias": 1, "embedding_size": 8}}
for model, more in (("CMC", {{}}), ("LightGCN", {{}}), ("tiny.py:TinyMF", own)):
    result = run_recbole(model=model, dataset="toy", config_dict={{**settings, **more}})
    assert set(result) == {{"best_valid_score", "valid_score_bigger", "best_valid_result", "test_result"}}
    name = model.split(":")[-1]
    print("done", name)
    (best,) = Path("saved").glob(name + "-toy-*/best.pth")
    config, model, dataset, train, valid, test = load_data_and_model(model_file=str(best))
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    print("loaded", name, trainer.evaluate(test, load_best_model=False) == result["test_result"])

odd = {{**settings, "learning_rate": 0, "hidden_size": 3, "eval_setting": "RO_RS,full"}}
assert run_recbole(model="BPR", dataset="toy", config_dict=odd)["test_result"]
config = Config(model="BPR", dataset="toy", config_dict=odd)
print("foreign", config["epochs"], "tb" in config, config["learning_rate"])
"""
# pytest's, a notebook's kernel's, Hydra's words, and one that is a key
WORDS = "--f=/run/user/kernel-1.json --tb=short --deselect=a --deselect=b -x tests a.b=c --epochs=1"


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """What the script said; it runs once."""
    folder = tmp_path_factory.mktemp("script")
    (folder / "tiny.py").write_text(OWN_MODEL)
    (folder / "script.py").write_text(SCRIPT.format(settings=write_toy(folder)))
    command = [sys.executable, "script.py", *WORDS.split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def said(script: subprocess.CompletedProcess[str], word: str) -> list[str]:
    return [line.removeprefix(f"{word} ") for line in script.stdout.splitlines() if line.startswith(word)]


def test_recboles_run_recbole_runs_our_models(script: subprocess.CompletedProcess[str]) -> None:
    assert said(script, "done") == ["CMC", "LightGCN", "TinyMF"]


def test_recboles_load_data_and_model_brings_them_back(script: subprocess.CompletedProcess[str]) -> None:
    assert said(script, "loaded") == ["CMC True", "LightGCN True", "TinyMF True"]


def test_the_command_line_of_another_program_is_left_alone_and_a_key_on_it_counts(
    script: subprocess.CompletedProcess[str],
) -> None:
    assert said(script, "foreign") == ["1 False 0"]
    assert "unknown key 'eval_setting'" in script.stderr


def test_a_key_without_effect_is_said_there_too(script: subprocess.CompletedProcess[str]) -> None:
    assert "hidden_size: no effect with BPR: it has no such key" in script.stdout + script.stderr
