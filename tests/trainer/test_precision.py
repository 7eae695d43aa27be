"""`enable_amp` on a CPU (bfloat16): every model of ours trains as in float32 to few digits; who cannot says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_mm.errors import WrongUse
from recbole_mm.testing import Built, write_toy

MMT = {
    "hidden_size": 16,
    "n_layers": 1,
    "n_heads": 2,
    "inner_size": 16,
    "shared_size": 8,
    "history_length": 3,
}
SEQUENTIAL = {"hidden_size": 16, "n_layers": 1, "inner_size": 16, "sequence_split": "interactions"}


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("MMT", MMT),
        ("MMT", {**MMT, "head": "mlp", "loss": "gbce", "history_ids": True}),
        ("MMT", {**MMT, "loss": "softmax", "softmax_over": "domain", "cross_domain": False}),
        ("MMT", {**MMT, "loss": "softmax", "tied_sharing": True, "unit_vectors": True}),
        ("MVCNN", {}),
        ("CMC", {}),
        ("VBPR", {}),
        ("GCE", {}),
        ("MMCPR", {}),
        ("CPMM", {"embedding_size": 16, "input_size": 12}),
        ("SASRecMM", SEQUENTIAL),
        ("SASRec", {**SEQUENTIAL, "train_sequences": "shifted"}),
    ],
    ids=str,
)
def test_the_loss_is_that_of_float32_to_few_digits(
    tmp_path: Path, model: str, settings: dict[str, Any]
) -> None:
    given = {**write_toy(tmp_path, domains=2), **settings, "epochs": 1}
    plain, lower = (Built(model, {**given, "enable_amp": amp}).fit() for amp in (False, True))
    losses = [each.trainer.history[0]["loss"] for each in (plain, lower)]
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.02)
    assert {p.dtype for p in lower.model.parameters()} == {torch.float32}


def test_who_cannot_says_so_in_one_line(tmp_path: Path) -> None:
    built = Built("LightGCN", {**write_toy(tmp_path), "epochs": 1, "enable_amp": True})
    with pytest.raises(WrongUse) as caught:
        built.fit()
    assert str(caught.value) == (
        "enable_amp: LightGCN has operations that torch cannot do in lower precision (expected scalar type Float but "
        "found BFloat16); leave enable_amp out"
    )
