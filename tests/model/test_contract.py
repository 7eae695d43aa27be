"""Every model of ours, found by itself, passes the contract, on one domain and on several."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from recbole.model.abstract_recommender import AbstractRecommender

import recbole_mm.model
from recbole_mm.model import model_names
from recbole_mm.model.base import TwoTowerRecommender
from recbole_mm.testing import ModelContract

OURS = {name: where for name, where in model_names().items() if where.startswith("recbole_mm.model.")}
#: what a model needs on the toy set beside its own defaults
SETTINGS: dict[str, dict[str, Any]] = {
    "CPMM": {"embedding_size": 16, "input_size": 12, "train_batch_size": 8},
    "MMT": {
        "hidden_size": 16,
        "n_layers": 1,
        "n_heads": 2,
        "inner_size": 16,
        "shared_size": 8,
        "history_length": 3,
        "train_batch_size": 128,  # three batches an epoch
    },
    "SASRecMM": {"hidden_size": 16, "n_layers": 1, "inner_size": 16, "sequence_split": "interactions"},
    "UniSRec": {
        "hidden_size": 16,
        "n_layers": 1,
        "inner_size": 16,
        "n_experts": 2,
        "sequence_split": "interactions",
    },
}

#: the fewest modalities that a model learns from
FEWEST = {"CPMM": 1, "ContentKNN": 1, "UniSRec": 1}

for _name in OURS:
    for _domains in (1, 2, 3):
        _title = f"Test{_name}" if _domains == 1 else f"Test{_name}On{_domains}Domains"
        globals()[_title] = type(
            _title,
            (ModelContract,),
            {
                "model": _name,
                "domains": _domains,
                "settings": SETTINGS.get(_name, {}),
                "fewest": FEWEST.get(_name, 0),
            },
        )
del ModelContract  # else pytest collects the abstract contract itself


def left_out(module: ModuleType) -> set[str]:
    """The recommenders that the module defines and the contract does not try."""
    classes = inspect.getmembers(module, inspect.isclass)
    own = {n for n, c in classes if c.__module__ == module.__name__ and issubclass(c, AbstractRecommender)}
    return own - set(OURS)


FILES = {f.stem for f in Path(recbole_mm.model.__path__[0]).glob("[!_]*.py")} - {"base", "graph_recommender"}


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_recommender_is_left_out(name: str) -> None:
    assert not left_out(importlib.import_module(f"recbole_mm.model.{name}"))


def test_a_recommender_whose_file_has_another_name_is_seen() -> None:
    module = ModuleType("recbole_mm.model.mine")
    module.Other = type("Other", (TwoTowerRecommender,), {"__module__": module.__name__})
    assert left_out(module) == {"Other"}


def test_settings_are_of_models_that_there_are() -> None:
    assert {"CMC", "GCE", "VBPR"} <= set(OURS) >= set(SETTINGS)
