"""Context models rank the catalogue: by ids, fields of user and item and the item's domain, by nothing of a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_mm.evaluator.score import Scorer
from recbole_mm.testing import Built, write_toy

RANK = {"metrics": ["NDCG", "GAUC"], "valid_metric": "NDCG@10", "embedding_size": 4}


def make(folder: Path, model: str, domains: int, **settings: Any) -> Built:
    given = write_toy(folder, domains=domains)
    given.pop("modalities")
    lines = [f"item{i:02d}\t{'ab'[i % 2]}" for i in range(30)]
    (folder / "toy" / "toy.item").write_text("item_id:token\tkind:token\n" + "\n".join(lines) + "\n")
    lines = [f"u{u}\t{'xyz'[u % 3]}" for u in range(40)]
    (folder / "toy" / "toy.user").write_text("user_id:token\tgroup:token\n" + "\n".join(lines) + "\n")
    columns = {"item": ["item_id", "kind"], "user": ["user_id", "group"]}
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
