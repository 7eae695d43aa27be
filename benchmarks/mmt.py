"""A training step of MMT against the same layers with ready tensors, in one process; one JSON line a case.

``python benchmarks/mmt.py [--published] [--steps 50] [--batch 1024]``: random interactions and features; ``ratio_bare``
is the median step over that of the encoder on the same padded tokens, loss and optimiser included in both, by CPU time
(``step_seconds`` is the wall's). ``peak_mib`` is of the process.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recbole_mm.config import Config
from recbole_mm.layer.loss import bce
from recbole_mm.layer.transformer import SequenceEncoder
from recbole_mm.modality import ModalityStore
from recbole_mm.quick_start.session import Session

SMALL = {
    "hidden_size": 64, "n_layers": 2, "n_heads": 4, "inner_size": 128, "shared_size": 64, "history_length": 8,
    "attn_dropout_prob": 0.0, "learning_rate": 0.002,
}  # fmt: skip


def session(folder: Path, users: int, items: int, rows: int, settings: dict[str, Any]) -> Session:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"user_id:token": rng.integers(users, size=rows), "item_id:token": rng.integers(items, size=rows)}
    )
    frame = frame.drop_duplicates()
    frame["shop:token"] = frame["item_id:token"] % 2
    (folder / "bench").mkdir()
    frame.to_csv(folder / "bench" / "bench.inter", sep="\t", index=False)
    tokens = np.array([str(i) for i in range(items)])
    for name, width in (("text", 384), ("image", 1280)):
        values = rng.standard_normal((items, width), dtype=np.float32)
        ModalityStore.write(
            folder / "modality" / "bench" / name, values, tokens, modality=name, encoder="random"
        )
    given = {
        "data_path": str(folder), "modality_path": str(folder / "modality"), "checkpoint_dir": str(folder / "saved"),
        "domain_field": "shop", "load_col": {"inter": ["user_id", "item_id", "shop"]}, 
        "show_progress": False, **settings,
    }  # fmt: skip
    return Session.build(Config("MMT", "bench", config_dict=given).spec)


def timed(step: Callable[[], Tensor], optimizer: Any) -> tuple[float, float]:
    """Seconds of a step, by the wall and of the process."""
    wall, own = time.perf_counter(), time.process_time()
    optimizer.zero_grad()
    step().backward()
    optimizer.step()
    return time.perf_counter() - wall, time.process_time() - own


def bare_step(model: Any, batch: Any) -> Callable[[], Tensor]:
    """The encoder's layers on the padded tokens of ``batch``, made once; as many scores as the model's loss takes."""
    blocks: list[tuple[Tensor, Tensor]] = []
    encode = SequenceEncoder._encode

    def keep(self: Any, contents: Tensor, rows: Tensor, places: Tensor, there: Tensor) -> Tensor:
        blocks.append((torch.nn.functional.embedding(rows, contents).detach(), there))
        return encode(self, contents, rows, places, there)

    SequenceEncoder._encode = keep  # type: ignore[method-assign]
    model.calculate_loss(batch)
    SequenceEncoder._encode = encode  # type: ignore[method-assign]
    positives, negatives = len(batch), batch["neg_item_id"].numel()

    def step() -> Tensor:
        pooled = []
        for tokens, there in blocks:
            hidden = model.encoder.dropout(model.encoder.norm(tokens))
            padded = None if bool(there.all()) else ~there
            for layer in model.encoder.layers:
                hidden = layer(hidden, src_key_padding_mask=padded)
            hidden = model.encoder.last_norm(hidden).masked_fill(~there.unsqueeze(-1), 0.0)
            pooled.append(hidden.sum(dim=1) / there.sum(dim=1, keepdim=True))
        vectors = model.item_share(torch.cat(pooled))
        rows = torch.arange(positives) % len(vectors)
        others = torch.arange(negatives) % len(vectors)
        scores = (vectors[rows].unsqueeze(1) * vectors[others].view(positives, -1, vectors.shape[1])).sum(-1)
        return bce((vectors[rows] * vectors[rows.flip(0)]).sum(1), scores)

    return step


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--users", type=int, default=8000)
    parser.add_argument("--items", type=int, default=3000)
    arguments = parser.parse_args()
    batch_size = arguments.batch or (64 if arguments.published else 1024)
    settings = {"train_batch_size": batch_size, **({} if arguments.published else SMALL)}
    with tempfile.TemporaryDirectory() as name:
        made = session(Path(name), arguments.users, arguments.items, 7 * arguments.users, settings)
        model = made.model.train()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
        batch = next(iter(made.train_data))
        bare = bare_step(model, batch)
        ours, theirs = [], []
        for _ in range(arguments.steps):  # in turn, so that both meet the same machine
            ours.append(timed(lambda: model.calculate_loss(batch), optimizer))
            theirs.append(timed(bare, optimizer))
    wall, own = (median(each) for each in zip(*ours, strict=True))
    line = {
        "model": "MMT published" if arguments.published else "MMT small",
        "batch": batch_size,
        "steps": arguments.steps,
        "step_seconds": round(wall, 4),
        "step_cpu_seconds": round(own, 4),
        "ratio_bare": round(own / median(cpu for _, cpu in theirs), 3),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
