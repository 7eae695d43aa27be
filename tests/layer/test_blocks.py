"""Fusion, scoring, features, graph: against the plainest way to compute the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_mm.layer.attention import PositionAttention
from recbole_mm.layer.feature import FeatureTable
from recbole_mm.layer.fusion import ConcatFusion, GateFusion, SumFusion, WeightFusion
from recbole_mm.layer.graph import normalized_adjacency
from recbole_mm.layer.history import Taken, UserHistory
from recbole_mm.layer.projection import Projector, xavier_normal
from recbole_mm.layer.scoring import candidate_scores, score_every_item

PRESENT = torch.tensor([[1, 1], [1, 0], [0, 0]], dtype=torch.bool)


class Source:
    """Ten items of three numbers each, item i holds i, i + .1, i + .2."""

    width = 3
    nbytes = 10 * 3 * 4

    def take(self, items: np.ndarray) -> np.ndarray:
        return (items[:, None] + np.array([0, 0.1, 0.2])).astype(np.float32)


@pytest.mark.parametrize("fusion", [SumFusion(), GateFusion(4), WeightFusion(2)])
def test_fusion_ignores_what_is_absent(fusion: torch.nn.Module) -> None:
    modal, id_emb = torch.randn(3, 2, 4), torch.randn(3, 4)
    poisoned = torch.where(PRESENT.unsqueeze(-1), modal, torch.nan)
    fused = fusion(poisoned, PRESENT, id_emb)
    torch.testing.assert_close(fused, fusion(modal, PRESENT, id_emb))
    torch.testing.assert_close(fused[2], id_emb[2])
    # one modality alone is itself, at the start of training
    torch.testing.assert_close(fused[1], modal[1, 0] + id_emb[1])


def test_positions_attend_to_what_is_there() -> None:
    attention, positions = PositionAttention(4), torch.randn(3, 2, 4)
    poisoned = torch.where(PRESENT.unsqueeze(-1), positions, torch.nan)
    found = attention(poisoned, PRESENT)
    torch.testing.assert_close(found, attention(positions, PRESENT))
    torch.testing.assert_close(found[1], attention.value(positions[1, 0]))
    assert not found[2].any()


def test_sum_fusion_is_the_sum() -> None:
    modal, id_emb = torch.randn(3, 2, 4), torch.randn(3, 4)
    torch.testing.assert_close(SumFusion()(modal, PRESENT, id_emb)[0], modal[0, 0] + modal[0, 1] + id_emb[0])


def test_concat_fusion_keeps_modalities_and_id_apart() -> None:
    modal, id_emb = torch.randn(3, 2, 4), torch.randn(3, 4)
    poisoned = torch.where(PRESENT.unsqueeze(-1), modal, torch.nan)
    fused = ConcatFusion()(poisoned, PRESENT, id_emb)
    zero = torch.zeros(4)
    torch.testing.assert_close(fused[0], torch.cat([modal[0, 0], modal[0, 1], id_emb[0]]))
    torch.testing.assert_close(fused[1], torch.cat([modal[1, 0], zero, id_emb[1]]))
    torch.testing.assert_close(fused[2], torch.cat([zero, zero, id_emb[2]]))
    without_ids = ConcatFusion()(modal, PRESENT, torch.zeros(()))
    torch.testing.assert_close(without_ids[:, :8], fused[:, :8])
    assert not without_ids[:, 8:].any()


@pytest.mark.parametrize("n_items", [5, 5000])
def test_both_ways_of_scoring_agree(n_items: int) -> None:
    user, item = torch.randn(6, 8), torch.randn(n_items, 8)
    candidates = torch.randint(n_items, (6, 3))
    scores = candidate_scores(user, item, candidates)
    for b in range(6):
        for k in range(3):
            torch.testing.assert_close(scores[b, k], user[b] @ item[candidates[b, k]])


@pytest.mark.parametrize("budget", [0, 1 << 20])
def test_features_are_the_same_from_buffer_and_from_disk(budget: int) -> None:
    table = FeatureTable({"text": Source()}, torch.ones(10, 1, dtype=torch.bool), budget)
    items = torch.tensor([7, 2, 7])
    torch.testing.assert_close(table("text", items), torch.from_numpy(Source().take(items.numpy())))
    assert table.resident is (budget > 0)
    assert not table.state_dict()


def test_modules_that_read_features_learn_at_a_rate_of_their_own() -> None:
    model = torch.nn.ModuleDict({"content": torch.nn.Linear(3, 2), "other": torch.nn.Linear(2, 1)})
    for rate in (None, 0.5):
        table = FeatureTable({"text": Source()}, torch.ones(10, 1, dtype=torch.bool), learning_rate=rate)
        table.read_by(model["content"])
        assert not list(table.parameters())
        groups = [([id(p) for p in g["params"]], g["lr"]) for g in table.parameter_groups(model, 0.1)]
        content, other = ([id(p) for p in model[n].parameters()] for n in ("content", "other"))
        assert groups == ([(content + other, 0.1)] if rate is None else [(other, 0.1), (content, 0.5)])


def test_adjacency_by_hand() -> None:
    # a path 0 - 1 - 2 with loops: degrees 2, 3, 2
    graph = normalized_adjacency(np.array([0, 1, 1]), np.array([1, 2, 2]), 4, self_loops=True).to_dense()
    expected = torch.tensor(
        [[1 / 2, 6**-0.5, 0, 0], [6**-0.5, 1 / 3, 6**-0.5, 0], [0, 6**-0.5, 1 / 2, 0], [0, 0, 0, 1]]
    )
    torch.testing.assert_close(graph, expected)


def test_users_are_the_mean_of_what_they_took_in_each_part() -> None:
    taken = Taken("items", np.array([1, 1, 1, 3]), np.array([4, 2, 4, 0]))
    written = Taken("reviews", np.array([3, 1, 3]), np.array([7, 8, 9]))
    nothing = Taken("items", np.array([], int), np.array([], int))
    users, vectors = torch.tensor([3, 1, 2, 1]), torch.arange(12.0).view(6, 2)
    items, none, reviews = UserHistory(4, [taken, nothing, written]).gather(users)
    assert [b.kind for b in (items, none, reviews)] == ["items", "items", "reviews"]
    expected = torch.tensor([[0.0, 1.0], [6.0, 7.0], [0.0, 0.0], [6.0, 7.0]])  # item 4 counts once
    torch.testing.assert_close(items.mean(vectors, items.ids), expected)
    rows = torch.tensor([2, -9, 1, -9, 0, -9])[items.ids]  # those of items 0, 2, 4 among [4, 2, 0]
    torch.testing.assert_close(items.mean(vectors[[4, 2, 0]], rows), expected)
    assert reviews.ids.tolist() == [7, 9, 8, 8] and reviews.size.tolist() == [2, 1, 0, 1]
    own = torch.tensor([[1.0], [2.0], [5.0], [6.0]])
    torch.testing.assert_close(reviews.mean(own), torch.tensor([[1.5], [5.0], [0.0], [6.0]]))
    assert not none.size.any() and not none.mean(vectors, none.ids).any()


def test_a_history_of_no_part_gathers_nothing() -> None:
    assert UserHistory(4, []).gather(torch.tensor([1, 2])) == []


@pytest.mark.parametrize("pairs", [1, 4, 7, 1000])
def test_ranking_by_pairs_is_the_same_in_any_number_of_calls(pairs: int) -> None:
    calls = []

    def score(users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        calls.append(len(users))
        return 10 * users + items

    scores = score_every_item(score, torch.tensor([3, 1, 2]), 5, pairs)
    assert scores.tolist() == [[10 * u + i for i in range(5)] for u in (3, 1, 2)]
    assert max(calls) <= pairs


def test_mean_and_first_layer_commute() -> None:
    projector = Projector(3, 4)
    features = torch.randn(5, 3)
    torch.testing.assert_close(
        projector(features.mean(0)), projector.rest(projector.first(features).mean(0)), rtol=1e-4, atol=1e-5
    )


def test_first_values_of_matrices_have_xaviers_spread_and_biases_stay() -> None:
    torch.manual_seed(0)
    linear, table = torch.nn.Linear(300, 100), torch.nn.Embedding(900, 100)
    bias = linear.bias.detach().clone()
    xavier_normal(linear, None, table)
    for weight in (linear.weight, table.weight):
        assert weight.std().item() == pytest.approx((2 / sum(weight.shape)) ** 0.5, rel=0.03)
    assert torch.equal(linear.bias, bias)
