"""``run --dry-run``: what a run would do, from its parts as they are built, and a few steps of training."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import psutil
import torch

from recbole_mm.config import Config
from recbole_mm.data.dataloader import of_interactions
from recbole_mm.data.split import PARTS
from recbole_mm.evaluator.query import pool_of
from recbole_mm.layer.loss import total
from recbole_mm.quick_start.pretrain_config import pretraining_of
from recbole_mm.quick_start.pretrain_vectors import is_there
from recbole_mm.quick_start.record import n_parameters
from recbole_mm.quick_start.session import Session
from recbole_mm.report.text import duration

STEPS = 5
_MIB = 1 << 20
#: how vectors are used that are not there yet
_OF_VECTORS = {"pretrained_use", "pretrained_mode", "pretrained_at", "freeze"}


def describe_run(config: Config) -> dict[str, Any]:
    """What a run would do, `describe`; ``pretraining``: what its pre-training, if it is not there, would do first."""
    first = pretraining_of(config)
    if first is None or is_there(first):
        return describe(Session.build(config.spec))
    before = describe(Session.build(first.spec))
    settings = {key: value for key, value in config.spec.settings.items() if key not in _OF_VECTORS}
    after = describe(Session.build(replace(config.spec, settings={**settings, "pretrain": None})))
    text = f"{before.pop('text')}\n\nthen, here without the vectors of {first['model']}:\n\n{after['text']}"
    return {**after, "pretraining": before, "text": text}


def describe(session: Session) -> dict[str, Any]:
    """Rows, parts, candidates, parameters, memory and the estimated time of an epoch; ``text`` says it to a person.

    No run is written; the session is used up, since a few training steps change its weights.
    """
    dataset, config, weights = session.dataset, session.config, n_parameters(session.model)
    summary: dict[str, Any] = {
        "model": config["model"],
        "dataset": config["dataset"],
        "users": dataset.user_num - 1,
        "items": dataset.item_num - 1,
        "rows": {part: len(_rows(getattr(session, f"{part}_data"))) for part in PARTS},
        "items_of_domains": _items_of_domains(dataset),
        "candidates": candidates(session),
        "stages": [str(stage.spec) for stage in session.trainer.stages.all],
        "parameters": weights,
        "training_mib": round(
            16 * weights / _MIB, 1
        ),  # weights, gradients, the two moments of Adam, 4 bytes each
        "resident_mib": round(psutil.Process().memory_info().rss / _MIB),
        "written_to": os.path.relpath(config["checkpoint_dir"]),
        **epoch_seconds(session),
    }
    return {**summary, "text": _text(summary)}


def candidates(session: Session) -> str:
    """Which items compete in the test, in words."""
    config, dataset = session.config, session.dataset
    mode = config["eval_args"]["mode"]
    mode = mode["test"] if isinstance(mode, dict) else mode
    if mode != "full":
        return f"as eval_args.mode {mode} says"
    if dataset.domain_names and config["eval_candidates"] == "domain":
        return "the items of the query's domain"
    return f"all {int(pool_of(_rows(session.train_data), config['candidates']).sum())} items"


def epoch_seconds(session: Session) -> dict[str, float | None]:
    """Seconds of a training epoch, from ``STEPS`` steps after one to warm up; None where there is nothing to step."""
    model, loader = session.model, session.train_data
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=1e-4) if trainable else None
    if optimizer is None or not session.trainer.resumable:
        return {"batches": len(loader), "epoch_seconds": None}
    model.train()
    spent = []
    began = time.perf_counter()
    for batch in islice(loader, STEPS + 1):
        loss = total(model.calculate_loss(batch.to(session.config["device"])))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        spent.append(time.perf_counter() - began)
        began = time.perf_counter()
    steady = spent[1:] or spent
    return {"batches": len(loader), "epoch_seconds": round(len(loader) * sum(steady) / len(steady), 2)}


def _rows(loader: Any) -> Any:
    if loader is None:  # the split has no such part
        return ()
    return of_interactions(loader)._dataset


def _items_of_domains(dataset: Any) -> dict[str, int]:
    if not dataset.domain_names:
        return {}
    domain = dataset.item_domain.numpy()
    counts = np.bincount(domain[domain >= 0], minlength=len(dataset.domain_names))
    return dict(zip(dataset.domain_names, counts.tolist(), strict=True))


def _text(summary: dict[str, Any]) -> str:
    rows, seconds = summary["rows"], summary["epoch_seconds"]
    domains = ", ".join(f"{name} {count:,}" for name, count in summary["items_of_domains"].items())
    lines = {
        "run": f"{summary['model']} on {summary['dataset']}, into a folder of {summary['written_to']}/",
        "data": f"{summary['users']:,} users, {summary['items']:,} items"
        + (f" ({domains})" if domains else ""),
        "rows": f"{rows['train']:,} training, {rows['valid']:,} validation, {rows['test']:,} test",
        "ranked": summary["candidates"],
        "stages": ", ".join(summary["stages"]),
        "model": f"{summary['parameters']:,} parameters, {summary['training_mib']} MiB to train them with Adam",
        "memory": f"{summary['resident_mib']:,} MiB now, the data in it",
        "epoch": "not estimated: the model has a training loop of its own"
        if seconds is None
        else f"about {duration(seconds)} for {summary['batches']} batches, validation aside",
    }
    return "\n".join(f"{name:<8}{text}" for name, text in lines.items())
