"""Runs that the tests start, here or as a process of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from recbole.model.general_recommender import BPR
from recbole.model.loss import BPRLoss
from recbole.utils import get_model, init_seed

import recbole_mm  # noqa: F401  first: it makes RecBole run on today's libraries
from recbole_mm.config import Config
from recbole_mm.data import create_dataset, data_preparation
from recbole_mm.trainer import get_trainer

USERS, ITEMS = 60, 90


class TwoTerms(BPR):
    """A small model of our kind: two loss terms, dropout, rates of their own, state outside the state dict."""

    loss_terms = ("ranking", "spread")

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.dropout = torch.nn.Dropout(0.2)
        self.loss = BPRLoss()
        self.steps = 0  # anneals the second term, as MultiVAE does
        self.explode_at = config["explode_at"]
        self.register_buffer("mean", torch.zeros(self.embedding_size), persistent=False)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        items = self.item_embedding.parameters()
        return [
            {"params": self.user_embedding.parameters(), "lr": learning_rate},
            {"params": items, "lr": learning_rate / 2},
        ]

    def calculate_loss(self, interaction: Any) -> tuple[torch.Tensor, torch.Tensor]:
        self.steps += 1
        user = self.dropout(self.user_embedding(interaction[self.USER_ID]))
        pos = self.item_embedding(interaction[self.ITEM_ID])
        neg = self.item_embedding(interaction[self.NEG_ITEM_ID])
        self.mean.mul_(0.9).add_(user.detach().mean(0), alpha=0.1)
        spread = min(1.0, self.steps / 50) * ((user - self.mean) ** 2).mean()
        if self.steps == self.explode_at:
            spread = spread * float("nan")
        return self.loss((user * pos).sum(-1), (user * neg).sum(-1)), spread


def write_toy(folder: Path) -> None:
    """Interactions with two tastes: users like items of their own parity."""
    generator = torch.Generator().manual_seed(1)
    rows = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for user in range(USERS):
        liked = torch.randperm(ITEMS // 2, generator=generator)[:15] * 2 + user % 2
        rows += [f"u{user}\ti{item}\t5\t{t}" for t, item in enumerate(liked.tolist())]
    (folder / "toy").mkdir(parents=True, exist_ok=True)
    (folder / "toy" / "toy.inter").write_text("\n".join(rows) + "\n")


def build(folder: Path, model: str, epochs: int, **settings: Any) -> tuple[Any, Any, Any, Any]:
    """(trainer, train, valid, test) of a run in `folder`, where `write_toy` has been."""
    torch.set_num_threads(1)
    model_class = TwoTerms if model == "TwoTerms" else get_model(model)
    config = Config(
        model_class if model == "TwoTerms" else model,
        "toy",
        config_dict={
            "data_path": str(folder), "checkpoint_dir": str(folder / "saved"), "epochs": epochs,
            "train_batch_size": 64, "embedding_size": 8, "learning_rate": 0.01, "eval_step": 1, "stopping_step": 100,
            "metric_decimal_place": 8, "show_progress": False, "use_gpu": False,
            **({"explode_at": None} if model == "TwoTerms" else {}), **settings,
        },
    )  # fmt: skip
    init_seed(config["seed"], True)
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    init_seed(config["seed"], True)
    net = model_class(config, train._dataset)
    return get_trainer(config, model_class)(config, net), train, valid, test


def run(folder: Path, model: str, epochs: int, resume: str | None = None, **settings: Any) -> dict[str, Any]:
    """Trains and tests; everything that must not depend on interruptions, to the last digit."""
    trainer, train, valid, test = build(folder, model, epochs, **settings)
    if resume:
        trainer.resume(resume, train, valid)
    score, result = trainer.fit(train, valid)
    test_result = trainer.evaluate(test)
    best = torch.load(trainer.saved_model_file, weights_only=True)
    last = torch.load(trainer.last_model_file, weights_only=True)
    return {
        "best": best["state_dict"],
        "last": last["state_dict"],
        "optimizer": last["optimizer"],
        "drift": last["model_drift"],
        "generators": last["generators"],
        "loaders": last["loaders"],
        "results": (float(score), dict(result), dict(test_result)),
        "losses": trainer.train_loss_dict,
        "history": [{k: v for k, v in r.items() if "seconds" not in k} for r in trainer.history],
        "best_epoch": trainer.best_epoch,
        "outcome": trainer.outcome,
        "files": (trainer.saved_model_file, trainer.last_model_file),
    }


def same(one: Any, other: Any) -> bool:
    """Equality to the last bit, through containers and tensors."""
    if isinstance(one, torch.Tensor) and one.is_sparse:
        return same(one.to_dense(), other.to_dense())
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def process(folder: Path, said: Path, **arguments: Any) -> None:
    """A run in a process of its own; what Ctrl-C raises is written to the file `said`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    os.chdir(folder)
    try:
        run(folder, **arguments)
    except KeyboardInterrupt as error:
        said.write_text(f"{type(error).__name__}: {error}")
