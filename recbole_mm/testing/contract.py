"""What every model must hold, whatever it computes (house.md)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_mm.data.modality import ItemModality
from recbole_mm.errors import WrongUse
from recbole_mm.layer.feature import FeatureTable
from recbole_mm.model.traits import trait
from recbole_mm.testing.steps import Built, gradients, recorded_steps
from recbole_mm.testing.toy import MODALITIES, write_toy


class ModelContract:
    """Inherit, set ``model`` (and ``settings``), and pytest finds what every model must hold (house.md)."""

    model: str | type
    settings: dict[str, Any] = {}  # noqa: RUF012  (a subclass replaces it whole)
    domains = 1
    #: modalities that the model cannot do without
    fewest = 0

    def build(self, folder: Path, modalities: Sequence[str] = ("text", "image"), **toy: Any) -> Built:
        """The model on toy data in ``folder``."""
        return Built(self.model, self._toy(folder, modalities, **toy))

    def _toy(self, folder: Path, modalities: Sequence[str] = ("text", "image"), **toy: Any) -> dict[str, Any]:
        return {**write_toy(folder, modalities, domains=self.domains, **toy), **self.settings}

    @pytest.mark.parametrize("count", [0, 1, 2, 3])
    def test_loss_is_a_finite_scalar_on_any_batch(self, tmp_path: Path, count: int) -> None:
        """1: on 0–3 modalities, with missing rows, on the largest and the smallest batch."""
        if count < self.fewest:
            with pytest.raises(WrongUse):
                self.build(tmp_path, [])
            return
        built = self.build(tmp_path, list(MODALITIES)[:count])
        for size in (None, 1):
            loss = built.loss(built.batch(size))
            assert loss.shape == () and torch.isfinite(loss)

    def test_every_parameter_receives_a_gradient(self, tmp_path: Path) -> None:
        """2: nothing trainable stands outside the loss."""
        built = self.build(tmp_path)
        built.loss(built.batch()).backward()
        idle = [
            n
            for n, p in built.model.named_parameters()
            if p.requires_grad and (p.grad is None or not p.grad.any())
        ]
        assert not idle

    def test_loss_falls(self, tmp_path: Path) -> None:
        """2: on a learnable toy, over 20 steps on one batch."""
        built = self.build(tmp_path)
        batch = built.batch()
        optimizer = torch.optim.Adam(built.model.parameters(), lr=0.01)
        losses = []
        for _ in range(20):
            optimizer.zero_grad()
            loss = built.loss(batch)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.9 * losses[0]

    def test_gradients_do_not_leak_between_steps(self, tmp_path: Path) -> None:
        """2: every step of the trainer takes the gradient of its own batch, as a fresh model computes it."""
        steps = recorded_steps(self.build(tmp_path / "a"))
        fresh = self.build(tmp_path / "b")
        assert len(steps) > 2
        # backwards, so that what the model itself carries over differs
        for number, step in reversed(list(enumerate(steps))):
            fresh.model.load_state_dict(step.weights)
            fresh.model.train()
            fresh.model.zero_grad()
            torch.set_rng_state(step.random)
            fresh.loss(step.batch).backward()
            for name, own in gradients(fresh.model).items():
                assert torch.equal(step.gradients[name], own), f"step {number}: {name}"

    def test_predict_equals_full_sort(self, tmp_path: Path) -> None:
        """3: ``predict`` equals the gathered ``full_sort_predict``."""
        built = self.build(tmp_path)
        dataset, full = built.train_data._dataset, built.scores()
        users = torch.arange(1, dataset.user_num).repeat_interleave(3)
        items = torch.arange(len(users)) % (dataset.item_num - 1) + 1
        with torch.no_grad():
            pairs = built.model.predict(Interaction({dataset.uid_field: users, dataset.iid_field: items}))
        torch.testing.assert_close(pairs, full[users - 1, items - 1], rtol=1e-5, atol=1e-6)

    def test_a_score_does_not_depend_on_batch_mates(self, tmp_path: Path) -> None:
        """4: a row alone scores as in a batch."""
        built = self.build(tmp_path)
        alone = torch.cat([built.scores(torch.tensor([u])) for u in (1, 2, 3)])
        torch.testing.assert_close(alone, built.scores()[:3], rtol=1e-5, atol=1e-6)

    def test_renaming_items_changes_nothing_but_names(self, tmp_path: Path) -> None:
        """5: with permuted item tokens, and the lines of the stores turned round, the trained scores are the same."""
        plain = self.build(tmp_path / "a").fit()
        renamed = self.build(tmp_path / "b", rename=True).fit()
        torch.testing.assert_close(renamed.scores(), plain.scores(), rtol=0, atol=0)

    def test_rubbish_in_absent_rows_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """6: absent is a mask; what lies under it (even NaN) reaches no score and no loss."""
        built = self.build(tmp_path / "a")
        if not trait(built.model, "multimodal"):
            pytest.skip("the model reads no features")
        take = ItemModality.take

        def take_rubbish(modality: ItemModality, items: np.ndarray) -> np.ndarray:
            values = take(modality, items)
            values[~modality.present[items]] = np.nan
            return values

        monkeypatch.setattr(ItemModality, "take", take_rubbish)
        other = self.build(tmp_path / "b")
        held = trait(other.model, "held_features")()
        assert isinstance(held, FeatureTable), (
            "a multimodal model holds its features as `features`: see model/base.py"
        )
        for k, name in enumerate(held.names):
            absent = (~held.present[:, k]).nonzero().squeeze(1)
            assert len(absent) > 1 and held(name, absent).isnan().all()
        batch = built.batch()
        assert torch.equal(other.scores(), built.scores())
        losses = []
        for each in (built, other):
            torch.manual_seed(1)
            losses.append(each.loss(batch))
        assert torch.equal(*losses)

    def test_saving_keeps_the_scores(self, tmp_path: Path) -> None:
        """7: a checkpoint restores the scores, read without pickle."""
        built = self.build(tmp_path / "a").fit()
        built.trainer.evaluate(built.test_data, load_best_model=True)
        again = self.build(tmp_path / "b")
        stored = torch.load(built.trainer.saved_model_file, weights_only=True)
        again.model.load_state_dict(stored["state_dict"])
        assert torch.equal(again.scores(), built.scores())

    def test_resumed_training_equals_uninterrupted(self, tmp_path: Path) -> None:
        """7: 2 epochs and 2 resumed are 4, bit for bit."""
        whole = Built(self.model, {**self._toy(tmp_path / "a"), "epochs": 4}).fit()
        settings = self._toy(tmp_path / "b")
        half = Built(self.model, {**settings, "epochs": 2}).fit()
        rest = Built(self.model, {**settings, "epochs": 4})
        rest.trainer.resume(half.trainer.folder.path, rest.train_data, rest.valid_data)
        rest.fit()
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, rest.model.state_dict()[name]), name

    def test_test_interactions_change_nothing_trained(self, tmp_path: Path) -> None:
        """8: other test rows, the same trained scores."""
        trained = self.build(tmp_path / "a").fit()
        other = self.build(tmp_path / "b", swap_test=True).fit()
        first, second = (b.test_data._dataset.inter_feat["item_id"] for b in (trained, other))
        assert not torch.equal(first, second)
        assert torch.equal(trained.scores(), other.scores())
