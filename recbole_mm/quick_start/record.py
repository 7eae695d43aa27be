"""The record of a run: what it was, what came out, and all that a reader needs to judge or repeat it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from recbole_mm.evaluator.caption import caption
from recbole_mm.model.traits import trait
from recbole_mm.quick_start.fingerprint import versions
from recbole_mm.quick_start.machine import data_record, machine
from recbole_mm.report.card import MARKDOWN, write_card
from recbole_mm.run.folder import RunFolder
from recbole_mm.run.spec import relative_paths
from recbole_mm.serialize import readable
from recbole_mm.trainer import n_workers


def run_record(session: Any, scores: dict[str, Any]) -> dict[str, Any]:
    """Of a `Session` whose run has ended, with its ``best_valid_score``, ``best_valid_result`` and ``test_result``."""
    config, trainer = session.config, session.trainer
    bigger = config["valid_metric_bigger"]
    return {
        "model": config["model"],
        "named": session.spec.model,
        "dataset": config["dataset"],
        "seed": config["seed"],
        "split_seed": config["split_seed"],
        "sequence_split": session.dataset.sequence_split,
        "ties": session.dataset.ties and session.dataset.ties.as_dict(),
        "key": session.spec.key,
        "protocol": config["protocol"],
        "evaluation": None if session.test_data is None else caption(config, session.test_data),
        "question": _asked(session) if scores["test_result"] is not None else None,
        **{name: readable(value) for name, value in scores.items()},
        "valid_score_bigger": True if bigger is None else bool(bigger),
        "epochs_run": len(trainer.history),
        "stopped_by": trainer.outcome,
        "seconds": round(time.perf_counter() - session.began, 2),
        "parameters": n_parameters(session.model),
        "pretrained": [{**each, "path": os.path.relpath(each["path"])} for each in session.plugged],
        "finetuned": session.finetuned,
        "files": _files(session),
        "remarks": [*config.notes, *trait(session.model, "without_effect")(), *trainer.changes],
        "changes": list(trainer.changes),
        "config": relative_paths(readable(config.external_config_dict)),
        "data": data_record(config, session.dataset),
        "versions": dict(versions()),
        "machine": dict(machine()),
        "usage": session.usage.as_dict(),
        "threads": torch.get_num_threads(),
        "workers": n_workers(trainer),
    }


def add_search(folder: RunFolder, found: Mapping[str, Any]) -> None:
    """Write into the record of a finished run, and on the card that it has, by which search its settings were found."""
    record = folder.amend(search=dict(found))
    if (folder.path / MARKDOWN).is_file():
        write_card(folder.path, record)


def _asked(session: Any) -> dict[str, Any] | None:
    result = session.trainer.eval_result
    return None if result is None else result.question.as_dict()


def _files(session: Any) -> dict[str, str]:
    """The checkpoints that stay, relative to the folder."""
    kept = session.config["keep_checkpoints"]
    if session.trainer.folder is None or kept == "none":
        return {}
    files = {"best": Path(session.trainer.saved_model_file).name}
    if kept == "all" and session.trainer.folder.last.is_file():
        files["last"] = session.trainer.folder.last.name
    return files


def n_parameters(model: Any) -> int:
    """Trainable numbers; 0 of a tree model."""
    return (
        sum(p.numel() for p in model.parameters() if p.requires_grad)
        if isinstance(model, torch.nn.Module)
        else 0
    )
