"""Toy data and the contract every model passes; for our tests and for authors of other models.

>>> class TestMyModel(ModelContract):
...     model = "path/to/my_model.py:MyModel"
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_mm.config import Config
from recbole_mm.modality import ModalityStore
from recbole_mm.quick_start.session import Session

N_USERS, N_ITEMS, N_TASTES = 40, 30, 3
MODALITIES = {"text": 6, "image": 9, "audio": 4}


def write_toy(
    folder: Path,
    modalities: Sequence[str] = ("text", "image"),
    *,
    domains: int = 1,
    rename: bool = False,
    swap_test: bool = False,
    missing: float = 0.2,
    seed: int = 7,
) -> dict[str, Any]:
    """Write a learnable toy set with fixed parts, and its stores; return the settings that load it.

    Users have one of three tastes and take items of it; the items' vectors tell the taste.

    Args:
        folder: an empty folder.
        modalities: names out of ``MODALITIES``.
        domains: items are dealt to so many domains in turn; users take items of all but one in five.
        rename: permute the item tokens, in the interactions and in the stores.
        swap_test: replace the test rows by others with the same users, items and order (protocol.md, No leak).
        missing: share of items without a vector, per modality.
        seed: of everything drawn.
    """
    rng = np.random.default_rng(seed)
    taste = np.arange(N_ITEMS) % N_TASTES
    domain = (np.arange(N_ITEMS) // N_TASTES) % domains
    token = np.array([f"item{i:02d}" for i in range(N_ITEMS)])
    if rename:
        token = rng.permutation(token)
    else:
        rng.permutation(token)  # the same draws either way
    rows = []
    for user in range(N_USERS):
        liked = np.flatnonzero(taste == user % N_TASTES)
        other = np.flatnonzero(taste != user % N_TASTES)
        taken = [*rng.permutation(liked)[:8], *rng.permutation(other)[:2]]
        if domains > 1 and user % 5 == 0:
            only = user // 5 % domains
            taken = [i for i in taken if domain[i] == only] + [i for i in other if domain[i] == only][:4]
        for k, item in enumerate(rng.permutation(np.unique(taken))):
            rows.append((user, item, "valid" if k == 0 else "test" if k == 1 else "train"))
    inter = pd.DataFrame(rows, columns=["user", "item", "part"])
    inter = inter.sort_values("part", key=lambda p: p.map({"train": 0, "valid": 1, "test": 2}), kind="stable")
    if swap_test:
        test = inter["part"] == "test"
        inter.loc[test, "item"] = np.roll(inter.loc[test, "item"].to_numpy(), 3)
    frame = pd.DataFrame(
        {
            "user_id:token": [f"u{u}" for u in inter["user"]],
            "item_id:token": token[inter["item"]],
            "rating:float": 1.0,
            "timestamp:float": np.arange(len(inter), dtype=float),
            "domain:token": [f"d{d}" for d in domain[inter["item"]]],
            "part:token": inter["part"],
        }
    )
    (folder / "toy").mkdir(parents=True)
    frame.to_csv(folder / "toy" / "toy.inter", sep="\t", index=False)
    for name in modalities:
        centre = rng.standard_normal((N_TASTES, MODALITIES[name]))
        values = (centre[taste] + 0.3 * rng.standard_normal((N_ITEMS, MODALITIES[name]))).astype(np.float32)
        kept = np.sort(rng.permutation(N_ITEMS)[round(missing * N_ITEMS) :])
        path = folder / "modality" / "toy" / name
        ModalityStore.write(path, values[kept], token[kept], modality=name, encoder="toy")
    fields = ["user_id", "item_id", "rating", "timestamp", "part", "domain"]
    return {
        "data_path": str(folder),
        "modality_path": str(folder / "modality"),
        "modalities": list(modalities),
        "checkpoint_dir": str(folder / "saved"),
        "load_col": {"inter": fields},
        "split": {"field": "part"},
        "min_coverage": 0.1,
        "epochs": 2,
        "train_batch_size": 64,
        "metric_decimal_place": 8,
        "show_progress": False,
        "use_gpu": False,
        **({"domain_field": "domain"} if domains > 1 else {}),
    }


class Built:
    """A model with its loaders and trainer, ready to train."""

    def __init__(self, model: str | type, settings: dict[str, Any]):
        config = Config(model, "toy", config_dict=dict(settings))
        self.session = session = Session.build(config.spec)
        self.config, self.model, self.trainer = session.config, session.model, session.trainer
        self.train_data, self.valid_data, self.test_data = (
            session.train_data,
            session.valid_data,
            session.test_data,
        )

    def fit(self) -> Built:
        """Train for ``epochs``."""
        self.trainer.fit(self.train_data, self.valid_data, verbose=False)
        return self

    def batch(self, size: int | None = None) -> Interaction:
        """The first training batch, or its first ``size`` rows."""
        whole = next(iter(self.train_data))
        return whole if size is None else whole[torch.arange(size)]

    def loss(self, batch: Interaction) -> torch.Tensor:
        """The training loss as one scalar."""
        losses = self.model.calculate_loss(batch)
        return torch.stack(losses).sum() if isinstance(losses, tuple) else losses

    @torch.no_grad()
    def scores(self, users: torch.Tensor | None = None) -> torch.Tensor:
        """``[n, I - 1]`` scores of all users (or ``users``), ``[PAD]`` left out."""
        self.model.eval()
        dataset = self.train_data._dataset
        ids = torch.arange(1, dataset.user_num) if users is None else users
        flat = self.model.full_sort_predict(Interaction({dataset.uid_field: ids}))
        return flat.view(len(ids), dataset.item_num)[:, 1:]


class ModelContract:
    """Inherit, set ``model`` (and ``settings``), and pytest finds what every model must hold (house.md)."""

    model: str | type
    settings: dict[str, Any] = {}  # noqa: RUF012  (a subclass replaces it whole)
    domains = 1

    def build(self, folder: Path, modalities: Sequence[str] = ("text", "image"), **toy: Any) -> Built:
        """The model on toy data in ``folder``."""
        return Built(self.model, self._toy(folder, modalities, **toy))

    def _toy(self, folder: Path, modalities: Sequence[str] = ("text", "image"), **toy: Any) -> dict[str, Any]:
        return {**write_toy(folder, modalities, domains=self.domains, **toy), **self.settings}

    @pytest.mark.parametrize("count", [0, 1, 2, 3])
    def test_loss_is_a_finite_scalar_on_any_batch(self, tmp_path: Path, count: int) -> None:
        """1: on 0–3 modalities, with missing rows, on the largest and the smallest batch."""
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
        """2: the same batch gives the same gradient again, whatever came before."""
        built = self.build(tmp_path)
        batch, gradients = built.batch(), []
        for other in (batch, built.batch(5), batch):
            built.model.zero_grad()
            torch.manual_seed(1)
            built.loss(other).backward()
            gradients.append([p.grad.clone() for p in built.model.parameters() if p.grad is not None])
        for first, again in zip(gradients[0], gradients[2], strict=True):
            torch.testing.assert_close(first, again, rtol=0, atol=0)

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
        """5: with permuted item tokens (store rows stay where they are) the trained scores are the same."""
        plain = self.build(tmp_path / "a").fit()
        renamed = self.build(tmp_path / "b", rename=True).fit()
        torch.testing.assert_close(renamed.scores(), plain.scores(), rtol=0, atol=0)

    def test_rubbish_in_absent_rows_changes_nothing(self, tmp_path: Path) -> None:
        """6: absent is a mask; what lies under it (even NaN) reaches no score and no loss."""
        built = self.build(tmp_path)
        torch.manual_seed(1)
        batch = built.batch()
        scores, loss = built.scores(), built.loss(batch)
        features = getattr(built.model, "features", None)
        if features is None:
            pytest.skip("the model takes no features")
        for k in range(len(features.names)):
            absent = ~features.present[:, k]
            assert absent[1:].any()
            getattr(features, f"table_{k}")[absent] = torch.nan
        torch.manual_seed(1)
        assert torch.equal(built.scores(), scores)
        assert torch.equal(built.loss(batch), loss)

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
