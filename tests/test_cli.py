"""What a person's mistake gives: exit code 1 or 2, one line that says what to do, no traceback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_mm.cli import main
from recbole_mm.testing import write_toy


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    settings = write_toy(tmp_path)
    keys = ("data_path", "modality_path", "checkpoint_dir", "min_coverage", "train_batch_size", "epochs")
    return ["run", "--model=CMC", "--dataset=toy", *(f"--{key}={settings[key]}" for key in keys)]


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and error.strip().endswith(lines[0]) and "Traceback" not in error
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--model=CMC", "--dataset=ml-100k", "--learnign_rate=0.1"], "learning_rate"),
        (["--model=SASREC", "--dataset=ml-100k"], "SASRec"),
        (["--model=CMC", "--dataset=nosuch"], "nosuch"),
        (["--model=CMC", "--dataset=ml-100k", "--epochs=ten"], "epochs: expected int"),
        (["--model=CMC", "--dataset=ml-100k", "--modalities=[txet]"], "txet"),
        (["--model=CMC"], "--dataset"),
        ([], "--model"),
        (["--model=CMC", "--dataset=ml-100k", "--config_files=none.yaml"], "none.yaml"),
        (["--model=CMC", "--model=BPR", "--dataset=ml-100k"], "--model is given twice, as 'CMC' and 'BPR'"),
        (
            ["--model=CMC", "--dataset=ml-100k", "--config_files=a.yaml", "--config_files=b.yaml"],
            "is given twice",
        ),
        (["--model=BPR", "--dataset=ml-100k", "--cpus=3"], "--cpus goes with --engine ray"),
        (["--model=BPR", "--dataset=ml-100k", "--json=."], "--json: . is a folder; name a file"),
        (
            ["--model=BPR", "--dataset=ml-100k", "--json=a-file/x.json"],
            "a-file is a file, so nothing can be written",
        ),
        (
            ["--model=BPR", "--dataset=ml-100k", "--checkpoint_dir=a-file"],
            "a-file is a file, so nothing can be",
        ),
        (
            ["--model=BPR", "--dataset=ml-100k", "--user_inter_num_interval=[5000,inf)"],
            "no row of inter_feat is left",
        ),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(
    arguments: list[str],
    hint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").touch()
    assert main(arguments, run_by_default=True) == 2
    assert hint in one_line(capsys)


def test_a_yaml_with_a_tab(toy: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text("epochs: 3\ntopk:\n\t- 10\n")
    assert main([*toy, "--config_files=bad.yaml"]) == 2
    assert "bad.yaml, line 3" in one_line(capsys)


@pytest.mark.parametrize(("content", "hint"), [("", "is empty"), ("u1\ti1\nu2\ti2\n", "line 1")])
def test_a_broken_inter(
    toy: list[str], tmp_path: Path, content: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy" / "toy.inter").write_text(content)
    assert main(toy) == 2
    assert hint in one_line(capsys)


def test_a_truncated_store(toy: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = tmp_path / "modality" / "toy" / "text" / "values.npy"
    values.write_bytes(values.read_bytes()[:-40])
    assert main(toy) == 2
    assert "values.npy" in one_line(capsys)


def test_run_prints_a_result_and_writes_its_twin(
    toy: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*toy, f"--json={tmp_path / 'run.json'}"]) == 0
    assert "test:" in capsys.readouterr().out
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["stopped_by"] == "cap" and len(record["history"]) == 2
    assert set(record["test_result"]) >= {"recall@10", "ndcg@10"}


def test_resume_goes_on_from_the_command_line(toy: list[str], tmp_path: Path) -> None:
    assert main([*toy, "--keep_checkpoints=all"]) == 0
    (half,) = (tmp_path / "saved").iterdir()
    assert main(["run", f"--resume={half}", "--epochs=4", f"--json={tmp_path / 'rest.json'}"]) == 0
    whole_arguments = [a for a in toy if not a.startswith("--epochs")]
    assert main([*whole_arguments, "--epochs=4", f"--json={tmp_path / 'whole.json'}"]) == 0
    rest, whole = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("rest", "whole"))
    assert rest["test_result"] == whole["test_result"]
    assert [e["loss"] for e in rest["history"]] == [e["loss"] for e in whole["history"]]


def test_the_same_run_twice_is_the_same(toy: list[str], tmp_path: Path) -> None:
    results = []
    for name in ("a", "b"):
        assert main([*toy, f"--json={tmp_path / name}"]) == 0
        record = json.loads((tmp_path / name).read_text())
        results.append((record["test_result"], [e["loss"] for e in record["history"]]))
    assert results[0] == results[1]


def test_unknown_commands_are_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["comprae"]) == 2
    assert "'compare'" in one_line(capsys)
    assert main(["--help"]) == 0
    assert "doctor" in capsys.readouterr().out
    assert main(["store", "biuld"]) == 2
    one_line(capsys)


@pytest.mark.parametrize(
    "command", [["store", "info", "nosuch"], ["compare", "--models=Nosuch"], ["keys", "Nosuch"]]
)
def test_verbose_shows_where_an_error_arose(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 2
    one_line(capsys)
    assert main([*command, "--verbose"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("Traceback") and error.splitlines()[-1].startswith("error: ")


def test_commands_import_no_heavy_library_that_they_do_not_need() -> None:
    """Of what takes long: help needs none of it, a run neither scikit-learn with scipy.stats nor what extras bring."""
    code = (
        "import sys; from recbole_mm.cli import main; main(['--help'])\n"
        "heavy = {'torch', 'recbole', 'numpy', 'pandas', 'yaml'} & set(sys.modules)\n"
        "import recbole_mm.quick_start.run, recbole_mm.quick_start.tune, recbole_mm.quick_start.search.trial_run\n"
        "from recbole_mm.model import get_model; get_model('BPR'), get_model('SASRec')\n"
        "extras = ['sklearn', 'scipy.stats', 'ray', 'transformers', 'torchvision', 'plotly', 'faiss', 'onnx']\n"
        "print(sorted(heavy), [name for name in extras if name in sys.modules], file=sys.stderr)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[] []"


@pytest.mark.parametrize("command", ["run", "compare"])
def test_a_run_goes_on_when_nobody_reads_what_it_says(
    toy: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """``… 2>&1 | head``, or a terminal that is gone: exit code 0 is a result that is there."""
    reader, writer = os.pipe()
    os.close(reader)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, os.fdopen(os.dup(writer), "w", buffering=1))
    words, left = toy, "saved/*/record.json"
    if command == "compare":
        words = [command, *(word for word in toy if word.startswith("--") and "model=" not in word)]
        words = [word for word in words if "checkpoint_dir" not in word]
        words, left = [*words, "--models=BPR", "--seeds=1", "--out=table"], "table/result.json"
    assert main(words) == 0
    assert list(tmp_path.glob(left))


def test_letters_that_the_output_lacks_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under ``LC_ALL=en_US.ISO-8859-1``."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    assert main(["keys", "CMC"]) == 0
    assert b"?" in written.getvalue()


def test_a_closed_output_is_no_error(monkeypatch: pytest.MonkeyPatch, toy: list[str], tmp_path: Path) -> None:
    """As of ``>&- 2>&-``."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert main(toy) == 0
    assert list(tmp_path.glob("saved/*/record.json"))
