"""Scores of models without ``full_sort_predict``, pair by pair or by the short way of NeuMF."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import NeuMF

from recbole_mm.errors import Failure
from recbole_mm.evaluator import Evaluator
from recbole_mm.evaluator.neumf import neumf_scores
from recbole_mm.evaluator.score import Scorer
from recbole_mm.model.traits import PADDING_FREE


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mlp_train": False},
        {"mf_train": False},
        {"mf_embedding_size": 8, "mlp_embedding_size": 6, "mlp_hidden_size": [5]},
        {"mlp_hidden_size": [16, 12, 8], "dropout_prob": 0.5},
    ],
    ids=str,
)
@torch.no_grad()
def test_neumf_is_its_predict_over_all_pairs(build, settings) -> None:
    _, model, _, _ = build("NeuMF", **settings)
    for parameter in model.parameters():  # as initialised, all scores are .5
        parameter.normal_(std=0.5)
    model.eval().double()  # so that rounding cannot hide a wrong term
    users, items = torch.tensor([3, 1, 7]), torch.arange(1, 50)
    scores = neumf_scores(model, users, items)
    assert scores.std() > 0.01
    for row, user in enumerate(users):
        pairs = Interaction({"user_id": user.expand(len(items)), "item_id": items})
        torch.testing.assert_close(scores[row], model.predict(pairs), rtol=1e-10, atol=1e-12)


@torch.no_grad()
def test_a_subclass_of_neumf_is_asked_itself(build) -> None:
    class Constant(NeuMF):
        def predict(self, interaction: Interaction) -> torch.Tensor:
            return torch.full((len(interaction),), 0.25)

    _, model, _, (_, _, test) = build("NeuMF")
    model.__class__ = Constant
    scores = Scorer(model, test, model.n_items, 4096)(test.user_df[:3])
    assert (scores == 0.25).all()


@pytest.mark.parametrize("name", ["NeuMF", "DeepFM"])
@pytest.mark.parametrize("pairs", [7, 4096])
@torch.no_grad()
def test_only_the_candidates_are_scored(build, name: str, pairs: int) -> None:
    context = {"threshold": {"rating": 4}, "metrics": ["NDCG"], "valid_metric": "NDCG@10"}
    _, model, _, (_, _, test) = build(name, eval_args={"mode": "full"}, **context)
    model.eval()
    scorer = Scorer(model, test, test._dataset.item_num, pairs)
    queries, candidates = test.user_df[:3], np.array([2, 3, 5, 8, 13, 21, 34, 55])
    every, some = scorer(queries), scorer(queries, candidates)
    assert some.shape == every.shape == (3, test._dataset.item_num)
    torch.testing.assert_close(some[:, candidates], every[:, candidates])
    assert torch.isinf(some).sum() == 3 * (test._dataset.item_num - len(candidates))


@pytest.mark.parametrize("name", sorted(PADDING_FREE - {"GRU4RecKG"}))
@torch.no_grad()
def test_no_padding_is_read_where_a_model_allows(build, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"selected_features": ["class"]} if name != "SASRec" else {}
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class"]}
    config, model, _, (_, _, test) = build(
        name, train_neg_sample_args=None, MAX_ITEM_LIST_LENGTH=50, load_col=columns, **fields
    )
    model.eval()
    queries = test._dataset[:40]
    length = queries[config["ITEM_LIST_LENGTH_FIELD"]]
    expected = model.full_sort_predict(queries).view(40, -1)
    widths = []
    forward = type(model).forward

    def spied(self, item_seq, *rest):
        widths.append((len(item_seq), item_seq.shape[1]))
        return forward(self, item_seq, *rest)

    monkeypatch.setattr(type(model), "forward", spied)
    scores = Scorer(model, test, model.n_items, 4096)(queries)
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-6)
    assert sum(rows for rows, _ in widths) == 40
    assert length.min() < 20  # so that there is something to leave out
    assert sum(rows * width for rows, width in widths) * 3 / 4 <= length.sum()


@torch.no_grad()
def test_a_model_that_reads_padding_gets_its_rows_as_they_are(build) -> None:
    _, model, _, (_, _, test) = build("LightSANs", train_neg_sample_args=None)
    model.eval()
    queries = test._dataset[:20]
    found = Scorer(model, test, model.n_items, 4096)(queries)
    assert torch.equal(found, model.full_sort_predict(queries).view(20, -1))


@pytest.mark.parametrize(
    ("mode", "wrong"),
    [
        ("full", torch.nan),
        ("full", torch.inf),
        ("uni20", torch.nan),
        ("uni20", torch.inf),
        ("labeled", torch.nan),
    ],
)
@torch.no_grad()
def test_scores_that_are_no_numbers_are_refused(build, mode: str, wrong: float) -> None:
    labelled = {"threshold": {"rating": 4}, "metrics": ["AUC"], "valid_metric": "AUC"}
    name, more = ("LR", labelled) if mode == "labeled" else ("BPR", {})
    config, model, _, (_, _, test) = build(name, eval_args={"mode": mode}, **more)
    Evaluator(config).evaluate(model, test)
    for parameter in model.parameters():
        parameter.fill_(wrong)
    with pytest.raises(Failure, match=f"^{name}: scores are (nan|inf); lower learning_rate"):
        Evaluator(config).evaluate(model, test)
