"""`recbole-mm models` and `recbole-mm keys`: nothing is missing, each has its line, a machine can read them."""

from __future__ import annotations

import json

import pytest

from recbole_mm.cli import main
from recbole_mm.config.known import declared_keys
from recbole_mm.config.properties import load_internal, properties_dir
from recbole_mm.model import model_names
from recbole_mm.quick_start.keys import keys
from recbole_mm.quick_start.models import models
from recbole_mm.run.key import KEYS


def test_every_model_is_listed_with_its_family() -> None:
    found = {line["model"]: line for line in models()}
    assert found.keys() == model_names().keys()
    assert found["CMC"]["family"] == "recbole_mm" and found["CMC"]["about"].startswith("CMC: cross-modal")
    assert found["SASRec"]["family"] == "sequential" and found["BPR"]["about"]


def test_every_key_of_ours_has_its_line() -> None:
    found = {line["key"]: line for line in keys()}
    ours = load_internal(properties_dir() / "overall.yaml")
    assert ours.keys() <= found.keys()
    assert [key for key in ours if not found[key]["about"] and not isinstance(ours[key], dict)] == []
    assert "one of domain, all" in found["eval_candidates"]["about"]
    assert found["learning_rate"]["default"] == 0.001 and "[a value > 0]" in found["learning_rate"]["about"]


def test_every_key_that_is_described_exists() -> None:
    assert set(KEYS) <= {*declared_keys(), "valid_metric_bigger", "device"}  # RecBole sets these two


def test_both_print_for_a_person_and_for_a_machine(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["models"], ["keys"], ["keys", "CMC"]):
        assert main(command) == 0
        assert capsys.readouterr().out.count("\n") > 10
        assert main([*command, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)
    assert main(["keys", "CMCC"]) == 2
    assert "did you mean 'CMC'" in capsys.readouterr().err


def test_verbose_shows_where_with_any_command(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["keys", "CMCC"], ["run", "--model=CMCC", "--dataset=ml-100k"], ["store", "info", "/no"]):
        assert main(command) == 2
        assert "Traceback" not in capsys.readouterr().err
        assert main([*command, "--verbose"]) == 2
        said = capsys.readouterr().err
        assert "Traceback" in said and said.count("error: ") == 1
