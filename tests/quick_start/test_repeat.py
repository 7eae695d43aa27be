"""A run is repeated from its record or card alone, to the last digit; what differs is said."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from recbole_mm.cli import main
from recbole_mm.errors import Failure
from recbole_mm.quick_start import machine as machine_module
from recbole_mm.quick_start.machine import NO_ENERGY, Usage
from recbole_mm.quick_start.repeat import hold_to
from recbole_mm.quick_start.session import Session
from recbole_mm.report.card import read_record
from recbole_mm.run.spec import RunSpec
from recbole_mm.testing import write_toy

SEQUENTIAL = {
    "split": None,
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
    "train_neg_sample_args": None,
}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return write_toy(tmp_path, domains=2)


def made(model: str, settings: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    session = Session.build(RunSpec.of(model, "toy", {**settings, "seed": 7}))
    result = session.run()
    return session.trainer.folder.path, result.record


@pytest.mark.parametrize(
    ("model", "settings", "source"),
    [("CMC", {}, "card.html"), ("SASRec", SEQUENTIAL, "card.md"), ("LightGCN", {}, "record.json")],
)
def test_a_run_is_repeated_from_its_card_alone(toy, tmp_path, capsys, model, settings, source):
    folder, record = made(model, {**toy, **settings})
    shutil.copy(folder / source, tmp_path / f"alone{Path(source).suffix}")
    shutil.rmtree(folder)
    assert main(["run", f"--from=alone{Path(source).suffix}", "--checkpoint_dir=again"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "the same as the first run to the last digit"
    (again,) = Path("again").iterdir()
    repeated = read_record(again)
    assert repeated["test_result"] == record["test_result"]
    assert repeated["data"] == record["data"]
    assert {"curves.html", "card.md", "card.html", "showcase.json"} <= {path.name for path in again.iterdir()}


def test_a_repeated_run_that_differs_fails_and_says_what_else_is_different(toy, capsys):
    folder, record = made("BPR", toy)
    record["test_result"]["ndcg@10"] += 1e-8
    record["versions"]["torch"], record["workers"] = "0.1", 2
    (folder / "record.json").write_text(json.dumps(record))
    assert main(["run", "--from", str(folder)]) == 1
    said = capsys.readouterr().err
    value = record["test_result"]["ndcg@10"]
    assert f"error: the repeated run differs: test_result.ndcg@10 was {value}, is {value - 1e-8:.8f}" in said
    assert said.rstrip().endswith("; different are versions.torch, workers")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--from=nowhere"], "nowhere: no run there: it has no record.json; give the folder of a finished run, or its "
         "card"),
        (["--from=empty.md"], "empty.md: no card and no record of a run"),
        (["--from=some", "--model=BPR"], "--from names the whole run; leave --model, --dataset, --config_files and "
         "--resume out"),
        (["--from=some.json", "--epochs=3"], "--epochs: --from repeats a run as it was; without --from its settings "
         "can be changed"),
    ],
)  # fmt: skip
def test_what_cannot_be_repeated_is_one_line(tmp_path, monkeypatch, capsys, arguments, wanted):
    monkeypatch.chdir(tmp_path)
    Path("empty.md").write_text("# nothing\n")
    Path("some.json").write_text('{"model": "BPR", "dataset": "toy", "config": {}}')
    assert main(["run", *arguments]) == 2
    assert capsys.readouterr().err == f"error: {wanted}\n"


def test_the_card_tells_what_a_reviewer_asks(toy):
    folder, record = made("CMC", toy)
    card = (folder / "card.md").read_text()
    assert re.findall(r"^## (.*)$", card, re.M) == [
        "Result", "Question", "Data", "Features", "Training", "Settings", "Machine", "Repeat", "Record",
    ]  # fmt: skip
    for text in (
        "CMC on toy, seed 7", "toy.inter", f"sha256 {record['data']['files']['toy.inter']}", "80.0% of the items",
        "encoder toy", record["data"]["features"]["text"]["hash"], record["question"]["hashes"]["positives"],
        record["key"], "MiB", record["machine"]["processor"], "split_seed 2020",
    ):  # fmt: skip
        assert text in card, text
    page = (folder / "card.html").read_text()
    assert all(f">{heading}</h2>" in page for heading in ("Result", "Machine"))
    assert read_record(folder / "card.html") == read_record(folder / "card.md") == read_record(folder)


def test_every_atomic_file_is_in_the_record(tmp_path):
    for suffix in ("inter", "rel", "net", "genre", "yaml"):
        (tmp_path / f"{tmp_path.name}.{suffix}").write_text(f"{suffix}\n")
    config = {"data_path": tmp_path, "domains": None, "additional_feat_suffix": "genre"}
    assert machine_module.file_hashes(config) == {
        f"{tmp_path.name}.{suffix}": hashlib.sha256(f"{suffix}\n".encode()).hexdigest()
        for suffix in ("inter", "rel", "net", "genre")
    }


def test_energy_is_summed_over_a_counter_that_begins_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_module, "POWERCAP", tmp_path)
    assert Usage().as_dict()["energy_joules"] == NO_ENERGY
    for zone in ("intel-rapl:0", "intel-rapl:0:0"):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "max_energy_range_uj").write_text("100000000\n")
        (tmp_path / zone / "energy_uj").write_text("90000000\n")
    usage = Usage()
    for value in (95_000_000, 3_000_000):  # 5 J, then 5 to the end and 3 more
        (tmp_path / "intel-rapl:0/energy_uj").write_text(f"{value}\n")
        usage.on_epoch_end({})
    assert usage.as_dict()["energy_joules"] == 13.0


def test_equal_records_hold_and_lost_figures_do_not():
    record = {"test_result": {"ndcg@10": 0.5}, "epochs_run": 3}
    assert hold_to(record, record) == "the same as the first run to the last digit"
    with pytest.raises(Failure, match=r"test_result\.ndcg@10 was 0\.5, is None$"):
        hold_to(record, {"test_result": None, "epochs_run": 3})
