"""Context models rank the catalogue: by ids, fields of user and item and the item's domain, by nothing of a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_mm.evaluator.score import Scorer
from recbole_mm.testing import Built, write_toy

RANK = {"metrics": ["NDCG", "GAUC"], "valid_metric": "NDCG@10", "embedding_size": 4}


def make(folder: Path, model: str, domains: int, more: bool = False, **settings: Any) -> Built:
    """``more``: beside tokens a list of tokens and numbers."""
    given = write_toy(folder, domains=domains)
    given.pop("modalities")
    lines = [f"item{i:02d}\t{'ab'[i % 2]}\t{'pqr'[i % 3]} {'pqr'[i % 2]}\t{i}" for i in range(30)]
    header = "item_id:token\tkind:token\ttags:token_seq\tprice:float\n"
    (folder / "toy" / "toy.item").write_text(header + "\n".join(lines) + "\n")
    lines = [f"u{u}\t{'xyz'[u % 3]}\t{u % 7}" for u in range(40)]
    (folder / "toy" / "toy.user").write_text(
        "user_id:token\tgroup:token\tage:float\n" + "\n".join(lines) + "\n"
    )
    columns = {"item": ["item_id", "kind"], "user": ["user_id", "group"]}
    if more:
        columns = {"item": ["item_id", "kind", "tags", "price"], "user": ["user_id", "group", "age"]}
    return Built(model, {**given, **RANK, "load_col": {**given["load_col"], **columns}, **settings})


@torch.no_grad()
@pytest.mark.parametrize("model", ["DeepFM", "WideDeep", "FM", "LR", "xDeepFM", "AutoInt", "DSSM"])
@pytest.mark.parametrize("domains", [1, 3])
def test_every_item_is_scored_as_its_row_would_be(tmp_path: Path, model: str, domains: int) -> None:
    built = make(tmp_path, model, domains)
    assert built.config["eval_args"]["mode"] == {"valid": "full", "test": "full"}
    seen = {"user_id", "group", "item_id", "kind"} | (
        {"domain"} if domains > 1 and model != "DSSM" else set()
    )
    assert set(built.model.field_names) - {"label"} == seen
    for parameter in built.model.parameters():
        parameter.normal_(std=0.2)
    built.model.eval()
    dataset = built.test_data._dataset
    scores = Scorer(built.model, built.test_data, dataset.item_num, 50)(built.test_data.user_df[:3])
    items = torch.arange(1, dataset.item_num)
    for row, user in enumerate(built.test_data.uid_list[:3].tolist()):
        pairs = {"user_id": torch.full_like(items, user), "item_id": items}
        pairs["group"] = dataset.user_feat["group"][pairs["user_id"]]
        pairs["kind"] = dataset.item_feat["kind"][items]
        if domains > 1:
            names = [dataset.domain_names[d] for d in dataset.item_domain[items].tolist()]
            pairs["domain"] = torch.tensor([dataset.token2id("domain", name) for name in names])
        expected = built.model.predict(Interaction(pairs))
        torch.testing.assert_close(scores[row, 1:], expected, rtol=1e-5, atol=1e-6)
        assert expected.std() > 1e-5


def test_a_run_ranks_all_items_of_the_domain(tmp_path: Path) -> None:
    built = make(tmp_path, "DeepFM", 2, epochs=1).fit()
    result = built.trainer.evaluate(built.test_data)
    assert {"ndcg@10", "gauc"} <= result.keys() and 0 < result["gauc"] < 1
    assert "DeepFM ranks items and does not see rating, timestamp, part (unused_col)" in built.config.notes


def test_given_columns_stand(tmp_path: Path) -> None:
    built = make(tmp_path, "DeepFM", 1, unused_col={"inter": ["part", "rating", "timestamp", "domain"]})
    assert built.config["unused_col"] == {"inter": ["part", "rating", "timestamp", "domain"]}
    assert not any("unused_col" in note for note in built.config.notes)


SERVED = [
    "DeepFM", "WideDeep", "FM", "LR", "NFM", "AFM", "FNN", "PNN", "FwFM", "FiGNN", "AutoInt", "DSSM", "xDeepFM", "DCN",
    "DCNV2", "EulerNet", "KD_DAGFM",
]  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("model", [*SERVED, "FFM"])
def test_fields_embedded_once_give_the_scores_of_pairs(tmp_path: Path, model: str) -> None:
    """With every kind of field, in blocks smaller and larger than the catalogue, for all items and for some."""
    floats = ["price", "age"]
    settings = {"numerical_features": floats}
    built = make(tmp_path, model, 2, more=True, **settings)
    for parameter in built.model.parameters():
        parameter.normal_(std=0.2)
    built.model.eval()
    dataset, some = built.test_data._dataset, np.array([2, 3, 11, 20])
    assert {"tags", *floats} <= {*built.model.token_seq_field_names, *built.model.float_field_names}
    for pairs in (7, 50):
        scorer = Scorer(built.model, built.test_data, dataset.item_num, pairs)
        plain = Scorer(built.model, built.test_data, dataset.item_num, pairs)
        plain._asked_context = True
        for ids in (None, some):
            scores, expected = (each(built.test_data.user_df[:3], ids) for each in (scorer, plain))
            torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)
            assert expected[expected > -torch.inf].std() > 1e-5
        assert (scorer._context is not None) == (model in SERVED) and plain._context is None
    assert not any(name.endswith("embed_input_fields") for name in vars(built.model))
