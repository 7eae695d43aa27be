"""The examples of RecBole's documentation, read out of its source tree and run as written, each in its own process.

`run.py` copies this file beside the tree's `docs` and `run_example` and runs it with the tests.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import modes
import pytest

TREE = Path(__file__).resolve().parent
GUIDE = TREE / "docs/source"
MODE = os.environ["RECBOLE_SUITE_MODE"]
QUICK = ("--epochs=1", "--train_batch_size=8192", "--eval_batch_size=8192", "--state=INFO")


def block(file: str, number: int) -> str:
    """The Python code after the ``number``-th ``.. code:: python`` of a page; -1 is the last."""
    pages = re.split(r"^\.\. code:: python3? *\n", (GUIDE / file).read_text(encoding="utf-8"), flags=re.M)[1:]
    lines = []
    for line in pages[number].splitlines():
        if line.strip() and not line.startswith(" "):
            break
        lines.append(line)
    return textwrap.dedent("\n".join(lines)) + "\n"


def script(folder: Path, name: str, *parts: str) -> Path:
    file = folder / name
    file.write_text("".join(parts), encoding="utf-8")
    return file


def run(file: Path, *words: str, folder: Path | None = None) -> str:
    """What a script says in the mode; it must end well."""
    command = [sys.executable, modes.__file__, MODE, str(file), *words]
    done = subprocess.run(command, cwd=folder or file.parent, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]
    return done.stdout + done.stderr


@pytest.fixture
def newmodel(tmp_path: Path) -> Path:
    """The folder that `customize_models` describes: its model in a file, and its `run.py`."""
    script(tmp_path, "newmodel.py", block("developer_guide/customize_models.rst", -3))
    script(tmp_path, "run.py", block("developer_guide/customize_models.rst", -2))
    return tmp_path


def test_own_model(newmodel: Path) -> None:
    assert "NewModel" in run(newmodel / "run.py", "--embedding_size=64", *QUICK)


def test_own_model_in_run_recbole(newmodel: Path) -> None:
    """A class in place of a name: `Config` takes it, and so RecBole's quick start after `get_model` is told of it."""
    lines = """
import recbole.quick_start.quick_start as entry
from newmodel import NewModel
found = entry.get_model
entry.get_model = lambda name: NewModel if name == "NewModel" else found(name)
print(sorted(entry.run_recbole(model=NewModel, dataset="ml-100k")))
"""
    assert "'test_result'" in run(script(newmodel, "quick.py", lines), "--embedding_size=64", *QUICK)


def test_own_dataset(newmodel: Path) -> None:
    """`create_dataset` says: a class in `recbole.data.dataset` that is named as the model, then `Dataset`."""
    lines = """
import recbole.data.dataset as classes
from recbole.data.dataset import Dataset

class NewModelDataset(Dataset):
    def _data_filtering(self):
        super()._data_filtering()
        self.inter_feat = self.inter_feat[: len(self.inter_feat) // 2]
        print("own data set", len(self.inter_feat))

classes.NewModelDataset = NewModelDataset
"""
    start = (newmodel / "run.py").read_text()
    said = run(script(newmodel, "own.py", lines, start), "--embedding_size=8", *QUICK)
    assert said.count("own data set 50000") == 1


@pytest.mark.parametrize("form", ["as written", "with alpha"])
def test_own_sampler(tmp_path: Path, form: str) -> None:
    """`customize_samplers`; RecBole 1.2.1's `AbstractSampler` takes one argument more."""
    lines = """
import numpy as np
import recbole.data.utils
from recbole.quick_start import run_recbole
from recbole.sampler import KGSampler as Given
from recbole.sampler.sampler import AbstractSampler
"""
    use = """
class Seen(KGSampler):
    asked = 0

    def sample_by_entity_ids(self, head_entity_ids, num=1):
        Seen.asked += len(head_entity_ids)
        found = super().sample_by_entity_ids(head_entity_ids, num)
        for head, tail in zip(np.asarray(head_entity_ids), np.asarray(found)):
            assert tail not in self.used_ids[head]
        return found

    def __init__(self, dataset, distribution="uniform", alpha=1.0):
        super().__init__(dataset, distribution)

recbole.data.utils.KGSampler = Seen
run_recbole(model="CFKG", dataset="ml-100k")
print("asked", Seen.asked > 0)
"""
    code = block("developer_guide/customize_samplers.rst", -1)
    if form != "as written":
        code = code.replace("(distribution=distribution)", "(distribution=distribution, alpha=1.0)")
    assert "asked True" in run(script(tmp_path, "own.py", lines, code, use), *QUICK)


def test_own_metric(tmp_path: Path) -> None:
    """`customize_metrics`: the class of its page, with a logic, entered as RecBole enters those of its own file."""
    page = "developer_guide/customize_metrics.rst"
    head, body = block(page, 1), textwrap.indent(block(page, 2), "    ")
    body = body.replace("# Add the logic of your metric here.", "result_dict = {f'mymetric@{k}': "
                        "float(len(set(rec_items[:, :k].flatten().tolist()))) for k in self.topk}")  # fmt: skip
    lines = """
            self.topk = config["topk"]
"""
    use = """
from recbole.evaluator import register
from recbole.quick_start import run_recbole

register.metrics_dict["mymetric"] = MyMetric
register.metric_types["mymetric"] = MyMetric.metric_type
register.metric_information["mymetric"] = MyMetric.metric_need
register.smaller_metrics.append("mymetric")
settings = {"metrics": ["NDCG", "MyMetric"], "valid_metric": "MyMetric@10", "topk": [10]}
result = run_recbole(model="Pop", dataset="ml-100k", config_dict=settings)
print("smaller", result["valid_score_bigger"], result["test_result"]["mymetric@10"] >= 10)
"""
    text = head.rstrip() + lines + body
    assert "smaller False True" in run(script(tmp_path, "own.py", text, use), *QUICK)


TRAINER = """
from newmodel import NewModel as Written

class NewModel(Written):
    def calculate_loss1(self, interaction):
        return self.calculate_loss(interaction)

    def calculate_loss2(self, interaction):
        return 2 * self.calculate_loss(interaction)
"""


@pytest.mark.parametrize("form", ["as written", "with show_progress"])
def test_own_trainer(newmodel: Path, form: str) -> None:
    """`customize_trainers`, alternative optimisation; RecBole 1.2.1 calls `_train_epoch` with a keyword more."""
    code = block("developer_guide/customize_trainers.rst", 2)
    if form != "as written":
        code = code.replace("train_data, epoch_idx)", "train_data, epoch_idx, show_progress=False)")
    start = (newmodel / "run.py").read_text()
    start = start.replace("from newmodel import NewModel", TRAINER).replace("= Trainer(", "= NewTrainer(")
    run(script(newmodel, "own.py", code, start), "--embedding_size=8", "--epochs=2", *QUICK[1:])


def test_modules(tmp_path: Path) -> None:
    """`use_modules`: each part made by hand."""
    run(script(tmp_path, "run.py", block("user_guide/usage/use_modules.rst", 0)), *QUICK)


def test_tuning(tmp_path: Path) -> None:
    """`parameter_tuning`: an objective function of one's own, and the search of the page over a smaller space."""
    page = "user_guide/usage/parameter_tuning.rst"
    (tmp_path / "model.hyper").write_text("learning_rate choice [0.01,0.001]\n")
    (tmp_path / "example.yaml").write_text("model: BPR\ndataset: ml-100k\n")
    lines = """
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer
from recbole.utils import init_seed as seeded
def init_seed(seed): seeded(seed, True)
"""
    own, search = block(page, 1), block(page, 3)
    search = search.replace("from recbole.quick_start import objective_function\n", "")
    said = run(script(tmp_path, "own.py", lines, own, search), *QUICK)
    assert said.count("'learning_rate'") >= 2 and "best params" in said


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`run_example` in a place of its own: the scripts write to its neighbours."""
    folder = tmp_path_factory.mktemp("tree") / "run_example"
    folder.mkdir()
    for file in (TREE / "run_example").glob("*.py"):
        (folder / file.name).write_text(file.read_text())
    return folder


def test_save_and_load_example(examples: Path) -> None:
    run(examples / "save_and_load_example.py", *QUICK)


def test_case_study_example(examples: Path) -> None:
    """With the path of a model that was just saved, as its comment asks for."""
    lines = "from recbole.quick_start import run_recbole\n"
    lines += "run_recbole(model='BPR', dataset='ml-100k', config_dict={'checkpoint_dir': '../stored'})\n"
    run(script(examples, "train.py", lines), *QUICK)
    (saved,) = (file for file in examples.parent.glob("stored/**/*.pth") if file.name != "last.pth")
    text = (examples / "case_study_example.py").read_text()
    text = text.replace("../saved/BPR-Aug-20-2021_03-32-13.pth", os.path.relpath(saved, examples))
    run(script(examples, "case_study.py", text))


@pytest.mark.parametrize(
    "words",
    [(), ("--train_neg_sample_args=None",), ("--train_neg_sample_args=None", "--validation")],
    ids=["as written", "without negatives", "with validation"],
)
def test_session_based_rec_example(examples: Path, words: tuple[str, ...]) -> None:
    """On sessions of our own: the data sets that it names are downloads. Its `neg_sampling` is no key of 1.2.1."""
    folder = examples / "dataset/diginetica-session"
    folder.mkdir(parents=True, exist_ok=True)
    for part, first in (("train", 0), ("test", 300)):
        rows = [
            f"{s}\t{' '.join(str((s + k) % 50) for k in range(1 + s % 5))}\t{(s + 7) % 50}"
            for s in range(first, first + 300)
        ]
        text = "\n".join(["session_id:token\titem_id_list:token_seq\titem_id:token", *rows])
        (folder / f"diginetica-session.{part}.inter").write_text(text + "\n")
    run(examples / "session_based_rec_example.py", *words, *QUICK)


def test_command_line(tmp_path: Path) -> None:
    """`tests/config/test_command_line.py` with the words of RecBole's `run_test.sh`."""
    words = "--use_gpu=False --valid_metric=Recall@10 --metrics=['Recall'] --epochs=200 --learning_rate=0.3"
    assert run(TREE / "tests/config/test_command_line.py", *words.split(), folder=tmp_path).endswith("OK\n")


def test_run_recbole(tmp_path: Path) -> None:
    run(TREE / "run_recbole.py", "--model=BPR", *QUICK, folder=tmp_path)


def test_run_recbole_group(tmp_path: Path) -> None:
    (tmp_path / "latex").mkdir()
    run(TREE / "run_recbole_group.py", "-m", "BPR,Pop", *QUICK, folder=tmp_path)
    assert "BPR" in (tmp_path / "latex/test.tex").read_text()


def test_run_hyper(tmp_path: Path) -> None:
    (tmp_path / "small.hyper").write_text("embedding_size choice [8,16]\n")
    (tmp_path / "small.yaml").write_text("model: BPR\ndataset: ml-100k\n")
    words = ("--params_file=small.hyper", "--config_files=small.yaml", "--output_file=found.txt")
    run(TREE / "run_hyper.py", *words, *QUICK, folder=tmp_path)
    assert (tmp_path / "found.txt").read_text().count("Test result") == 2


def test_significance_test(tmp_path: Path) -> None:
    for name, size in (("ours", 8), ("theirs", 4)):
        (tmp_path / f"{name}.yaml").write_text(f"embedding_size: {size}\n")
    words = ("--config_files=ours.yaml theirs.yaml", "--run_times=2", "--model_baseline=BPR")
    run(TREE / "significance_test.py", *words, *QUICK, folder=tmp_path)
    assert "pvalue" in (tmp_path / "significant_test.txt").read_text()
