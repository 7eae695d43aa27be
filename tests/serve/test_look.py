"""Near items, and scores taken apart: the parts add up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_mm.cli import main
from recbole_mm.errors import WrongUse
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec
from recbole_mm.serve.explain import explain_score
from recbole_mm.serve.similar import similar_items
from recbole_mm.serve.vectors import Vectors
from recbole_mm.testing import write_toy
from tests.serve.conftest import SEQUENCES

Trained = Callable[..., Session]


def explain(session: Session, user: str, item: str) -> dict[str, Any]:
    return explain_score(session.recommender.ranker, session.recommender.tokens, user, item)


@pytest.mark.parametrize(
    ("model", "domains", "settings", "ways"),
    [
        ("CMC", 2, {}, {"item": {"text", "image", "id"}, "domain": {"d0", "d1"}}),
        ("CMC", 2, {"fusion": "concat"}, {"item": {"text", "image", "id"}, "domain": {"d0", "d1"}}),
        ("CMC", 2, {"fusion": "gate", "use_id": False}, {"item": {"text", "image"}, "domain": {"d0", "d1"}}),
        pytest.param("CMC", 2, {"fusion": "weight", "cross_domain_fusion": False},
                     {"item": {"text", "image", "id"}, "domain": {"d0", "d1"}}, marks=pytest.mark.slow),
        pytest.param("CMC", 2, {"fusion": "none"}, {"item": {"id"}, "domain": {"d0", "d1"}}, marks=pytest.mark.slow),
        ("VBPR", 1, {}, {"item": {"bias", "id", "text", "image"}}),
        ("GCE", 2, {}, {"nodes": {"user and item", "user and domain", "item and domain"}}),
        ("EASE", 1, {}, {"history": set()}),
        ("ItemKNN", 1, {}, {"history": set()}),
    ],
)  # fmt: skip
def test_the_parts_add_up_to_the_score(
    trained: Trained, model: str, domains: int, settings: dict[str, Any], ways: dict[str, set[str]]
) -> None:
    session = trained(model, domains, **settings)
    if model == "VBPR":
        session.model.item_bias.weight.data.normal_()
        session.model.forget_cached()
    part = session.train_data._dataset
    for user in ("u0", "u1", "u7"):
        for item in ("item00", "item05", "item14", "item29"):
            found = explain(session, user, item)
            ids = np.array([part.token2id("user_id", user)]), part.token2id("item_id", item)
            score = float(session.recommender.ranker.scores(ids[0])[0, ids[1]])
            assert found["score"] == score and found["title"] == f"Title of {int(item[4:])}"
            assert set(found["parts"]) == set(ways)
            for way, names in ways.items():
                parts = found["parts"][way]
                assert sum(parts.values()) == pytest.approx(score, rel=1e-4, abs=1e-5), way
                assert set(parts) == names or way == "history"
                assert list(parts.values()) == sorted(parts.values(), key=lambda x: -abs(x))


def test_a_missing_modality_has_no_part(trained: Trained) -> None:
    session = trained("CMC", 2)
    present = session.dataset.modality.present.numpy()
    number = int(np.flatnonzero(present[1:, 0] & ~present[1:, 1])[0]) + 1
    parts = explain(session, "u1", str(session.dataset.field2id_token["item_id"][number]))["parts"]["item"]
    assert parts["image"] == 0 and parts["text"] != 0


def test_history_parts_are_those_of_the_training_items(trained: Trained) -> None:
    session = trained("EASE", 1)
    part = session.train_data._dataset
    users, items = part.pairs["train"]
    number = part.token2id("user_id", "u3")
    found = explain(session, "u3", "item02")["parts"]["history"]
    assert set(found) == set(part.field2id_token["item_id"][items[users == number]])
    target = part.token2id("item_id", "item02")
    for token, value in found.items():
        weight = session.model.item_similarity[part.token2id("item_id", token), target]
        assert value == pytest.approx(float(weight), rel=1e-6)


def test_ease_in_two_sparse_factors_is_looked_at_as_one_matrix(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = trained("EASE", 1)
    ranker, tokens, size = session.recommender.ranker, session.recommender.tokens, session.model.n_items
    left, right = (sp.random(size, size, 0.4, "csr", np.float32, random_state=seed) for seed in (0, 1))
    monkeypatch.setattr(session.model, "solution", [left, right])
    matrix = (left @ right).toarray()
    near, _ = similar_items(ranker, tokens, "item02", 3)
    own = session.train_data._dataset.token2id("item_id", "item02")
    assert near["similarity"].tolist() == pytest.approx(sorted(np.delete(matrix[own], [0, own]))[:-4:-1])
    found = explain(session, "u3", "item02")
    assert found["score"] == pytest.approx(sum(found["parts"]["history"].values()), rel=1e-5)


def test_a_score_that_is_no_sum_is_one_line(trained: Trained) -> None:
    with pytest.raises(WrongUse, match=r"^LightGCN: its score is no sum of parts that have a name"):
        explain(trained("LightGCN", 1, protocol="mmrec"), "u1", "item01")


@pytest.mark.parametrize("by", ["cosine", "dot"])
def test_similar_items_are_the_nearest_vectors(trained: Trained, by: str) -> None:
    session = trained("CMC", 2)
    part, vectors = session.train_data._dataset, session.model.item_vectors()
    own = part.token2id("item_id", "item04")
    frame, how = similar_items(session.recommender.ranker, session.recommender.tokens, "item04", 29, by)
    assert how == ("cosine of the item vectors" if by == "cosine" else "dot product of the item vectors")
    expected = {}
    for number in range(1, part.item_num):
        if number != own:
            similarity = torch.dot(vectors[number], vectors[own])
            if by == "cosine":
                similarity = torch.cosine_similarity(vectors[number], vectors[own], dim=0)
            expected[str(part.field2id_token["item_id"][number])] = float(similarity)
    assert set(frame["item"]) == set(expected) and frame["similarity"].is_monotonic_decreasing
    assert dict(zip(frame["item"], frame["similarity"], strict=True)) == pytest.approx(
        expected, rel=1e-5, abs=1e-6
    )
    assert set(
        similar_items(session.recommender.ranker, session.recommender.tokens, "item04", 9, by, "d1")[0][
            "item"
        ]
    ) <= {str(part.field2id_token["item_id"][i]) for i in np.flatnonzero(part.item_domain.numpy() == 1)}


def test_models_without_item_vectors(trained: Trained) -> None:
    session = trained("ItemKNN", 2)
    frame, how = similar_items(session.recommender.ranker, session.recommender.tokens, "item04", 3)
    assert how == "weights of ItemKNN: what the item in a history adds to a score"
    part = session.train_data._dataset
    weights = session.model.w.toarray()[part.token2id("item_id", "item04")]
    assert frame["similarity"].tolist() == pytest.approx(sorted(weights, reverse=True)[:3])
    context = trained("DeepFM", 1)
    with pytest.raises(WrongUse, match=r"^DeepFM: its scores are no dot products"):
        similar_items(context.recommender.ranker, context.recommender.tokens, "item04")


def test_the_commands(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    run = f"--run={trained('CMC', 2).folder}"
    assert main(["similar", run, "--item=item04", "--k=2", "--by=dot"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "similar to item04, by dot product of the item vectors" and len(said) == 3
    assert main(["explain", run, "--item=item04", "--user=u1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parts"].keys() == {"item", "domain"}
    assert main(["explain", run, "--item=item04", "--user=u1"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"user u1, item item04 Title of 4: {found['score']:.4f}\nby item:\n  ")
    run = f"--run={trained('EASE', 1).folder}"
    assert main(["explain", run, "--item=item04", "--user=u1"]) == 0
    assert "by the items of the user's history:\n  item" in capsys.readouterr().out
    assert main(["similar", run, "--item=item4"]) == 2
    assert capsys.readouterr().err.startswith("error: no item 'item4' in the data of the run; did you mean")


def test_vectors_of_sequences_of_many_lengths_are_of_their_users(tmp_path: Path) -> None:
    given = {**SEQUENCES, "embedding_size": 8, "checkpoint_dir": str(tmp_path), "use_gpu": False}
    ranker = Session.build(RunSpec("SASRec", "ml-100k", given)).recommender.ranker
    users = np.arange(1, ranker.train.user_num)
    found, scores = Vectors(ranker), ranker.scores(users).numpy()
    away = np.abs(found.of_users(users)[:, 0] @ found.items.T - scores)[:, 1:].max()
    assert away < 1e-4 * np.abs(scores[:, 1:]).max()


def test_parts_of_pairs_that_were_taken_twice_add_up(tmp_path: Path) -> None:
    given = {**write_toy(tmp_path), "metrics": ["Recall"], "topk": [5], "valid_metric": "Recall@5"}
    file = tmp_path / "toy" / "toy.inter"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, *lines[1:9]]) + "\n")
    session = Session.build(RunSpec("EASE", "toy", given))
    user, item = lines[1].split("\t")[:2]
    other = "item05" if item != "item05" else "item06"
    found = explain(session, user, other)
    assert found["score"] == pytest.approx(sum(found["parts"]["history"].values()), rel=1e-5)
