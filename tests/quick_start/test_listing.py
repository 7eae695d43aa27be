from __future__ import annotations

import json

import pytest

from recbole_mm.cli import main
from recbole_mm.config.properties import load_internal, recbole_dir
from recbole_mm.errors import WrongUse
from recbole_mm.files import properties_dir
from recbole_mm.model import model_names
from recbole_mm.quick_start.listing import keys, models
from recbole_mm.run.key import KEYS


def test_every_model_has_a_line() -> None:
    found = {entry["name"]: entry for entry in models()}
    assert set(found) == set(model_names())
    assert found["CMC"]["of"] == "recbole_mm" and found["SASRec"]["of"] == "RecBole sequential"
    assert found["BPR"]["about"].startswith("BPR is")
    assert all(entry["about"] for entry in found.values() if entry["of"] == "recbole_mm")


def test_every_key_has_its_default_and_a_line() -> None:
    found = {entry["key"]: entry for entry in keys()}
    ours = load_internal(properties_dir() / "overall.yaml")
    assert set(found) == {
        *ours,
        *load_internal(recbole_dir() / "properties/overall.yaml"),
        *load_internal(recbole_dir() / "properties/dataset/sample.yaml"),
    }
    assert [key for key, entry in found.items() if not entry["about"]] == []
    assert {key for key, entry in found.items() if entry["of"] == "recbole_mm"} == set(ours)
    assert found["min_coverage"]["default"] == 0.5
    # a text with the sign of a comment, and a key with lines below it
    assert found["eval_args"]["about"].startswith("(dict) 4 keys")
    assert found["domain_groups"]["about"].startswith("(dict or None) Group: its tags")


@pytest.mark.parametrize("model", ["CMC", "VBPR", "SASRec", "XGBoost"])
def test_keys_of_a_model(model: str) -> None:
    named = [entry for entry in keys(model) if entry["about"]]
    assert len(named) >= 3 and not {entry["key"] for entry in named} & {"epochs", "seed"}


def test_keys_of_no_model() -> None:
    with pytest.raises(WrongUse, match="no model 'CMCC'; did you mean 'CMC'"):
        keys("CMCC")


def test_the_commands_print_text_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == models()
    assert main(["keys", "CMC", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == keys("CMC")
    assert main(["keys"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(keys())
    assert next(line for line in lines if line.startswith("protocol ")).endswith(
        f"({KEYS['protocol'].allowed})"
    )
    assert main(["models"]) == 0
    assert "RecBole knowledge_aware" in capsys.readouterr().out
