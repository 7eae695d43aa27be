"""Clipping, accumulation, averages and warm-up: by hand on numbers, then in whole runs, for RecBole's models too."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from trainer_runs import build, fit, run, same, timeless, write_toy

from recbole_mm.errors import WrongUse
from recbole_mm.trainer.callback import Callback
from recbole_mm.trainer.step import Stepping, averaged

OPTIONS: dict[str, Any] = {
    "gradient_accumulation": 3, "ema_decay": 0.9, "lr_scheduler": "cosine", "lr_warmup_epochs": 2,
    "clip_grad_norm": {"max_norm": 0.1},
}  # fmt: skip
MMT: dict[str, Any] = {
    "modalities": [], "hidden_size": 8, "n_layers": 1, "n_heads": 2, "inner_size": 8, "shared_size": 8,
    "history_length": 3, "train_batch_size": 256,
}  # fmt: skip


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_toy(tmp_path)
    return tmp_path


def sgd(clip: Any = None, accumulation: int = 1, decay: float | None = None) -> tuple[Tensor, Any, Stepping]:
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    return weight, optimizer, Stepping(optimizer, clip, accumulation, decay)


def step(weight: Tensor, optimizer: Any, gradient: list[float]) -> list[float]:
    optimizer.zero_grad()
    (weight @ torch.tensor(gradient)).backward()
    optimizer.step()
    return weight.tolist()


def test_steps_of_several_batches() -> None:
    weight, optimizer, stepping = sgd({"max_norm": 6.0}, accumulation=2)
    assert step(weight, optimizer, [2.0, 0.0]) == [0.0, 0.0]
    assert step(weight, optimizer, [4.0, 8.0]) == [-3.0, -4.0]  # the mean, of norm 5
    assert step(weight, optimizer, [6.0, 8.0]) == [-3.0, -4.0]
    stepping.flush()  # an epoch's end: the mean of one, clipped
    torch.testing.assert_close(weight.data, torch.tensor([-6.6, -8.8]), rtol=1e-5, atol=0)
    stepping.flush()
    torch.testing.assert_close(weight.data, torch.tensor([-6.6, -8.8]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_gradients_are_clipped_at_their_true_scale(accumulation: int) -> None:
    weight, optimizer, _ = sgd({"max_norm": 1.0}, accumulation)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for _ in range(accumulation):
        optimizer.zero_grad()
        scaler.scale(weight @ torch.tensor([0.3, 0.4])).backward()  # of norm .5: nothing to clip
        scaler.step(optimizer)
        scaler.update()
    torch.testing.assert_close(weight.data, torch.tensor([-0.3, -0.4]))


def test_the_average_is_that_of_the_weights_behind_each_step() -> None:
    weight, optimizer, stepping = sgd(decay=0.5)
    model = torch.nn.Module()
    model.weight = weight
    with averaged(model, [stepping]):
        assert weight.tolist() == [0.0, 0.0]
    for gradient in ([1.0, 0.0], [1.0, 2.0], [1.0, 0.0]):
        step(weight, optimizer, gradient)
    with averaged(model, [stepping]):  # weights 4/7, 2/7, 1/7 of [-3, -2], [-2, -2], [-1, 0]
        torch.testing.assert_close(weight.data, torch.tensor([-17 / 7, -12 / 7]))
    assert weight.tolist() == [-3.0, -2.0]


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_no_average(toy: Path, decay: float) -> None:
    with pytest.raises(WrongUse, match="ema_decay: expected a value between 0 and 1, both excluded"):
        build(toy, "BPR", 1, ema_decay=decay)


def steps_of(session: Any) -> list[tuple[list[Tensor], float]]:
    """Train; behind each step the weights and the norm of the gradients."""
    found: list[tuple[list[Tensor], float]] = []
    parameters = list(session.model.parameters())

    def remember(*_: Any) -> None:
        norm = torch.cat([p.grad.flatten() for p in parameters]).norm().item()
        found.append(([p.detach().clone() for p in parameters], norm))

    hook = register_optimizer_step_post_hook(remember)
    try:
        fit(session)
    finally:
        hook.remove()
    return found


@pytest.mark.parametrize("model", ["BPR", "TwoTerms", "CMC"])
def test_a_run_with_all_of_them(toy: Path, model: str) -> None:
    more = {"modalities": []} if model == "CMC" else {}
    session = build(toy, model, 1, **{**OPTIONS, **more, "lr_warmup_epochs": 0, "lr_scheduler": None})
    found = steps_of(session)
    assert len(found) == math.ceil(len(session.train_data) / 3)
    assert 0.09 < max(norm for _, norm in found) < 0.1 + 1e-6
    share = torch.tensor([0.9**k for k in range(len(found))]).flip(0)
    best = torch.load(session.trainer.folder.best, weights_only=True)["state_dict"]
    for k, (name, now) in enumerate(session.model.named_parameters()):
        history = torch.stack([weights[k] for weights, _ in found])
        mean = torch.tensordot(share / share.sum(), history, dims=1)
        torch.testing.assert_close(best[name], mean, rtol=1e-4, atol=1e-6)
        assert torch.equal(now.data, found[-1][0][k])
    # validation was that of the averages
    score = session.trainer.history[0]["valid"]
    assert session.trainer.evaluate(session.valid_data, load_best_model=True) == score


class Interrupt(Callback):
    def on_epoch_end(self, record: dict[str, Any]) -> None:
        if record["epoch"] == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("BPR", {"lr_scheduler": "cosine", "lr_warmup_epochs": 2}),
        ("BPR", {"gradient_accumulation": 4}),
        ("BPR", {"ema_decay": 0.95}),
        ("BPR", {"fused_optimizer": True, "weight_decay": 0.01}),
        ("TwoTerms", OPTIONS),
        ("MMT", {**MMT, "lr_scheduler": "cosine"}),
        ("MMT", {**MMT, **OPTIONS, "enable_amp": True}),
        ("RecVAE", {**OPTIONS, "train_neg_sample_args": None}),  # two optimisers
    ],
)
def test_resume_is_exact(toy: Path, model: str, settings: dict[str, Any]) -> None:
    whole = run(toy, model, 6, **settings)
    half = build(toy, model, 6, **settings)
    half.trainer.callbacks.append(Interrupt())
    with pytest.raises(KeyboardInterrupt):
        fit(half)
    assert torch.load(half.trainer.folder.last, weights_only=True)["epoch"] == 2
    both = run(toy, model, 6, resume=half.trainer.folder.path, **settings)
    assert [key for key in whole if key != "folder" and not same(whole[key], both[key])] == []


@pytest.mark.parametrize("learner", ["adam", "adamw", "sgd", "adagrad"])
def test_a_fused_step_is_the_step_up_to_rounding(toy: Path, learner: str) -> None:
    found = []
    for fused in (False, True):
        session = build(toy, "BPR", 3, learner=learner, weight_decay=0.01, fused_optimizer=fused)
        assert bool(session.trainer.optimizer.param_groups[0].get("fused")) is fused
        fit(session)
        found.append(session.model.state_dict())
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-6)
        assert not (learner == "adam" and torch.equal(found[1][name], value))


@pytest.mark.parametrize(("learner", "name"), [("rmsprop", "RMSprop"), ("sparse_adam", "SparseAdam")])
def test_an_optimiser_without_a_fused_step_is_refused(toy: Path, learner: str, name: str) -> None:
    with pytest.raises(WrongUse) as said:
        build(toy, "BPR", 1, learner=learner, fused_optimizer=True)
    assert str(said.value) == (
        f"fused_optimizer: torch has no fused {name}; use learner adam, adamw, sgd or adagrad, or leave it out"
    )


def test_warm_up_and_cosine_in_turn(toy: Path) -> None:
    session = build(toy, "BPR", 6, lr_scheduler="cosine", lr_warmup_epochs=2)
    rates: list[float] = []

    class Rates(Callback):
        def on_epoch_end(self, record: dict[str, Any]) -> None:
            rates.append(session.trainer.optimizer.param_groups[0]["lr"] / 0.01)

    session.trainer.callbacks.append(Rates())
    fit(session)
    falling = [0.5 * (1 + math.cos(math.pi * t / 4)) for t in range(4)]
    assert rates == pytest.approx([1 / 3, 2 / 3, *falling])


def test_plain_runs_are_as_before(toy: Path) -> None:
    """Clipping behind RecBole's place for it changes no digit where there is no scale."""
    session = build(toy, "BPR", 2, clip_grad_norm={"max_norm": 0.05})
    fit(session)
    other = build(toy, "BPR", 2)
    trainer = other.trainer
    trainer.clip_grad_norm = {"max_norm": 0.05}  # RecBole's own
    fit(other)
    assert timeless(session.trainer.history) == timeless(trainer.history)
