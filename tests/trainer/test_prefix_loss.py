"""``loader: fast`` and prefixes: the model's own loss, without the padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_runs import run, same, write_toy

from recbole_mm.data.sequence import without_padding
from recbole_mm.model.traits import PADDING_FREE
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec
from recbole_mm.testing.shop import write_shop
from recbole_mm.trainer.prefix import PrefixObjective


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_shop(tmp_path_factory.mktemp("shop"))


def session(shop: dict[str, Any], model: str, **more: Any) -> Session:
    sizes = {"embedding_size": 8} if model.startswith("GRU") else {}
    given = {**shop, "sequence_split": "interactions", "train_batch_size": 200, **sizes, **more}
    return Session.build(RunSpec(model, "shop", given, seed=3))


@pytest.mark.parametrize("model", sorted(PADDING_FREE - {"GRU4RecKG"}))  # needs vectors of entities
@pytest.mark.parametrize("more", [{}, {"loss_type": "BPR"}, {"mask_ratio": 1.0}], ids=str)
def test_the_loss_is_the_models_own_up_to_rounding(
    shop: dict[str, Any], model: str, more: dict[str, Any]
) -> None:
    if "mask_ratio" in more and model != "BERT4Rec":
        pytest.skip("nothing is masked")
    if "loss_type" in more and model == "CORE":
        pytest.skip("knows cross-entropy alone")
    made = session(shop, model, MAX_ITEM_LIST_LENGTH=8, **more)
    net, batch = made.model.eval(), next(iter(made.train_data))
    length, own, widths = batch["item_length"], net.calculate_loss, []

    def spied(part: Any) -> Any:
        widths.append((len(part), part["item_id_list"].shape[1]))
        return own(part)

    expected = own(batch)
    net.calculate_loss = spied
    found = PrefixObjective(made.config, net, made.train_data._dataset)(batch)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    parameters = list(net.parameters())
    grads = [torch.autograd.grad(loss, parameters, allow_unused=True) for loss in (found, expected)]
    for one, other in zip(*grads, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert sum(rows for rows, _ in widths) == len(batch) and max(w for _, w in widths) == length.max() == 5
    assert sum(rows * width for rows, width in widths) * 3 / 4 <= length.sum() < len(batch) * 4


def test_terms_are_means_one_by_one_and_a_batch_without_masks_is_no_number(shop: dict[str, Any]) -> None:
    made = session(shop, "SASRec")
    batch, own = next(iter(made.train_data)), made.model.eval().calculate_loss
    made.model.calculate_loss = lambda part: (own(part), 2 * own(part))
    loss, double = PrefixObjective(made.config, made.model, made.train_data._dataset)(batch)
    torch.testing.assert_close([loss, double], [own(batch), 2 * own(batch)])
    made = session(shop, "BERT4Rec", mask_ratio=0.01, MAX_ITEM_LIST_LENGTH=12)
    batch = next(iter(made.train_data))
    batch["MASK_INDEX"].zero_()
    assert PrefixObjective(made.config, made.model, made.train_data._dataset)(batch).isnan()


def test_padding_is_cut_where_it_stands(shop: dict[str, Any]) -> None:
    made = session(shop, "SASRec", MAX_ITEM_LIST_LENGTH=8, transform="inverse_itemseq")
    batch = next(iter(made.train_data))
    part = without_padding(made.train_data._dataset, batch[batch["item_length"] <= 3])
    behind, in_front = part["item_id_list"], part["Inverse_item_id_list"]
    assert behind.shape == in_front.shape and behind.shape[1] == 3
    for one, other, length in zip(behind, in_front, part["item_length"], strict=True):
        assert one[:length].tolist() == other[-length:].tolist() and one[:length].all()


@pytest.mark.parametrize(("model", "cut"), [("SASRec", True), ("BERT4Rec", True), ("STAMP", False)])
def test_it_is_asked_for_by_the_loader(shop: dict[str, Any], model: str, cut: bool) -> None:
    for loader, wanted in (("recbole", False), ("fast", cut)):
        made = session(shop, model, loader=loader, epochs=1)
        made.run(saved=False)
        assert isinstance(made.trainer.stages.current.objective, PrefixObjective) == wanted


@pytest.mark.parametrize("model", ["SASRec", "BERT4Rec"])
def test_half_and_half_equal_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_toy(tmp_path)
    given = {"loader": "fast", "hidden_size": 8, "n_layers": 1, "inner_size": 8}
    whole, half = (run(tmp_path, model, epochs, **given) for epochs in (2, 1))
    both = run(tmp_path, model, 2, resume=half["folder"], **given)
    assert not [key for key in whole if key != "folder" and not same(whole[key], both[key])]
