"""Items that no training row knows, on H&M: vectors rank them, ids cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_mm.modality import ModalityStore
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec

HM = Path(__file__).parents[2] / "../shared/data/hm-week"


@pytest.fixture(scope="module")
def hm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Ladieswear and Divided, a tenth of the items held out whole, with text and image."""
    if not HM.is_dir():
        pytest.skip("needs ../shared/data/hm-week")
    folder = tmp_path_factory.mktemp("hm")
    frame = pd.read_csv(HM / "split_ladieswear_divided.csv", dtype=str)[["user", "item"]].drop_duplicates()
    frame["time"] = np.arange(len(frame))
    (folder / "week").mkdir()
    frame.columns = ["user_id:token", "item_id:token", "timestamp:float"]
    frame.to_csv(folder / "week/week.inter", sep="\t", index=False)
    tokens = (HM / "item_tokens.txt").read_text().split()
    for name, file in (("text", "text_minilm_384"), ("image", "image_efficientnet_lite0_1280")):
        values = np.load(HM / f"{file}.npy")
        ModalityStore.write(folder / f"modality/week/{name}", values, tokens, modality=name, encoder=file)
    return {
        "data_path": str(folder), "modality_path": str(folder / "modality"), "checkpoint_dir": str(folder / "saved"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "cold_items": 0.1,
        "split": {"random": [0.72, 0.08, 0.2], "by": ["user"]}, "metrics": ["NDCG", "MeanAUC"], "topk": [10],
        "metric_decimal_place": 4, "keep_checkpoints": "none", "use_gpu": False,
    }  # fmt: skip


SETTINGS: dict[str, dict[str, Any]] = {
    "Pop": {},
    "BPR": {"epochs": 10, "learning_rate": 0.002},
    "SASRec": {"epochs": 3, "sequence_split": "interactions", "MAX_ITEM_LIST_LENGTH": 10, "hidden_size": 64,
               "n_layers": 1, "loss_type": "CE", "train_neg_sample_args": None},
}  # fmt: skip


def cold(model: str, hm: dict[str, Any], **given: Any) -> tuple[float, float]:
    """NDCG@10 and MeanAUC of the held-out items among all, also where a model has nothing to rank them by."""
    session = Session.build(RunSpec(model, "week", {**hm, **SETTINGS[model], **given}, seed=1))
    session.model.scores_from_features = True
    session.run(saved=False)
    groups = session.trainer.eval_result.groups.set_index("group").loc["cold start"]
    ndcg, auc = float(groups["ndcg@10"]), float(groups["meanauc"])
    print(f"{model:8} {given.get('pretrained_mode', '-'):8} ndcg@10 {ndcg:.4f} meanauc {auc:.4f}")
    return ndcg, auc


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "vectors"),
    [
        ("BPR", {"pretrained_items": "text"}),
        ("BPR", {"pretrain": {"model": "CPMM"}, "pretrained_use": ["v", "t"]}),
        ("SASRec", {"pretrained_items": "text"}),
        ("SASRec", {"pretrain": {"model": "CPMM"}, "pretrained_use": ["v", "t"]}),
    ],
)
def test_vectors_rank_items_without_training_rows(
    model: str, vectors: dict[str, Any], hm: dict[str, Any]
) -> None:
    torch.set_num_threads(1)
    popular, ids = cold("Pop", hm), cold(model, hm)
    chance = 0.5
    assert popular[1] < chance and ids[1] < chance + 0.05
    for mode in ("add", "replace"):
        plugged = cold(model, hm, **vectors, pretrained_mode=mode)
        if model == "BPR":  # among all warm items SASRec puts none of them into the first 10 after 3 epochs
            assert plugged[0] > max(popular[0], ids[0])
        assert plugged[1] > max(popular[1], ids[1], chance + 0.05)
