"""RecBole's results through its own run_recbole: those of numpy 1.26, pandas 2.3, scipy 1.12, to the last digit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# shared/design/recbole.md §3: Recall, MRR, NDCG, Hit, Precision at 10. Those digits come from MKL's kernels for AVX2;
# where MKL takes its AVX-512 kernels (`MKL_CBWR=AVX2` gives the first digits there too), two of them differ as follows.
VALUES = {
    "BPR": (0.00997094, 0.02540061, 0.01092454, 0.08165429, 0.00911983),
    "LightGCN": (0.13601453, 0.28033126, 0.15113129, 0.59597031, 0.10413574),
    "NeuMF": (0.11643948, 0.25123466, 0.13555545, 0.55143160, 0.10307529),
    "EASE": (0.28050618, 0.52770708, 0.32950602, 0.81972428, 0.22057264),
    "SLIMElastic": (0.27495753, 0.52314170, 0.32349934, 0.81230117, 0.21643690),
    "NCEPLRec": (0.14388530, 0.28427427, 0.14852327, 0.55567338, 0.08441145),
    "CFKG": (0.07990537, 0.20405747, 0.10431060, 0.45493107, 0.08388123),
}
ON_AVX512 = {"NeuMF": (0.11641229, 0.25132303, 0.13552040, 0.55143160, 0.10296925)}
LOSSES = {13.862941920757294, 13.862941980361938}
KEYS = ("recall@10", "mrr@10", "ndcg@10", "hit@10", "precision@10")


@pytest.fixture(scope="module")
def runs(program: Callable[..., str]) -> dict[str, Any]:
    lines = program(str(Path(__file__).with_name("values.py"))).splitlines()
    return {run["model"]: run for run in map(json.loads, filter(lambda line: line.startswith("{"), lines))}


@pytest.mark.parametrize("model", VALUES)
def test_metrics(runs: dict[str, Any], model: str) -> None:
    assert tuple(runs[model]["test"][key] for key in KEYS) in (VALUES[model], ON_AVX512.get(model))


def test_losses(runs: dict[str, Any]) -> None:
    first, second = runs["BPR"]["losses"]
    assert first in LOSSES and second == 13.837097346782684


@pytest.mark.parametrize("model", ["BPR", "EASE"])
def test_checkpoint_read_back(runs: dict[str, Any], model: str) -> None:
    """Through RecBole's load_data_and_model; EASE keeps arrays and sparse matrices beside its weights."""
    assert tuple(runs[f"{model} read back"]["test"][key] for key in KEYS) == VALUES[model]
