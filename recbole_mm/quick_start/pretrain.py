"""``recbole-mm pretrain``: vectors of items and users for any model, as a run of its own."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from recbole_mm.config import Config
from recbole_mm.config.properties import file_list
from recbole_mm.errors import WrongUse, count
from recbole_mm.files import at_home
from recbole_mm.quick_start.arguments import add_data_arguments, verbosity_of
from recbole_mm.quick_start.logger import init_logger
from recbole_mm.quick_start.pretrain_config import check_pretrains
from recbole_mm.quick_start.pretrain_vectors import VECTORS, pretrained, vectors_of
from recbole_mm.quick_start.session import Session
from recbole_mm.run.folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``recbole-mm pretrain``; every other ``--key=value`` is a configuration key."""
    parser.add_argument(
        "--model", "-m", help="a pre-training: CPMM, MMCPR, UniSRec, or path/to/file.py:Class"
    )
    add_data_arguments(parser)
    parser.add_argument(
        "--out", metavar="FOLDER", help="a copy of the vectors, at FOLDER/items and FOLDER/users"
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="print warnings and the result only")


def main(args: argparse.Namespace) -> int:
    """Pre-train, or go on with it, and print where the vectors lie."""
    config = Config(args.model, args.dataset, file_list(args.config_files), None, args.overrides)
    check_pretrains(config.model_spec)
    if config["keep_checkpoints"] == "none":
        raise WrongUse("keep_checkpoints: none: the vectors are made of the best weights; leave it out")
    out = None if args.out is None else Path(at_home(args.out))
    if out is not None and out.exists():
        raise WrongUse(f"--out {args.out}: it is there already; name a new folder")
    with init_logger(config, verbosity=verbosity_of(args)):
        folder = pretrained(
            config, Session, config["show_progress"] and sys.stderr.isatty() and not args.quiet
        )
    if out is not None:
        shutil.copytree(folder.path / VECTORS, out)
    _print(folder, vectors_of(folder) if out is None else {p.name: p for p in sorted(out.iterdir())})
    return 0


def _print(folder: RunFolder, places: dict[str, Path]) -> None:
    record = folder.result().record
    best = (record["best_valid_result"] or {}).items()
    print(f"best validation: {'    '.join(f'{name}: {value:.6g}' for name, value in best) or 'none'}")
    print(
        f"{count(record['epochs_run'], 'epoch')}, ended by {record['stopped_by']}; "
        f"written to {os.path.relpath(folder.path)}/"
    )
    for kind, path in places.items():
        stores = sorted(each.name for each in path.iterdir())
        print(f"{kind}: {', '.join(stores)}; plug them in with --pretrained_{kind}={os.path.relpath(path)}")
