"""Which rows a stage trains on, which rows an evaluation on one domain reads."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recbole_mm.data.part import part_domains, part_loaders, part_rows
from recbole_mm.errors import WrongUse
from recbole_mm.testing import Built, write_toy

SAMPLED = {"eval_args": {"mode": "uni5"}}


def rows_of(loader: Any) -> set[tuple[int, int]]:
    """The (user, item) pairs a loader yields in one pass."""
    return {pair for batch in loader for pair in zip(*(batch[f].tolist() for f in FIELDS), strict=True)}


FIELDS = ("user_id", "item_id")


def pairs(dataset: Any, mask: np.ndarray | None = None) -> set[tuple[int, int]]:
    columns = [dataset.inter_feat[field].numpy() for field in FIELDS]
    return set(zip(*(c[slice(None) if mask is None else mask].tolist() for c in columns), strict=True))


def table(users: str, items: str, domains: str) -> tuple[Any, Any]:
    """A data set of one row a letter, and its configuration."""
    columns = {
        name: torch.tensor([ord(c) - ord("a") for c in letters])
        for name, letters in (("user_id", users), ("item_id", items), ("domain", domains))
    }
    config = {"source_domain": None, "target_domain": None}
    names = [f"d{k}" for k in range(int(columns["domain"].max()) + 1)]
    return config, SimpleNamespace(
        inter_feat=columns, uid_field="user_id", iid_field="item_id", domain_names=names
    )


def test_source_and_target_rows() -> None:
    config, dataset = table(users="aabbc", items="abcde", domains="ababa")
    assert part_rows(config, dataset, "SOURCE").tolist() == [0, 2, 4]
    assert part_rows(config, dataset, "TARGET").tolist() == [1, 3]
    assert part_rows(config, dataset, "BOTH").tolist() == [0, 1, 2, 3, 4]
    assert part_rows({**config, "target_domain": "d0"}, dataset, "SOURCE").tolist() == [1, 3]


def test_overlap_is_of_users_and_else_of_items() -> None:
    config, dataset = table(users="aabbcc", items="abcdab", domains="abaabb")
    assert part_rows(config, dataset, "OVERLAP").tolist() == [0, 1]  # user a alone is in both
    config, dataset = table(users="abcde", items="aabcb", domains="ababa")
    assert part_rows(config, dataset, "OVERLAP").tolist() == [0, 1]  # no user is; item a is


def test_a_user_in_two_of_three_domains_overlaps() -> None:
    config, dataset = table(users="aabbcc", items="abcdef", domains="acbbcc")
    assert part_rows(config, dataset, "OVERLAP").tolist() == [0, 1]


def test_three_domains_must_be_named() -> None:
    config, dataset = table(users="abcd", items="abcd", domains="abca")
    with pytest.raises(WrongUse, match="source_domain: name it for the part SOURCE; there are d0, d1, d2"):
        part_rows(config, dataset, "SOURCE")
    assert part_rows({**config, "source_domain": ["d2", "d1"]}, dataset, "SOURCE").tolist() == [1, 2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source_domain": "bokks"}, "source_domain: no domain 'bokks'; did you mean 'books'"),
        ({"source_domain": {"dataset": "books"}}, "expected names of domains"),
        ({"target_domain": ["books", "films"]}, "one domain is the target"),
        ({"source_domain": "films", "target_domain": "films"}, "'films' is a source too"),
        ({"source_domain": ["books", "films"]}, "is a source too"),
    ],
)
def test_wrong_domains_are_one_line(settings: dict[str, Any], message: str) -> None:
    config = {"source_domain": None, "target_domain": None, **settings}
    with pytest.raises(WrongUse, match=message):
        part_domains(config, ["books", "films"])


@pytest.mark.parametrize("model", ["CMC", "BPR", "NeuMF", "GRU4Rec"])
def test_a_part_yields_its_rows_alone(tmp_path: Path, model: str) -> None:
    sequential = {"split": None, "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO"},
                  "train_neg_sample_args": None} if model == "GRU4Rec" else {}  # fmt: skip
    built = Built(model, {**write_toy(tmp_path, domains=2), **sequential})
    whole = built.train_data
    source, both = part_loaders(built.config, whole, ["SOURCE", "BOTH"])
    expected = whole._dataset.inter_feat["domain"].numpy() == 0
    assert both is whole
    assert len(source._dataset) == expected.sum() < len(whole._dataset)
    seen = rows_of(source)
    positives = pairs(whole._dataset, expected)
    # a pointwise model of RecBole gets its negatives as rows
    assert seen == positives if model != "NeuMF" else seen >= positives


@pytest.mark.parametrize("model", ["CMC", "BPR"])
def test_negatives_of_a_part_are_unseen_in_all_training_rows(tmp_path: Path, model: str) -> None:
    built = Built(model, write_toy(tmp_path, domains=2))
    whole = built.train_data
    seen = pairs(whole._dataset)
    (source,) = part_loaders(built.config, whole, ["SOURCE"])
    for _ in range(5):
        for batch in source:
            negatives = batch["neg_item_id"].reshape(len(batch["user_id"]), -1)
            users = batch["user_id"].tolist()
            drawn = {(u, i) for u, row in zip(users, negatives.tolist(), strict=True) for i in row}
            assert not drawn & seen


def test_parts_draw_from_the_generators_of_the_whole(tmp_path: Path) -> None:
    whole = (built := Built("CMC", write_toy(tmp_path, domains=2))).train_data
    (source,) = part_loaders(built.config, whole, ["SOURCE"])
    assert source.generator is whole.generator is source.sampler.generator
    assert source.rng is whole.rng


def test_parts_need_domains_and_rows(tmp_path: Path) -> None:
    built = Built("CMC", write_toy(tmp_path / "one"))
    with pytest.raises(WrongUse, match="toy has one domain; parts need"):
        part_loaders(built.config, built.train_data, ["BOTH"])
    settings = {"train_neg_sample_args": None, **write_toy(tmp_path / "two", domains=2)}
    built = Built("MultiVAE", settings)
    with pytest.raises(WrongUse, match="MultiVAE does not train on single interactions"):
        part_loaders(built.config, built.train_data, ["BOTH"])


def test_a_part_without_rows_is_named(tmp_path: Path) -> None:
    built = Built("BPR", write_toy(tmp_path, domains=2))
    feat = built.train_data._dataset.inter_feat
    feat["domain"] = torch.zeros_like(feat["domain"])
    with pytest.raises(WrongUse, match="no training row belongs to TARGET; see target_domain"):
        part_loaders(built.config, built.train_data, ["TARGET"])


def evaluated(folder: Path, model: str = "CMC", **settings: Any) -> Any:
    built = Built(model, {**write_toy(folder, domains=2), "eval_groups": ["domain"], **settings}).fit()
    built.trainer.evaluate(built.test_data, load_best_model=False)
    return built


def test_one_domain_alone_is_its_row_among_all(tmp_path: Path) -> None:
    """Training does not depend on eval_domain (no early stopping here), so the scores are the same."""
    everything = evaluated(tmp_path / "all").trainer.eval_result
    alone = evaluated(tmp_path / "one", eval_domain="d1").trainer.eval_result
    assert set(alone.queries["domain"]) == {"d1"}
    expected = everything.queries[everything.queries["domain"] == "d1"].reset_index(drop=True)
    assert 0 < len(expected) < len(everything.queries)
    assert alone.queries.reset_index(drop=True).equals(expected)


def test_validation_is_on_the_domain_too(tmp_path: Path) -> None:
    built = Built("CMC", {**write_toy(tmp_path, domains=2), "eval_domain": "d0"})
    for loader in (built.valid_data, built.test_data):
        assert set(loader._dataset.inter_feat["domain"].tolist()) == {0}
    assert set(built.train_data._dataset.inter_feat["domain"].tolist()) == {0, 1}


def test_with_all_candidates_ours_equals_recboles(tmp_path: Path) -> None:
    """Other test positives of the user are masked, as RecBole masks what its sampler calls used."""
    settings = {
        "eval_domain": "d0", "eval_candidates": "all", "metrics": ["NDCG", "Recall"],
        "split": {"random": [0.4, 0.2, 0.4], "by": ["user"]},  # several test rows a user
    }  # fmt: skip
    results = []
    for evaluator in ("mm", "recbole"):
        built = Built(
            "BPR", {**write_toy(tmp_path / evaluator, domains=2), **settings, "evaluator": evaluator}
        )
        rows = built.fit().test_data._sampler.datasets[2]
        assert len(rows) > len(built.test_data._dataset)
        results.append(built.trainer.evaluate(built.test_data, load_best_model=False))
    assert dict(results[0]) == pytest.approx(dict(results[1]))


def test_sampled_evaluation_reads_the_domain_too(tmp_path: Path) -> None:
    built = evaluated(tmp_path, "BPR", eval_domain="d1", eval_groups=[], **SAMPLED)
    tokens = built.test_data._dataset.inter_feat["domain"]
    assert set(tokens.tolist()) == {1}
    assert built.trainer.eval_result.metrics


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("d7", "eval_domain: no domain 'd7'"),
        (["d0", "d1"], r"eval_domain: expected str, got \['d0', 'd1'\]"),
        ("books", "there are d0, d1"),
    ],
)
def test_eval_domain_must_be_one_of_the_domains(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(WrongUse, match=message):
        Built("BPR", {**write_toy(tmp_path, domains=2), "eval_domain": value})


def test_eval_domain_needs_domains(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="eval_domain: toy has one domain"):
        Built("BPR", {**write_toy(tmp_path), "eval_domain": "d0"})
