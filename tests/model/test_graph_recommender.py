"""The base of graph models: nodes are made once an evaluation and anew in each step; whose rows the ids have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recbole_mm.model.graph_recommender import GraphRecommender
from recbole_mm.testing import Built, write_toy


class Counted(GraphRecommender):
    """LightGCN that counts how often its nodes are made."""

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.ids = self.light_gcn({"embedding_size": 4, "n_layers": 1}, dataset)
        self.made = 0

    def nodes(self) -> tuple[Tensor, ...]:
        self.made += 1
        return self.ids()


class Bare(GraphRecommender):
    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.ids = nn.Embedding(2, 2)


@pytest.fixture
def toy(tmp_path: Path) -> dict[str, Any]:
    return write_toy(tmp_path)


def test_nodes_are_made_once_an_evaluation_and_anew_when_weights_change(toy: dict[str, Any]) -> None:
    model, users = Built(Counted, toy).model.eval(), torch.arange(1, 4)
    with torch.no_grad():
        first = model.score_all(users)
        torch.testing.assert_close(model.score_all(users), first)
        assert model.made == 1
        all_users, all_items = model.ids()
        torch.testing.assert_close(first, all_users[users] @ all_items.t())
        model.ids.item.weight.mul_(2.0)
        model.train().eval()
        assert not torch.equal(model.score_all(users), first) and model.made == 2


def test_with_gradients_nodes_are_made_anew(toy: dict[str, Any]) -> None:
    model = Built(Counted, toy).model.train()
    assert [model.all_nodes()[0].requires_grad for _ in range(2)] == [True, True] and model.made == 2
    with torch.no_grad():  # in training nothing is kept, whoever asks
        model.all_nodes()
        model.all_nodes()
    assert model.made == 4
    model.eval()
    assert model.all_nodes()[0] is not model.all_nodes()[0] and model.made == 6


def test_rows_of_ids_are_known_by_the_names_of_a_light_gcn(toy: dict[str, Any]) -> None:
    assert Built(Counted, toy).model.id_rows() == {
        "ids.user.weight": [("user", 1)],
        "ids.item.weight": [("item", 1)],
    }
    bare = Built(Bare, toy).model
    with pytest.raises(NotImplementedError, match=r"^Bare must define nodes$"):
        bare.all_nodes()
