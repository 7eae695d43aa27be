"""A run as values: stages read and written, keys there and back, paths that can be moved."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recbole_mm.errors import WrongUse
from recbole_mm.run.spec import PARTS, RunSpec, StageSpec, read_stages, relative_paths


def test_stages_are_read() -> None:
    assert read_stages(["SOURCE:3", "both: 10:2"]) == (StageSpec("SOURCE", 3), StageSpec("BOTH", 10, 2))
    assert read_stages(None) == ()


@given(st.sampled_from(PARTS), st.integers(1, 10**6), st.none() | st.integers(0, 100))
def test_a_stage_is_its_text(part: str, epochs: int, patience: int | None) -> None:
    stage = StageSpec(part, epochs, patience)
    assert StageSpec.parse(str(stage)) == stage


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["SOURSE:3"], "'SOURSE:3' names no part of the training rows; did you mean 'SOURCE'"),
        (["x:3"], "there are SOURCE, TARGET, BOTH, OVERLAP"),
        (["SOURCE:x"], "'SOURCE:x' is not PART:EPOCHS"),
        (["SOURCE"], "'SOURCE' is not PART:EPOCHS"),
        (["SOURCE:0"], "epochs >= 1"),
        (["SOURCE:2.5"], "whole numbers"),
        (["SOURCE:2:1:1"], "is not PART:EPOCHS"),
        ("SOURCE:3", "expected a list"),
        ([], "expected a list"),
    ],
)
def test_malformed_stages_are_one_line(value: Any, message: str) -> None:
    with pytest.raises(WrongUse, match=message) as caught:
        read_stages(value)
    assert "\n" not in str(caught.value)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1), plain), st.none() | st.integers(0))
def test_a_run_survives_yaml_and_pickle(settings: dict[str, Any], seed: int | None) -> None:
    for key in ("model", "dataset", "seed", "train_epochs", "init_from"):
        settings.pop(key, None)
    spec = RunSpec("a.py:Mine", "toy", settings, seed, (StageSpec("BOTH", 2),), "saved/x", "a row", "key")
    again = RunSpec.from_dict(yaml.safe_load(yaml.safe_dump(spec.as_dict())))
    assert again == spec == pickle.loads(pickle.dumps(spec))
    assert (again.label, again.key) == ("a row", "key")
    assert RunSpec.of("a.py:Mine", "toy", spec.config_dict()) == spec


def test_paths_are_seen_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"data_path": str(tmp_path / "data"), "modalities": {"text": str(tmp_path / "t")}, "field": "/"}
    assert relative_paths(given) == {"data_path": "data", "modalities": {"text": "t"}, "field": "/"}
