"""One run: a model, a data set, training, and one reading of the test set."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from logging import getLogger
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from recbole.utils import init_seed

from recbole_mm.config import Config
from recbole_mm.data import data_preparation
from recbole_mm.errors import WrongUse
from recbole_mm.files import write_text
from recbole_mm.model import model_spec
from recbole_mm.quick_start.dataset import load_dataset
from recbole_mm.quick_start.logger import init_logger
from recbole_mm.serialize import readable
from recbole_mm.trainer import get_trainer, read_last

LIBRARIES = ("recbole_mm", "recbole", "torch", "numpy", "pandas", "scipy")


@dataclass
class RunResult:
    """What a run leaves.

    Attributes:
        record: JSON-able: settings, scores, how training ended, files, versions.
        queries: one row a test query (user, domain, n_positives, metrics), None with ``evaluator: recbole``.
        groups: the test metrics by group, None where ``eval_groups`` is empty.
        history: per epoch: loss terms, seconds, validation metrics.
    """

    record: dict[str, Any]
    queries: pd.DataFrame | None
    groups: pd.DataFrame | None
    history: list[dict[str, Any]]


def run_one(
    config: Config,
    *,
    saved: bool = True,
    resume: str | None = None,
    test: bool = True,
    show_progress: bool = False,
) -> RunResult:
    """Train ``config``'s model and read the test set once.

    Args:
        config: a complete configuration.
        saved: keep the best checkpoint and test with it; else test with the last weights (as RecBole).
        resume: a ``.last.pth`` checkpoint to go on from.
        test: False never reads the test set (search on validation).
        show_progress: bars for training and evaluation.
    """
    began = time.perf_counter()
    init_seed(config["split_seed"], config["reproducibility"])
    dataset = load_dataset(config)
    log = getLogger("recbole_mm.run")
    log.info(
        "%s on %s: %d users, %d items, %d interactions",
        config["model"], config["dataset"], dataset.user_num - 1, dataset.item_num - 1, dataset.inter_num,
    )  # fmt: skip
    for note in config.notes:
        log.info("%s", note)
    getLogger().info(dataset)
    train_data, valid_data, test_data = data_preparation(config, dataset)

    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    model = config.model_class(config, train_data._dataset).to(config["device"])
    getLogger().info(model)
    trainer = get_trainer(config, config.model_class)(config, model)
    trainer.request["model"] = model_spec(config.model_class)
    resume = resume or config["resume"]
    if resume:
        trainer.resume(resume, train_data, valid_data)
    best_score, best_result = trainer.fit(train_data, valid_data, saved=saved, show_progress=show_progress)
    result = None
    if test:
        result = trainer.evaluate(test_data, load_best_model=saved, show_progress=show_progress)
    evaluation = trainer.eval_result if test else None
    record = {
        "model": config["model"],
        "dataset": config["dataset"],
        "seed": config["seed"],
        "split_seed": config["split_seed"],
        "protocol": config["protocol"],
        "best_valid_score": readable(best_score),
        "best_valid_result": readable(best_result),
        "test_result": readable(result),
        "epochs_run": len(trainer.history),
        "stopped_by": trainer.outcome,
        "seconds": round(time.perf_counter() - began, 2),
        "parameters": _parameters(model),
        "files": {"best": trainer.saved_model_file, "last": trainer.last_model_file} if saved else {},
        "config": readable(config.external_config_dict),
        "versions": {name: version(name) for name in LIBRARIES},
        "threads": torch.get_num_threads(),
    }
    return RunResult(
        record,
        None if evaluation is None else evaluation.queries,
        None if evaluation is None else evaluation.groups,
        trainer.history,
    )


def _parameters(model: Any) -> int:
    if not isinstance(model, torch.nn.Module):  # a tree model
        return 0
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def run_recbole_mm(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
    cli_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Run as RecBole's ``run_recbole``: the same arguments, and its four keys in the result, among ours.

    The program's command line is read only if it is passed as ``cli_args``.
    """
    config = Config(model, dataset, config_file_list, config_dict, cli_args)
    with init_logger(config):
        result = run_one(config, saved=saved, show_progress=config["show_progress"] and sys.stderr.isatty())
    return {**result.record, "valid_score_bigger": config["valid_metric_bigger"]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``recbole-mm run``; every other ``--key=value`` is a configuration key."""
    parser.add_argument("--model", "-m", help="a model's name, path/to/file.py:Class, or dotted.name.Class")
    parser.add_argument("--dataset", "-d", help="a folder of data_path; ml-100k is built in")
    parser.add_argument("--config_files", default="", help="yaml files, separated by spaces")
    parser.add_argument("--resume", metavar="CHECKPOINT", help="go on from a .last.pth checkpoint")
    parser.add_argument(
        "--json", metavar="FILE", help="where the record goes (default: beside the checkpoint)"
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="print warnings and the result only")


def main(args: argparse.Namespace) -> int:
    """Run, print the result, write its record as JSON."""
    files = args.config_files.split()
    model, dataset, settings = args.model, args.dataset, None
    if args.resume:
        stored = read_last(args.resume)
        model, dataset = model or stored["model"], dataset or stored["dataset"]
        settings = stored["settings"]
    if not (model and dataset) and not files:
        raise WrongUse("name a model and a data set: recbole-mm run --model=CMC --dataset=ml-100k")
    config = Config(model, dataset, files, settings, args.overrides)
    verbosity = "quiet" if args.quiet else "verbose" if args.verbose else "normal"
    progress = config["show_progress"] and sys.stderr.isatty() and not args.quiet
    with init_logger(config, verbosity=verbosity):
        result = run_one(config, resume=args.resume, show_progress=progress)
    record = Path(args.json or f"{os.path.splitext(result.record['files']['best'])[0]}.json")
    write_text(record, json.dumps({**result.record, "history": readable(result.history)}, indent=1) + "\n")
    print(f"best validation: {_line(result.record['best_valid_result'])}")
    print(f"test:            {_line(result.record['test_result'])}")
    print(f"{result.record['epochs_run']} epochs, ended by {result.record['stopped_by']}; record: {record}")
    if result.groups is not None:
        print(result.groups.to_string(index=False))
    return 0


def _line(metrics: dict[str, float] | None) -> str:
    return "    ".join(f"{name}: {value}" for name, value in (metrics or {}).items()) or "none"
