"""The loss over all positions: the outputs and the losses of prefixes, naive formulas, exact resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from trainer_runs import run, same, write_toy

from recbole_mm.model.traits import CAUSAL
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec
from recbole_mm.testing.shop import write_shop
from recbole_mm.trainer.shifted import ShiftedObjective, output_at_positions


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """With vectors of entities, for GRU4RecKG."""
    folder = tmp_path_factory.mktemp("shop")
    settings = write_shop(folder)
    vectors = np.random.default_rng(0).standard_normal((100, 8)).round(3)
    pd.DataFrame(
        {
            "ent_id:token": [f"e{i}" for i in range(100)],
            "ent_emb:float_seq": [" ".join(map(str, v)) for v in vectors],
        }
    ).to_csv(folder / "shop/shop.ent", sep="\t", index=False)
    return settings


def session(shop: dict[str, Any], model: str, **more: Any) -> Session:
    sizes = {"embedding_size": 8} if model.startswith("GRU") else {}
    given = {**shop, "sequence_split": "interactions", "train_sequences": "shifted", **sizes, **more}
    return Session.build(RunSpec(model, "shop", given, seed=3))


def prefix_rows(batch: Any, negatives: bool = False) -> Interaction:
    """The rows that RecBole would train on, of a batch of positions."""
    row, column = batch["item_id"].nonzero(as_tuple=True)
    before = torch.arange(batch["item_id_list"].shape[1]) <= column.unsqueeze(1)
    rows = {
        "item_id_list": batch["item_id_list"][row] * before,
        "item_length": column + 1,
        "item_id": batch["item_id"][row, column],
    }
    return Interaction(rows | ({"neg_item_id": batch["neg_item_id"][row, column, 0]} if negatives else {}))


@pytest.mark.parametrize("model", sorted(CAUSAL))
@pytest.mark.parametrize("loss_type", ["CE", "BPR"])
def test_positions_give_the_outputs_and_the_loss_of_prefixes(
    shop: dict[str, Any], model: str, loss_type: str
) -> None:
    made = session(shop, model, loss_type=loss_type, MAX_ITEM_LIST_LENGTH=4, train_batch_size=10_000)
    net = made.model.eval()
    (batch,) = made.train_data
    rows = prefix_rows(batch, negatives=loss_type == "BPR")
    assert len(rows) == 295 and batch["item_length"].shape == (118,)
    row, column = batch["item_id"].nonzero(as_tuple=True)
    every = output_at_positions(net, batch["item_id_list"], batch["item_length"])
    torch.testing.assert_close(every[row, column], net(rows["item_id_list"], rows["item_length"]))
    assert "gather_indexes" not in vars(net)
    loss = ShiftedObjective(made.config, net, made.train_data)(batch)
    torch.testing.assert_close(loss, net.calculate_loss(rows), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("loss", ["sampled_softmax", "gbce"])
@pytest.mark.parametrize("by", ["uniform", "popularity"])
def test_losses_with_shared_negatives_are_those_of_a_plain_loop(
    shop: dict[str, Any], loss: str, by: str
) -> None:
    made = session(shop, "SASRec", sequence_loss=loss, sequence_negatives=70, sequence_negatives_by=by)
    net, loader = made.model.eval(), made.train_data
    batch = next(iter(loader))
    items, shared = net.item_embedding.weight, batch["neg_item_id"].flatten()[:70]
    bought = np.bincount(loader._dataset.inter_feat["item_id"].numpy(), minlength=len(items))
    wanted = []
    rows = prefix_rows(batch)
    output = net(rows["item_id_list"], rows["item_length"])
    for h, target in zip(output, rows["item_id"], strict=True):
        others = shared[shared != target]
        if loss == "sampled_softmax":
            scores = items[torch.cat([target[None], others])] @ h
            if by == "popularity":
                scores = scores - torch.from_numpy(bought[torch.cat([target[None], others])]).log()
            wanted.append(-scores.log_softmax(0)[0])
        else:
            beta = 1 - 0.75 * (1 - 70 / 30)  # as many negatives as items: no sampling is left to undo
            beta = 1.0 if 70 > 30 else beta
            terms = [-beta * F.logsigmoid(items[target] @ h), -F.logsigmoid(-(items[others] @ h)).sum()]
            wanted.append(sum(terms) / 71)
    found = ShiftedObjective(made.config, net, loader)(batch)
    torch.testing.assert_close(found, torch.stack(wanted).mean(), atol=1e-6, rtol=1e-5)


def test_the_memory_of_the_softmax_changes_no_digit_that_counts(shop: dict[str, Any]) -> None:
    losses = []
    for mib in (64, 0.001):
        made = session(shop, "GRU4Rec", softmax_memory_mib=mib)
        losses.append(
            ShiftedObjective(made.config, made.model.eval(), made.train_data)(next(iter(made.train_data)))
        )
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("given", [{"sequence_loss": "ce"}, {"sequence_loss": "gbce"}, {"loss_type": "BPR"}])
def test_half_and_half_equal_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_toy(tmp_path)
    given = {"train_sequences": "shifted", "hidden_size": 8, "num_layers": 1, **given}
    whole, half = (run(tmp_path, "GRU4Rec", epochs, **given) for epochs in (4, 2))
    both = run(tmp_path, "GRU4Rec", 4, resume=half["folder"], **given)
    assert not [key for key in whole if key != "folder" and not same(whole[key], both[key])]


def test_no_parts_of_rows_are_taken(shop: dict[str, Any]) -> None:
    from recbole_mm.errors import WrongUse

    made = session(shop, "SASRec", train_epochs=["BOTH:1"])
    with pytest.raises(WrongUse) as raised:
        made.run(saved=False)
    assert str(raised.value) == (
        "train_epochs: SASRec does not train on single interactions, so it takes no parts of them"
    )
