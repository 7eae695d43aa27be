"""Models that are no two towers: scores by a head over pairs, features held by a sequential model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn

from recbole_mm import testing
from recbole_mm.layer.loss import bpr
from recbole_mm.layer.projection import masked
from recbole_mm.model.base import TripletRecommender, item_features
from recbole_mm.model.traits import Traits
from recbole_mm.testing import Built, write_toy

SEQUENTIAL = {
    "split": None,
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
    "loss_type": "CE",
    "train_neg_sample_args": None,
    "feature_learning_rate": 0.5,
    "feature_memory_mib": 64,
    "epochs": 1,
}


class Head(TripletRecommender):
    """An MLP over the ids of a pair."""

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.user, self.item = nn.Embedding(self.n_users, 8), nn.Embedding(self.n_items, 8)
        self.head = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1, bias=False))

    def score_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        return self.head(torch.cat([self.user(users), self.item(items)], dim=1)).squeeze(1)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        users, items, negatives = (interaction[f] for f in (self.USER_ID, self.ITEM_ID, self.NEG_ITEM_ID))
        others = self.score_pairs(users.repeat_interleave(negatives.shape[1]), negatives.flatten())
        return bpr(self.score_pairs(users, items), others.view_as(negatives))


class TestHead(testing.ModelContract):
    model = Head


def test_all_items_are_scored_in_parts_that_fit_into_memory(tmp_path: Path) -> None:
    built, pairs = Built(Head, write_toy(tmp_path)), []
    whole, score_pairs = built.scores(), built.model.score_pairs

    def recorded(users: Tensor, items: Tensor) -> Tensor:
        pairs.append(len(users))
        return score_pairs(users, items)

    built.model.score_pairs, built.model.scoring_bytes = recorded, 100 * built.model.pair_bytes
    torch.testing.assert_close(built.scores(), whole)
    assert max(pairs) <= 100 and sum(pairs) == built.model.n_items * (built.model.n_users - 1)


def test_item_vectors_are_kept_in_evaluation_alone_and_until_the_weights_change(tmp_path: Path) -> None:
    model = Built("VBPR", write_toy(tmp_path)).model.eval()
    assert model.item_vectors() is not model.item_vectors(), "kept with what leads to it"
    with torch.no_grad():
        first = model.item_vectors()
        assert model.item_vectors() is first
        model.load_state_dict({name: value + 1 for name, value in model.state_dict().items()})
        loaded = model.item_vectors()
        assert not torch.equal(loaded, first)
        model.train()
        model.item_id.weight += 1
        assert not torch.equal(model.eval().item_vectors(), loaded)


class LastText(Traits, SequentialRecommender):
    """Scores by the text of the last item."""

    multimodal = True

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.features = item_features(config, dataset)
        self.content = nn.Linear(self.features.widths["text"], 8)
        self.item = nn.Embedding(self.n_items, 8)
        self.features.read_by(self.content)

    def logits(self, interaction: Interaction) -> Tensor:
        last = self.gather_indexes(
            interaction[self.ITEM_SEQ].unsqueeze(-1), interaction[self.ITEM_SEQ_LEN] - 1
        )
        items = last.squeeze(1)
        text = masked(self.content(self.features("text", items)), self.features.mask(items)[:, 0])
        return (text + self.item(items)) @ self.item.weight.t()

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        return F.cross_entropy(self.logits(interaction), interaction[self.POS_ITEM_ID])

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        return self.logits(interaction)


def test_a_sequential_model_holds_features_that_learn_at_their_own_rate(tmp_path: Path) -> None:
    built = Built(LastText, {**write_toy(tmp_path), **SEQUENTIAL})
    before = {name: value.clone() for name, value in built.model.state_dict().items()}
    built.fit()
    groups = {g["lr"]: {id(p) for p in g["params"]} for g in built.trainer.optimizer.param_groups}
    assert groups[0.5] == {id(p) for p in built.model.content.parameters()}
    assert groups[built.config["learning_rate"]] == {id(built.model.item.weight)}
    assert all(not torch.equal(value, before[name]) for name, value in built.model.state_dict().items())
    assert before.keys() == {"content.weight", "content.bias", "item.weight"}
