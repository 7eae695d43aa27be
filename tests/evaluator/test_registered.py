"""A metric that a person enters in RecBole's registry: computed beside ours, from the same rankings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recbole.evaluator import metrics as theirs
from recbole.evaluator import register

from recbole_mm.config import Config
from recbole_mm.errors import WrongUse
from recbole_mm.evaluator import Evaluator
from recbole_mm.quick_start.compare import compare
from recbole_mm.run.metric import smaller_is_better
from recbole_mm.testing import write_toy

NAMES = {"OwnNDCG": "NDCG", "OwnGAUC": "GAUC", "OwnPopularity": "AveragePopularity", "OwnLoss": "LogLoss"}
RANKED = ["OwnNDCG", "OwnGAUC", "OwnPopularity", "NDCG", "GAUC", "AveragePopularity"]


def _own(name: str, parent: type) -> type:
    """RecBole's metric under another name."""

    def calculate_metric(self: Any, data: Any) -> dict[str, float]:
        found = parent.calculate_metric(self, data)  # type: ignore[attr-defined]
        return {key.replace(parent.__name__.lower(), name.lower()): value for key, value in found.items()}

    return type(name, (parent,), {"calculate_metric": calculate_metric})


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, parent in NAMES.items():
        own: Any = _own(name, getattr(theirs, parent))
        monkeypatch.setitem(register.metrics_dict, name.lower(), own)
        monkeypatch.setitem(register.metric_types, name.lower(), own.metric_type)
        monkeypatch.setitem(register.metric_information, name.lower(), own.metric_need)


def same(found: Any, *names: str) -> None:
    for name in names:
        mine = {key: value for key, value in found.items() if f"own{name}" in key}
        assert mine and not any(np.isnan(value) for value in mine.values())
        for key, value in mine.items():
            ours = key.replace("own", "").replace("popularity", "averagepopularity")
            assert value == pytest.approx(found[ours], abs=1e-6), key


@pytest.mark.parametrize("mode", ["full", "uni9"])
def test_in_recboles_modes(mode: str, build: Callable[..., Any]) -> None:
    args = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user", "mode": mode}
    settings = {"metrics": RANKED, "topk": [1, 5], "valid_metric": "OwnNDCG@5", "eval_args": args}
    config, model, _, (train, valid, test) = build("BPR", **settings)
    evaluator = Evaluator(config)
    evaluator.data_collect(train)
    found = evaluator.evaluate(model, test).metrics
    same(found, "ndcg", "gauc", "popularity")
    same(
        evaluator.evaluate(model, valid).metrics, "ndcg", "gauc", "popularity"
    )  # nothing is left of the first
    if mode == "full":
        assert evaluator.evaluate(model, test).metrics == found
        assert (
            Evaluator(config).evaluate(model, test).metrics == found
        )  # counts of the loader's own training rows


@pytest.mark.parametrize("protocol", ["recbole", "mmrec"])
@pytest.mark.parametrize("domains", [False, True])
def test_in_our_protocols_and_domains(toy: Callable[..., Any], protocol: str, domains: bool) -> None:
    config, (train, _, test), model = toy(
        metrics=["NDCG", "GAUC", "OwnNDCG", "OwnGAUC"], valid_metric="OwnNDCG@5"
    )
    model.scores += (
        np.random.default_rng(0).permutation(model.scores.numel()).reshape(model.scores.shape) * 1e-4
    )
    if domains:
        test._dataset.item_domain, test._dataset.domain_names = test._dataset.toy_domain, ["even", "odd"]
    config["protocol"] = [protocol, "sampled-9"]
    evaluator = Evaluator(config)
    evaluator.data_collect(train)
    same(evaluator.evaluate(model, test).metrics, "ndcg", "gauc")


def test_of_single_scores(build: Callable[..., Any]) -> None:
    settings = {
        "threshold": {"rating": 4},
        "metrics": ["AUC", "LogLoss", "OwnLoss"],
        "valid_metric": "OwnLoss",
        "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": None, "mode": "labeled"},
    }
    config, model, _, (_, _, test) = build("FM", **settings)
    found = Evaluator(config).evaluate(model, test).metrics
    assert found["ownloss"] == pytest.approx(found["logloss"], abs=1e-6)


def test_what_it_cannot_be_made_of_is_one_line(toy: Callable[..., Any]) -> None:
    config, (_, _, test), model = toy(metrics=["OwnNDCG", "NDCG"])
    config["protocol"] = "sampled-9"
    with pytest.raises(WrongUse, match="'ownndcg' is made of whole rankings"):
        Evaluator(config)
    config, (_, _, test), model = toy(metrics=["OwnNDCG", "NDCG"], topk=[500], valid_metric="NDCG@500")
    with pytest.raises(WrongUse, match="topk: 500 is more than"):
        Evaluator(config).evaluate(model, test)


def test_its_direction_and_form_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register.metrics_dict["owngauc"], "smaller", True)
    made = Config("BPR", "ml-100k", config_dict={"metrics": ["OwnGAUC", "NDCG"], "valid_metric": "OwnGAUC"})
    assert made["valid_metric"] == "OwnGAUC" and made["valid_metric_bigger"] is False
    assert smaller_is_better("owngauc") and not smaller_is_better("ownndcg@5")
    with pytest.raises(WrongUse, match="should read 'OwnGAUC'"):
        Config("BPR", "ml-100k", config_dict={"metrics": ["OwnGAUC"], "valid_metric": "OwnGAUC@5"})


def test_a_comparison_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(register.metrics_dict["ownndcg"], "smaller", True)
    settings = write_toy(tmp_path, ()) | {"epochs": 1, "valid_metric": "OwnNDCG@5"}
    del settings["checkpoint_dir"]
    columns = ["ownndcg@5", "ndcg@5", "owngauc"]
    found = compare(["BPR", "Pop"], "toy", 1, metrics=columns, config_dict=settings, out="out")
    assert not found.failed
    for row in found.rows:
        assert row.values("ownndcg@5") == pytest.approx(row.values("ndcg@5"), abs=1e-6)
        assert (
            row.runs[2020].record["best_valid_score"]
            == row.runs[2020].record["best_valid_result"]["ownndcg@5"]
        )
    low, high = sorted(found.rows, key=lambda row: row.values("ndcg@5"))
    table = {
        line.split("|")[1].strip("† "): line
        for line in (tmp_path / "out/table.md").read_text().splitlines()
        if line.startswith("| ")
    }
    assert f"**{low.values('ownndcg@5')[0]:.4f}**" in table[low.label]  # the smaller is in bold
    assert f"**{high.values('ndcg@5')[0]:.4f}**" in table[high.label]
