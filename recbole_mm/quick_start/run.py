"""One run: a model, a data set, training, and one reading of the test set."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from recbole_mm.config import Config
from recbole_mm.config.properties import file_list
from recbole_mm.errors import WrongUse, count
from recbole_mm.files import check_target, write_text
from recbole_mm.quick_start import distributed
from recbole_mm.quick_start.arguments import add_data_arguments, verbosity_of
from recbole_mm.quick_start.dry_run import describe_run
from recbole_mm.quick_start.logger import init_logger
from recbole_mm.quick_start.pretrain_vectors import of_a_run
from recbole_mm.quick_start.repeat import hold_to, settings_of
from recbole_mm.quick_start.report import CURVES, write_curves
from recbole_mm.quick_start.session import Session
from recbole_mm.quick_start.showcase import leave_showcase
from recbole_mm.report.card import HTML, read_record
from recbole_mm.run.folder import RunFolder, RunResult
from recbole_mm.serialize import readable


def run_recbole_mm(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
    cli_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Run as RecBole's ``run_recbole``: the same arguments, and its four keys in the result, among ours.

    The program's command line is read only if it is passed as ``cli_args``. ``folder`` is where the run was written;
    ``files`` are named as seen from there.
    """
    config = Config(model, dataset, config_file_list, config_dict, cli_args)
    with init_logger(config):
        session = Session.build(config.spec)
        progress = session.config["show_progress"] and sys.stderr.isatty()
        result = session.run(saved=saved, show_progress=progress)
    folder = session.trainer.folder
    return {**result.record, "folder": None if folder is None else os.path.relpath(folder.path)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``recbole-mm run``; every other ``--key=value`` is a configuration key."""
    parser.add_argument("--model", "-m", help="a model's name, path/to/file.py:Class, or dotted.name.Class")
    add_data_arguments(parser)
    parser.add_argument("--resume", metavar="RUN", help="go on with the run of this folder")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="RUN",
        help="repeat the run of this folder or card, and compare its results",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would happen: rows, candidates, memory, time"
    )
    parser.add_argument("--json", metavar="FILE", help="a copy of the record with the history")
    parser.add_argument("--quiet", "-q", action="store_true", help="print warnings and the result only")
    distributed.add_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Run, print the result and where it lies."""
    if args.json and args.json != "-":
        check_target("--json", args.json)
    files = file_list(args.config_files)
    model, dataset, settings = args.model, args.dataset, None
    record = None
    if args.source:
        if args.resume or model or dataset or files:
            raise WrongUse(
                "--from names the whole run; leave --model, --dataset, --config_files and --resume out"
            )
        record = read_record(args.source)
        model, dataset, settings = settings_of(record, args.overrides)
    if args.resume:
        stored = RunFolder.open(args.resume).read_spec()
        model, dataset = model or stored.model, dataset or stored.dataset
        settings = of_a_run(stored.config_dict())
    if not (model and dataset) and not files:
        raise WrongUse("name a model and a data set: recbole-mm run --model=CMC --dataset=ml-100k")
    config = Config(model, dataset, files, settings, args.overrides)
    group = distributed.group_of(args, config)
    with init_logger(config, verbosity=verbosity_of(args)):
        if args.dry_run:
            if group is not None:
                distributed.require_plain(config)
            found = describe_run(config)
            if args.json and args.json != "-":
                write_text(args.json, json.dumps(found, indent=1) + "\n")
            print(json.dumps(found, indent=1) if args.json == "-" else found["text"])
            return 0
        if group is not None:
            folder = distributed.run_distributed(config, group, args.resume)
            result = folder.result()
        else:
            session = Session.build(config.spec)
            progress = config["show_progress"] and sys.stderr.isatty() and not args.quiet
            result = session.run(resume=args.resume, show_progress=progress)
            folder = session.trainer.folder
    if group is None and result.record["test_result"] is not None:  # of several workers the first leaves it
        with init_logger(config, verbosity="quiet"):
            leave_showcase(session)
    _show(result, folder, args.json)
    if record is not None:
        print(hold_to(record, result.record))
    return 0


def _show(result: RunResult, folder: RunFolder, copy: str | None) -> None:
    """Print the result and where it lies; write its curves and a copy of the record."""
    record = result.record
    print(f"best validation: {_line(record['best_valid_result'])}")
    print(f"test:            {_line(record['test_result'])}")
    place = os.path.relpath(folder.path)
    print(f"{count(record['epochs_run'], 'epoch')}, ended by {record['stopped_by']}; written to {place}/")
    if result.groups is not None:
        print(result.groups.to_string(index=False))
    write_curves(folder)
    print(f"open {place}/{CURVES} in a browser; its card is {HTML}")
    if copy:
        write_text(copy, json.dumps({**record, "history": readable(result.history)}, indent=1) + "\n")


def _line(metrics: dict[str, float] | None) -> str:
    return "    ".join(f"{name}: {value}" for name, value in (metrics or {}).items()) or "none"
