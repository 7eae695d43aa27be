from __future__ import annotations

from pathlib import Path

import pytest
import torch

import recbole_mm
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec
from recbole_mm.testing import write_toy

OWN_MODEL = """
import torch
from recbole_mm.layer.loss import bpr
from recbole_mm.model.base import TwoTowerRecommender

class Tiny(TwoTowerRecommender):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.user = torch.nn.Embedding(self.n_users, config["tiny_width"])
        self.item = torch.nn.Embedding(self.n_items, config["tiny_width"])

    def encode_items(self, items):
        return self.item(items)

    def user_vectors(self, users):
        return self.user(users).unsqueeze(1)

    def calculate_loss(self, batch):
        user, item = self.user(batch[self.USER_ID]), self.item(batch[self.ITEM_ID])
        negatives = self.item(batch[self.NEG_ITEM_ID])
        return bpr((user * item).sum(1), (user.unsqueeze(1) * negatives).sum(2))
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.chdir(tmp_path)
    return write_toy(tmp_path)


def test_python_entry_has_recboles_keys(toy: dict[str, object]) -> None:
    result = recbole_mm.run_recbole_mm(model="VBPR", dataset="toy", config_dict=toy)
    assert {"best_valid_score", "valid_score_bigger", "best_valid_result", "test_result"} <= set(result)
    assert result["epochs_run"] == 2 and (Path(result["folder"]) / result["files"]["best"]).is_file()


def test_the_programs_arguments_are_not_read(toy: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["pytest", "--epochs=7", "--nonsense=1"])
    assert recbole_mm.run_recbole_mm("BPR", "toy", config_dict=toy)["epochs_run"] == 2


def test_a_model_of_ones_own_needs_no_registry(toy: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(OWN_MODEL)
    result = recbole_mm.run_recbole_mm(
        f"{tmp_path}/tiny.py:Tiny", "toy", config_dict={**toy, "tiny_width": 8}
    )
    assert result["model"] == "Tiny"


def test_search_never_reads_the_test_set(toy: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    result = Session.build(RunSpec("VBPR", "toy", toy)).run(test=False)
    assert result.record["test_result"] is None and result.queries is None
    assert result.record["best_valid_result"]


def test_split_seed_decides_the_split_and_seed_the_training(toy: dict[str, object]) -> None:
    toy = {**toy, "split": None, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}
    records = [
        Session.build(RunSpec.of("BPR", "toy", {**toy, **seeds})).run()
        for seeds in ({}, {"seed": 1}, {"split_seed": 1})
    ]
    queries = [r.queries.set_index("user")["n_positives"] for r in records]
    losses = [[e["loss"] for e in r.history] for r in records]
    assert queries[0].equals(queries[1]) and losses[0] != losses[1]
    torch.testing.assert_close(losses[0][0], losses[0][0])


def test_every_history_entry_names_the_losses(toy: dict[str, object], tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "two", domains=2)
    result = Session.build(RunSpec("CMC", "toy", toy)).run()
    assert set(result.history[0]["terms"]) == {"contrastive", "domain"}
