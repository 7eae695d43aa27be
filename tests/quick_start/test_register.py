"""RecBole's own scripts work with our models, in a process of their own (register changes RecBole's modules)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recbole_mm.cli import main
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
from recbole.utils.case_study import full_sort_scores, full_sort_topk

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
    ids = dataset.token2id("user_id", ["u3", "u1"])
    _, items = full_sort_topk(ids, model, test, k=4)
    tokens = dataset.id2token("item_id", items.numpy()).ravel().tolist()
    whole = full_sort_scores(ids, model, test).topk(4).indices
    ours = recbole_mm.Session.open(best.parent).recommend(["u3", "u1"], 4)["item"].tolist()
    print("topk", name, tokens == ours, bool((whole == items).all()))

whole = {{**settings, "split": None, "epochs": 2}}
args = {{"order": "TO", "group_by": "user", "mode": "full"}}
for model in ("BPR", "GRU4Rec"):
    for split in ({{"LS": "test_only"}}, {{"RS": [0.8, 0, 0.2]}}, {{"LS": "valid_only"}}):
        given = {{**whole, "eval_args": {{**args, "split": split}}}}
        if model == "GRU4Rec":
            given["train_neg_sample_args"] = None
        result = run_recbole(model=model, dataset="toy", config_dict=given)
        print("parts", model, result["best_valid_result"] is None, result["test_result"] is None)

columns = ["user_id", "item_id", "part", "colour"]
odd = {{**settings, "learning_rate": 0, "eval_setting": "RO_RS,full", "load_col": {{"inter": columns}}}}
odd |= {{"hidden_size": 3, "save_dataset": True, "save_dataloaders": True}}
assert run_recbole(model="BPR", dataset="toy", config_dict=odd)["test_result"]
config = Config(model="BPR", dataset="toy", config_dict=odd)
print("foreign", config["epochs"], "tb" in config, config["learning_rate"])

import pickle
import sys
import recbole.quick_start.quick_start as entry
from recbole.config import Config as Theirs
from recbole.data import create_dataset, data_preparation
from recbole.model.general_recommender import BPR

class Own(BPR):
    def __init__(self, config, dataset):
        config["embedding_size"] = 4
        super().__init__(config, dataset)


print("class", sorted(run_recbole(model=Own, dataset="toy", config_dict=settings))[-1])
settings.pop("split")  # a key of ours
sys.argv[1:] = []  # RecBole's own refuses a word that comes twice
config = Theirs(model="BPR", dataset="toy", config_dict={{**settings, "checkpoint_dir": "theirs"}})
data = entry.create_dataset(config)
train, valid, test = entry.data_preparation(config, data)
made = get_trainer(config["MODEL_TYPE"], "BPR")(config, BPR(config, data))
made.fit(train, valid)
(file,) = Path("theirs").glob("*.pth")
config, _, _, _, _, test = load_data_and_model(model_file=str(file))
print("theirs", type(made).__name__, "mm" in type(made.evaluator).__module__, type(config) is Theirs)
Path("objective.pickle").write_bytes(pickle.dumps([entry.objective_function, entry.run_recboles]))
"""
WORKER = """
import pickle, sys
objective, _ = pickle.loads(open("objective.pickle", "rb").read())
print(sorted(objective({settings!r}, saved=False)))
"""
CALLS = """
import unittest
from pathlib import Path
import recbole_mm
recbole_mm.register()
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.quick_start.quick_start import Config

settings = {settings!r}

def call():
    assert Config(model="BPR", dataset="toy", config_dict=settings)["epochs"] == settings["epochs"]
    assert run_recbole(model="BPR", dataset="toy", config_dict=settings)["test_result"]
    folder = recbole_mm.run_recbole_mm("BPR", "toy", config_dict=settings)["folder"]
    assert load_data_and_model(model_file=folder)[0]["model"] == "BPR"
    Path("called").touch()

class TestCalls(unittest.TestCase):
    def test_call(self):
        call()
"""
CLICK = """
import click
from test_calls import call

@click.command()
@click.option("--size")
@click.option("--tb")
def program(size, tb):
    call()

program()
"""
# a notebook's kernel's, torchrun's, Hydra's and pytest's words, and one that is a key
WORDS = "--f=/run/user/kernel-1.json --nproc_per_node=2 --master_port=29500 +db.x=1 --tb=short --deselect=a"
WORDS += " --deselect=b -x tests a.b=c --epochs=1"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with the toy data, and their settings."""
    folder = tmp_path_factory.mktemp("script")
    return folder, write_toy(folder)


@pytest.fixture(scope="module")
def script(toy: tuple[Path, dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    """What the script said; it runs once."""
    folder, settings = toy
    (folder / "tiny.py").write_text(OWN_MODEL)
    (folder / "script.py").write_text(SCRIPT.format(settings=settings))
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


def test_recboles_full_sort_topk_gives_our_lists(script: subprocess.CompletedProcess[str]) -> None:
    assert said(script, "topk") == [f"{model} True True" for model in ("CMC", "LightGCN", "TinyMF")]


def test_a_split_without_validation_or_test_runs_as_in_recbole(
    script: subprocess.CompletedProcess[str],
) -> None:
    kinds = ["True False", "True False", "False True"]
    assert said(script, "parts") == [f"{model} {kind}" for model in ("BPR", "GRU4Rec") for kind in kinds]
    assert script.stderr.count("no validation part: no early stopping") == 4
    assert script.stderr.count("no test part: nothing is tested") == 2


def test_the_command_line_of_another_program_is_left_alone_and_a_key_on_it_counts(
    script: subprocess.CompletedProcess[str],
) -> None:
    assert said(script, "foreign") == ["1 False 0"]
    assert "unknown key 'eval_setting'" in script.stderr
    assert "toy.inter has no field 'colour'" in script.stderr
    assert "save_dataset: no effect, recbole_mm keeps no pickled data" in script.stderr


def test_a_key_without_effect_is_said_there_too(script: subprocess.CompletedProcess[str]) -> None:
    assert "hidden_size: no effect with BPR: it has no such key" in script.stdout + script.stderr


def test_a_class_in_place_of_a_name(script: subprocess.CompletedProcess[str]) -> None:
    assert said(script, "class") == ["valid_score_bigger"]


def test_a_configuration_of_recboles_gets_recboles_parts(script: subprocess.CompletedProcess[str]) -> None:
    assert said(script, "theirs") == ["Trainer False True"]


@pytest.mark.usefixtures("script")
def test_the_process_of_a_trial_knows_our_models(toy: tuple[Path, dict[str, Any]]) -> None:
    folder, settings = toy
    settings = {**settings, "model": "CMC", "dataset": "toy", "epochs": 1}
    command = [sys.executable, "-c", WORKER.format(settings=settings), "--tb=short"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "'test_result'" in done.stdout


@pytest.mark.parametrize(
    "launcher",
    [
        "-m pytest --tb=short --deselect=a --deselect=b -p no:cacheprovider test_calls.py",
        pytest.param("-m unittest -v test_calls", marks=pytest.mark.slow),
        pytest.param("program.py --size=3 --tb=long", marks=pytest.mark.slow),
    ],
)
def test_launchers(launcher: str, tmp_path: Path) -> None:
    """The words of another program's command line are its own."""
    if launcher.startswith("program"):
        pytest.importorskip("click")
    settings = {**write_toy(tmp_path), "epochs": 1}
    (tmp_path / "test_calls.py").write_text(CALLS.format(settings=settings))
    (tmp_path / "program.py").write_text(CLICK)
    command = [sys.executable, *launcher.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    assert (tmp_path / "called").exists()


def test_a_typo_on_our_command_line_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--model=BPR", "--dataset=ml-100k", "--learning_rat=0.1"]) == 2
    said = capsys.readouterr().err
    assert said == "error: unknown key 'learning_rat' (command line); did you mean 'learning_rate'?\n"
