"""Models and trainers with one fault each: the contract sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recbole_mm import testing
from recbole_mm.layer.feature import FeatureTable
from recbole_mm.model.vbpr import VBPR


def contract(model: type) -> testing.ModelContract:
    settings = {"embedding_size": 8, "reg_weight": 0.01, "epochs": 1}
    return type("Contract", (testing.ModelContract,), {"model": model, "settings": settings})()


class ByRowNumber(VBPR):
    """Takes line i of a store for item i, whatever the store's tokens say."""

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        for k, name in enumerate(self.modalities):
            lines = torch.tensor(dataset.modality[name].source)
            dict(self.features.named_buffers())[f"table_{k}"][: len(lines)] = lines


def test_a_model_aligned_by_row_number_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        contract(ByRowNumber).test_renaming_items_changes_nothing_but_names(tmp_path)


class Carrying(VBPR):
    """Adds each step's gradient of the item ids to the next one's."""

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.carried: dict[str, Tensor] = {}
        self.item_id.weight.register_hook(self.carry)

    def carry(self, gradient: Tensor) -> Tensor:
        whole = gradient + self.carried.get("item_id", 0.0)
        self.carried["item_id"] = whole
        return whole


def test_a_model_that_carries_gradients_over_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"step \d: item_id"):
        contract(Carrying).test_gradients_do_not_leak_between_steps(tmp_path)


def test_a_trainer_that_does_not_clear_gradients_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.optim.Adam, "zero_grad", lambda *_, **__: None)
    with pytest.raises(AssertionError, match=r"step \d: "):
        contract(VBPR).test_gradients_do_not_leak_between_steps(tmp_path)


class Unmasked(VBPR):
    """Reads the rows of absent items too."""

    def encode_items(self, items: Tensor) -> Tensor:
        encoded, noise = super().encode_items(items), self.features("text", items).sum(dim=1, keepdim=True)
        return torch.cat([encoded[:, :-1], encoded[:, -1:] + noise], dim=1)


class Hiding(VBPR):
    """Keeps its features under another name."""

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.mine = self._modules.pop("features")

    @property
    def features(self) -> FeatureTable:
        return self._modules["mine" if "mine" in self._modules else "features"]


@pytest.mark.parametrize(
    ("model", "message"), [(Unmasked, None), (Hiding, "holds its features as `features`")]
)
def test_a_model_that_reads_absent_rows_or_hides_its_features_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: type, message: str | None
) -> None:
    with pytest.raises(AssertionError, match=message):
        contract(model).test_rubbish_in_absent_rows_changes_nothing(tmp_path, monkeypatch)


class Idle(VBPR):
    """Has a layer that its loss never sees."""

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.idle = nn.Linear(2, 2)


class TwoMinds(VBPR):
    """Scores a pair otherwise than a ranking does."""

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        return super().score_pairs(users, items) * 2


class Sociable(VBPR):
    """Centres the scores of a batch."""

    def score_all(self, users: Tensor) -> Tensor:
        scores = super().score_all(users)
        return scores - scores.mean(dim=0)


@pytest.mark.parametrize(
    ("model", "test"),
    [
        (Idle, "test_every_parameter_receives_a_gradient"),
        (TwoMinds, "test_predict_equals_full_sort"),
        (Sociable, "test_a_score_does_not_depend_on_batch_mates"),
    ],
)
def test_other_faults_fail(tmp_path: Path, model: type, test: str) -> None:
    with pytest.raises(AssertionError):
        getattr(contract(model), test)(tmp_path)
