"""SASRecMM: item vectors by hand, SASRec without content, both forms of training, controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_mm.modality import ModalityStore
from recbole_mm.testing import Built, write_toy
from recbole_mm.trainer.shifted import ShiftedObjective

SMALL = {"hidden_size": 16, "n_layers": 1, "inner_size": 16, "sequence_split": "interactions"}


def make(
    folder: Path, model: str = "SASRecMM", modalities: tuple[str, ...] = ("text", "image"), **more: Any
) -> Built:
    return Built(model, {**write_toy(folder, modalities), **SMALL, **more})


@torch.no_grad()
def test_an_item_is_its_id_and_what_there_is_of_its_features(tmp_path: Path) -> None:
    built = make(tmp_path)
    vectors, tokens = built.model.item_embedding, built.train_data._dataset.field2id_token["item_id"]
    assert vectors.weight.shape == (31, 16)
    wanted = vectors.ids.weight.clone()
    for name, projection in vectors.projections.items():
        store = ModalityStore.open(tmp_path / "modality/toy" / name)
        known = dict(zip(store.tokens, torch.tensor(store.values), strict=True))
        assert len(known) == 24
        for number, token in enumerate(tokens):
            if token in known:
                wanted[number] += projection.weight @ known[token] + projection.bias
    torch.testing.assert_close(vectors.weight, wanted)
    some = torch.tensor([[3, 0, 3], [7, 30, 1]])
    torch.testing.assert_close(vectors(some), wanted[some])
    torch.testing.assert_close(built.model.item_rows(some.flatten()), wanted[some.flatten()])


@pytest.mark.parametrize("scaling", [None, "standardize", "whiten"])
@torch.no_grad()
def test_content_starts_as_large_as_the_ids(tmp_path: Path, scaling: str | None) -> None:
    vectors = make(tmp_path, feature_scaling=scaling, hidden_size=256, n_heads=1).model.item_embedding
    for k, name in enumerate(vectors.features.names):
        there = vectors.features.present[:, k].nonzero().squeeze(1)
        content = vectors.projections[name](vectors.features(name, there))
        assert content.std() == pytest.approx(0.02, rel=0.15), name


@pytest.mark.parametrize("train_sequences", ["prefix", "shifted"])
def test_without_modalities_it_is_sasrec_to_the_digit(tmp_path: Path, train_sequences: str) -> None:
    ours, theirs = (
        make(tmp_path / model, model, modalities=(), train_sequences=train_sequences).fit()
        for model in ("SASRecMM", "SASRec")
    )
    assert [r["loss"] for r in ours.trainer.history] == [r["loss"] for r in theirs.trainer.history]
    assert ours.model.state_dict().keys() == theirs.model.state_dict().keys()
    assert torch.equal(ours.scores(), theirs.scores())


def test_positions_learn_what_prefixes_learn(tmp_path: Path) -> None:
    """The loss of all positions is that of RecBole's rows, and so is its gradient; some items have no features."""
    losses, gradients = [], []
    for form in ("prefix", "shifted"):
        built = make(tmp_path / form, train_sequences=form, train_batch_size=10_000)
        built.model.eval()
        (batch,) = built.train_data
        shifted = form == "shifted"
        loss = (
            ShiftedObjective(built.config, built.model, built.train_data)(batch)
            if shifted
            else built.loss(batch)
        )
        loss.backward()
        losses.append(loss)
        gradients.append({name: p.grad for name, p in built.model.named_parameters()})
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


def test_the_vectors_of_an_evaluation_are_those_of_the_weights(tmp_path: Path) -> None:
    built = make(tmp_path)
    before, state = built.scores(), built.model.state_dict()
    built.model.load_state_dict({name: value + 0.1 for name, value in state.items()})
    with torch.no_grad():
        changed = built.model.full_sort_predict(built.queries(torch.arange(1, 41))).view(40, -1)[:, 1:]
    assert torch.equal(changed, built.scores()) and not torch.equal(changed, before)
    built.model.train()
    assert built.model.item_embedding.weight.requires_grad, "what an evaluation has kept does not learn"


def test_controls_change_what_it_reads(tmp_path: Path) -> None:
    real = make(tmp_path / "a", epochs=1, train_sequences="shifted").fit().scores()
    shuffled = (
        make(tmp_path / "b", epochs=1, train_sequences="shifted", feature_control="shuffled").fit().scores()
    )
    assert not torch.equal(real, shuffled)


def test_features_may_have_a_learning_rate_of_their_own(tmp_path: Path) -> None:
    built = make(tmp_path, feature_learning_rate=0.1)
    assert [group["lr"] for group in built.trainer.optimizer.param_groups] == [
        built.config["learning_rate"],
        0.1,
    ]
    assert len(built.trainer.optimizer.param_groups[1]["params"]) == 4
