"""Trained toy runs, one of each kind, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec
from recbole_mm.testing import write_toy

SHORT = {
    "epochs": 1,
    "embedding_size": 8,
    "metrics": ["NDCG", "Recall"],
    "topk": [5],
    "valid_metric": "NDCG@5",
}
SEQUENCES = {
    "sequence_split": "interactions",
    "mask_seen": "train+valid",
    "train_neg_sample_args": None,
    "hidden_size": 8,
    "n_heads": 1,
    "n_layers": 1,
}
TITLES = "item_id:token\tmovie_title:token_seq\n" + "".join(f"item{i:02d}\tTitle of {i}\n" for i in range(30))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Session]:
    """``trained("CMC", domains=2, epochs=1, …)`` -> the session of a finished run; equal calls share one."""
    made: dict[str, Session] = {}

    def get(model: str, domains: int = 1, **settings: Any) -> Session:
        key = repr((model, domains, settings))
        if key not in made:
            folder = tmp_path_factory.mktemp("run")
            given = {**write_toy(folder, domains=domains), **SHORT, **settings}
            (folder / "toy" / "toy.item").write_text(TITLES)
            session = Session.build(RunSpec.of(model, "toy", given))
            session.stored = session.run()  # type: ignore[attr-defined]
            made[key] = Session.open(session.trainer.folder.path)
            made[key].stored = session.stored  # type: ignore[attr-defined]
            made[key].folder = Path(session.trainer.folder.path)  # type: ignore[attr-defined]
        return made[key]

    return get
