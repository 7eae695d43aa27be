"""A model built on toy data, and its training looked at step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.utils import ModelType
from torch.optim.optimizer import register_optimizer_step_pre_hook

from recbole_mm.config import Config
from recbole_mm.layer.loss import total
from recbole_mm.quick_start.session import Session


class Built:
    """A model with its loaders and trainer, ready to train."""

    def __init__(self, model: str | type, settings: dict[str, Any]):
        made = Session.build(Config(model, "toy", config_dict=dict(settings)).spec)
        self.session, self.config, self.model, self.trainer = made, made.config, made.model, made.trainer
        self.train_data, self.valid_data, self.test_data = made.train_data, made.valid_data, made.test_data

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
        return total(self.model.calculate_loss(batch))

    def queries(self, users: torch.Tensor, items: torch.Tensor | None = None) -> Interaction:
        """What the test asks about ``users [n]``, with histories for a sequential model; about pairs with ``items``."""
        dataset = self.test_data._dataset
        asked = {dataset.uid_field: users}
        if self.config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
            asked |= self.test_data.user_df[torch.searchsorted(self.test_data.uid_list, users)].interaction
        return Interaction(asked if items is None else {**asked, dataset.iid_field: items})

    @torch.no_grad()
    def scores(self, users: torch.Tensor | None = None) -> torch.Tensor:
        """``[n, I - 1]`` scores of all users (or ``users``), ``[PAD]`` left out."""
        self.model.eval()
        dataset = self.train_data._dataset
        ids = torch.arange(1, dataset.user_num) if users is None else users
        flat = self.model.full_sort_predict(self.queries(ids))
        return flat.view(len(ids), dataset.item_num)[:, 1:]


@dataclass
class Step:
    """One step of a training: what it saw, before it, and the gradients with which the optimiser was called."""

    batch: Interaction
    weights: dict[str, torch.Tensor]
    random: torch.Tensor
    gradients: dict[str, torch.Tensor] = field(default_factory=dict)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every parameter's gradient, zeros for none."""
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}


def recorded_steps(built: Built) -> list[Step]:
    """Train ``built`` with its trainer and return the steps."""
    steps: list[Step] = []
    model_class = type(built.model)
    calculate_loss = model_class.calculate_loss

    def before_loss(model: Any, batch: Interaction) -> Any:
        if model.training:  # a pre-training is validated by its loss, too
            weights = {name: value.clone() for name, value in model.state_dict().items()}
            steps.append(Step(batch, weights, torch.get_rng_state()))
        return calculate_loss(model, batch)

    def before_step(*_: Any) -> None:
        steps[-1].gradients = gradients(built.model)

    hook = register_optimizer_step_pre_hook(before_step)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model_class, "calculate_loss", before_loss)
            built.fit()
    finally:
        hook.remove()
    return steps
