from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from recbole_mm.layer.feature import FeatureTable
from recbole_mm.model import model_names
from recbole_mm.model.traits import trait
from recbole_mm.testing import Built, write_toy


class Silent(torch.nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 1)


class Loud(Silent):
    multimodal = True

    @property
    def causal(self) -> bool:
        return True

    def diagnostics(self) -> dict[str, float]:
        return {"norm": 1.0}


def test_a_silent_model_has_the_defaults() -> None:
    model = Silent()
    assert trait(model, "causal") is False
    assert trait(model, "diagnostics")() == {}
    assert not trait(Silent, "multimodal") and not trait(model, "triplet_batches")
    (group,) = trait(model, "parameter_groups")(0.1)
    assert group["lr"] == 0.1
    assert {id(p) for p in group["params"]} == {id(p) for p in model.parameters()}


def test_a_model_that_holds_features_says_so_whatever_it_inherits() -> None:
    model = Silent()
    assert trait(model, "held_features")() is None
    model.features = FeatureTable({}, torch.zeros(3, 0, dtype=torch.bool), learning_rate=0.5)
    model.features.read_by(model)
    assert trait(model, "held_features")() is model.features
    assert [(len(g["params"]), g["lr"]) for g in trait(model, "parameter_groups")(0.1)] == [
        (0, 0.1),
        (2, 0.5),
    ]


def test_what_a_model_says_wins() -> None:
    assert trait(Loud, "multimodal")
    assert trait(Loud(), "causal") is True
    assert trait(Loud(), "diagnostics")() == {"norm": 1.0}


@pytest.mark.parametrize("name", ["multi_modal", "__doc__"])
def test_an_undeclared_name_is_an_error(name: str) -> None:
    with pytest.raises(AttributeError, match="no trait"):
        trait(Loud, name)


@pytest.mark.parametrize(
    "model", [n for n, where in model_names().items() if where.startswith("recbole_mm.model.")]
)
@pytest.mark.parametrize("domains", [1, 2])
def test_rows_of_ids_fill_their_parameters(tmp_path: Path, model: str, domains: int) -> None:
    built = Built(model, {**write_toy(tmp_path, domains=domains), "sequence_split": "interactions"})
    dataset, parameters = built.train_data._dataset, dict(built.model.named_parameters())
    ids = {"user": dataset.user_num, "item": dataset.item_num, "": 1}
    declared = trait(built.model, "id_rows")()
    for name, blocks in declared.items():
        assert sum(ids[kind] * rows for kind, rows in blocks) == len(parameters[name]), name
    sizes = {dataset.user_num * domains, dataset.item_num}
    assert {n for n, p in parameters.items() if len(p) in sizes} <= set(declared)


def test_rows_of_ids_by_their_names(tmp_path: Path) -> None:
    built = Built("CMF", write_toy(tmp_path, domains=2))
    model, users, items = built.model, built.model.n_users, built.model.n_items
    model.user_taste = nn.ModuleDict({"text": nn.Embedding(2 * users, 2)})
    model.user_view = nn.Embedding(3 * users, 2)  # of what, is not known
    model.item_position = nn.Embedding(items + 1, 2)  # a row too many: they are not the items'
    model.user_by_item = nn.Embedding(users * items, 2)
    model.domain, model.item_map = nn.Embedding(users, 2), nn.Linear(2, items)
    assert model.id_rows() == {
        "user_id.weight": [("user", 1)],
        "item_id.weight": [("item", 1)],
        "user_taste.text.weight": [("user", 2)],
    }


@torch.no_grad()
def test_a_users_rows_are_of_that_user_alone(tmp_path: Path) -> None:
    built = Built("CMC", write_toy(tmp_path, domains=3))
    before, ((_, k),) = built.scores(), built.model.id_rows()["user_id.weight"]
    built.model.user_id.weight[5 * k : 6 * k] += 1.0
    assert (built.scores() != before).any(dim=1).nonzero().tolist() == [[4]]  # row 0 is user 1


@torch.no_grad()
@pytest.mark.parametrize("model", ["GCE", "MMGCN"])
def test_a_table_that_users_and_items_share_is_in_the_order_that_is_said(tmp_path: Path, model: str) -> None:
    """By the padding, which has no edge: another row of its makes another node of its alone."""
    made = Built(model, write_toy(tmp_path)).model.eval()
    sizes, row = {"user": made.n_users, "item": made.n_items}, 0
    for kind, rows in made.id_rows()["node.weight"][:2]:
        before = made.nodes()[:2]
        made.node.weight[row] += 1.0
        changed = [
            (a != b).any(dim=1).nonzero().flatten().tolist()
            for a, b in zip(before, made.nodes(), strict=False)
        ]
        assert changed == ([[0], []] if kind == "user" else [[], [0]])
        row += sizes[kind] * rows
