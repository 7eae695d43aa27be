"""Runs that the tests start, here or as a process of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from recbole.model.general_recommender import BPR
from recbole.model.loss import BPRLoss

from recbole_mm.config import Config
from recbole_mm.layer.loss import Terms
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec

USERS, ITEMS = 60, 90


class TwoTerms(BPR):
    """A small model of our kind: two loss terms, dropout, rates of their own, state outside the state dict."""

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

    def calculate_loss(self, interaction: Any) -> Terms:
        self.steps += 1
        user = self.dropout(self.user_embedding(interaction[self.USER_ID]))
        pos = self.item_embedding(interaction[self.ITEM_ID])
        neg = self.item_embedding(interaction[self.NEG_ITEM_ID])
        self.mean.mul_(0.9).add_(user.detach().mean(0), alpha=0.1)
        spread = min(1.0, self.steps / 50) * ((user - self.mean) ** 2).mean()
        if self.steps == self.explode_at:
            spread = spread * float("nan")
        return Terms(ranking=self.loss((user * pos).sum(-1), (user * neg).sum(-1)), spread=spread)


def write_toy(folder: Path) -> None:
    """Interactions with two tastes: users like items of their own parity."""
    generator = torch.Generator().manual_seed(1)
    rows = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for user in range(USERS):
        liked = torch.randperm(ITEMS // 2, generator=generator)[:15] * 2 + user % 2
        rows += [f"u{user}\ti{item}\t5\t{t}" for t, item in enumerate(liked.tolist())]
    (folder / "toy").mkdir(parents=True, exist_ok=True)
    (folder / "toy" / "toy.inter").write_text("\n".join(rows) + "\n")


def build(folder: Path, model: str, epochs: int, **settings: Any) -> Session:
    """A run in `folder`, where `write_toy` has been."""
    torch.set_num_threads(1)
    given = {
        "data_path": str(folder), "checkpoint_dir": str(folder / "saved"), "epochs": epochs, "eval_step": 1,
        "train_batch_size": 64, "embedding_size": 8, "learning_rate": 0.01, "stopping_step": 100,
        "metric_decimal_place": 8, "show_progress": False, "use_gpu": False, **settings,
    }  # fmt: skip
    if model == "TwoTerms":
        given.setdefault("explode_at", None)
    config = Config(TwoTerms if model == "TwoTerms" else model, "toy", config_dict=given)
    return Session.build(config.spec)


def fit(session: Session, **options: Any) -> tuple[float, Any]:
    """Train it."""
    return session.trainer.fit(session.train_data, session.valid_data, **options)


def resumed(session: Session, folder: Any) -> Session:
    """Take up the run of `folder`."""
    session.trainer.resume(folder, session.train_data, session.valid_data)
    return session


def run(folder: Path, model: str, epochs: int, resume: Any = None, **settings: Any) -> dict[str, Any]:
    """Trains and tests; everything that must not depend on interruptions, to the last digit."""
    session = build(folder, model, epochs, **settings)
    if resume:
        resumed(session, resume)
    score, result = fit(session)
    trainer = session.trainer
    test_result = trainer.evaluate(session.test_data)
    best = torch.load(trainer.folder.best, weights_only=True)
    last = torch.load(trainer.folder.last, weights_only=True)
    keys = ("optimizers", "model_drift", "generators", "loaders", "stages", "epoch")
    return {
        **{key: last[key] for key in keys},
        "best": best["state_dict"],
        "last": last["state_dict"],
        "results": (float(score), dict(result), dict(test_result)),
        "losses": trainer.train_loss_dict,
        "history": timeless(trainer.history),
        "written": timeless(trainer.folder.read_history()),
        "best_epoch": trainer.best_epoch,
        "outcome": trainer.outcome,
        "folder": trainer.folder.path,
    }


def timeless(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records without their times."""
    return [{k: v for k, v in record.items() if "seconds" not in k} for record in history]


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


def staged(folder: Path, model: str, settings: dict[str, Any], resume: Any = None) -> Any:
    """(session, result) of a whole run, in a process of its own or here."""
    os.chdir(folder)
    torch.set_num_threads(1)
    session = Session.build(RunSpec.of(model, "toy", settings))
    return session, session.run(resume=resume)
