"""What a step of an optimiser does beside the step: gradients are gathered and clipped, weights averaged.

All of it hangs on the optimiser itself, so that it holds for each of RecBole's training loops, which differ, and under
mixed precision: `GradScaler` calls ``step`` once the gradients have their true scale, RecBole clips them before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from recbole_mm.errors import WrongUse


def fuse(optimizer: torch.optim.Optimizer) -> None:
    """Have ``optimizer`` take its steps in one kernel; up to rounding they are the same.

    Raises:
        WrongUse: torch has no such kernel for it.
    """
    if "fused" not in optimizer.defaults:
        raise WrongUse(
            f"fused_optimizer: torch has no fused {type(optimizer).__name__}; use learner adam, adamw, sgd or adagrad, "
            "or leave it out"
        )
    for group in optimizer.param_groups:
        group["fused"] = True


class Stepping:
    """Attaches itself to ``optimizer``.

    Args:
        optimizer: any; its ``step`` is replaced where ``accumulation`` is above 1.
        clip: arguments of ``clip_grad_norm_``, None for none.
        accumulation: calls of ``step`` for one step, which takes the mean of their gradients.
        decay: of the moving average of the weights, bias-corrected as Adam's (Kingma and Ba, arXiv 1412.6980), so that
            the first weights are not in it; None for none.

    Raises:
        WrongUse: no such average.
    """

    def __init__(
        self, optimizer: Optimizer, clip: dict[str, Any] | None, accumulation: int, decay: float | None
    ) -> None:
        if decay is not None and not 0 < decay < 1:
            raise WrongUse(f"ema_decay: expected a value between 0 and 1, both excluded, got {decay}")
        self.parameters: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
        self.averages: list[Tensor] = []
        self.updates = 0
        self._accumulation, self._decay = accumulation, decay
        self._gathered: dict[int, Tensor] = {}
        self._calls = 0
        self._clip = clip
        self._step: Any = optimizer.step
        if accumulation > 1:
            optimizer.step = self._gather  # type: ignore[method-assign, assignment]
        if clip:
            optimizer.register_step_pre_hook(self._clip_gradients)
        if decay is not None:
            optimizer.register_step_post_hook(lambda *_: self._average())

    def _gather(self, *_: Any) -> None:
        for k, parameter in enumerate(self.parameters):
            if parameter.grad is not None:
                known = self._gathered.get(k)
                self._gathered[k] = parameter.grad.clone() if known is None else known + parameter.grad
        self._calls += 1
        if self._calls == self._accumulation:
            self.flush()

    def flush(self) -> None:
        """Take the step of the gradients that were gathered, if any."""
        if not self._calls:
            return
        for k, parameter in enumerate(self.parameters):
            gathered = self._gathered.get(k)
            parameter.grad = None if gathered is None else gathered / self._calls
        self._step()
        self._gathered, self._calls = {}, 0

    def _clip_gradients(self, *_: Any) -> None:
        assert self._clip is not None
        clip_grad_norm_(self.parameters, **self._clip)

    @torch.no_grad()
    def _average(self) -> None:
        assert self._decay is not None
        self.updates += 1
        if not self.averages:
            self.averages = [p.detach().clone() for p in self.parameters]
        share = (1 - self._decay) / (1 - self._decay**self.updates)
        torch._foreach_lerp_(self.averages, [p.detach() for p in self.parameters], share)

    def state(self) -> dict[str, Any]:
        """Plain; between two epochs nothing else is left over."""
        return {"updates": self.updates, "averages": list(self.averages)}

    def restore(self, state: dict[str, Any]) -> None:
        """Undo `state`."""
        self.updates = state["updates"]
        self.averages = [
            value.to(p.device) for value, p in zip(state["averages"], self.parameters, strict=False)
        ]


@contextmanager
def averaged(model: torch.nn.Module, steppings: Sequence[Stepping]) -> Iterator[None]:
    """While open, ``model`` has its averaged weights, where there are any."""
    known = [stepping for stepping in steppings if stepping.updates]
    pairs = [pair for s in known for pair in zip(s.parameters, s.averages, strict=True)]
    own = [parameter.data for parameter, _ in pairs]
    for parameter, average in pairs:
        parameter.data = average
    if known:
        model.train(model.training)  # models forget what they computed from other weights
    try:
        yield
    finally:
        for (parameter, _), data in zip(reversed(pairs), reversed(own), strict=True):
            parameter.data = data
        if known:
            model.train(model.training)
