"""``epochs: 0``: the first weights are evaluated, and that is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_mm.cli import main
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec
from recbole_mm.testing import write_toy


@pytest.mark.parametrize("model", ["BPR", "RaCT"])  # RecBole trains the second with a `fit` of its own
def test_the_untrained_model_is_tested_and_said_to_be(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    toy = write_toy(tmp_path, ()) | {"epochs": 0}
    session = Session.build(RunSpec(model, "toy", toy))
    untrained = {part: session.evaluate(part) for part in ("valid", "test")}
    record = session.run().record
    assert record["test_result"] == untrained["test"] and record["best_valid_result"] == untrained["valid"]
    assert record["best_valid_score"] == untrained["valid"]["mrr@10"]
    assert (record["epochs_run"], record["stopped_by"]) == (0, "no training")
    keys = ("data_path", "checkpoint_dir", "min_coverage", "epochs")
    assert (
        main(["run", "-q", f"--model={model}", "--dataset=toy", *(f"--{key}={toy[key]}" for key in keys)])
        == 0
    )
    said = capsys.readouterr()
    assert f"epochs: 0: {model} is tested with its first weights" in said.out + said.err
    assert "0 epochs, ended by no training" in said.out


def test_a_run_that_goes_on_from_it_is_a_run_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    toy = write_toy(tmp_path, ()) | {"keep_checkpoints": "all"}
    whole = Session.build(RunSpec("BPR", "toy", toy)).run().record
    first = Session.build(RunSpec("BPR", "toy", toy | {"epochs": 0}))
    first.run()
    rest = Session.build(RunSpec("BPR", "toy", toy)).run(resume=first.trainer.folder.path).record
    for name in ("best_valid_score", "test_result", "epochs_run"):
        assert rest[name] == whole[name]
