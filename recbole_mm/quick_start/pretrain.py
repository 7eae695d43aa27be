"""``recbole-mm pretrain``, and the pre-training before a run: a run of its own whose vectors others plug in.

It lies at ``<checkpoint_dir>/pretrained/`` as any run, under a key of all that made it, with ``vectors/items/<part>``
and ``vectors/users/<part>``, which are stores. One that is finished is taken as it is, one that was cut off goes on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import replace
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_mm.config import Config
from recbole_mm.config.properties import file_list
from recbole_mm.data.training_hash import TRAINING_ROWS, training_hash
from recbole_mm.errors import Interrupted, WrongUse
from recbole_mm.files import at_home
from recbole_mm.modality import ModalityStore
from recbole_mm.quick_start.fingerprint import run_key
from recbole_mm.quick_start.logger import init_logger
from recbole_mm.quick_start.pretraining import check_pretrains, pretraining_of
from recbole_mm.quick_start.session import Session
from recbole_mm.run.folder import RunFolder, run_folders
from recbole_mm.run.spec import RunSpec, relative_paths

VECTORS = "vectors"
KINDS = ("items", "users")
_log = getLogger("recbole_mm.run")


def pretrained(config: Config, show_progress: bool = False) -> RunFolder:
    """The finished pre-training of a configuration, with its vectors; found by its key, gone on with, or begun.

    The test set is not read.

    Raises:
        Interrupted: Ctrl-C; the same call goes on from there.
    """
    key = run_key(config, config["seed"])
    folder = run_folders(config["checkpoint_dir"]).get(key)
    if folder is None or not folder.finished:
        session = Session.build(replace(config.spec, key=key))
        before = folder.path if folder and folder.last.is_file() and session.trainer.resumable else None
        try:
            session.run(resume=before, test=False, show_progress=show_progress)
        except Interrupted as error:
            place = str(error).partition(";")[0]
            why = f"pre-training {config['model']}, {place}; the same command goes on from there"
            raise Interrupted(why, error.checkpoint) from error
        folder = session.trainer.folder
    else:
        _log.info("pre-training %s: taken from %s", config["model"], os.path.relpath(folder.path))
    if not (folder.path / VECTORS).is_dir():
        write_vectors(Session.open(folder.path), folder)
    return folder


def vectors_of(folder: RunFolder) -> dict[str, Path]:
    """Where the vectors of a pre-training lie, by kind: ``items`` and perhaps ``users``."""
    places = {kind: folder.path / VECTORS / kind for kind in KINDS}
    return {kind: path for kind, path in places.items() if path.is_dir()}


@torch.no_grad()
def write_vectors(session: Session, folder: RunFolder) -> None:
    """Write what the model hands over as stores, all of them or none; each names its training rows and its run."""
    dataset, record = session.train_data._dataset, folder.result().record
    told = {
        TRAINING_ROWS: training_hash(dataset),
        **{
            name: record[name]
            for name in ("model", "dataset", "seed", "key", "best_valid_result", "epochs_run")
        },
        "settings": relative_paths(session.spec.settings),
    }
    fields = {"items": dataset.iid_field, "users": dataset.uid_field}
    partial = folder.path / f".{VECTORS}"
    shutil.rmtree(partial, ignore_errors=True)
    for kind, parts in session.model.eval().pretrained().items():
        tokens = np.asarray(dataset.field2id_token[fields[kind]], dtype=object)
        for name, (values, present) in parts.items():
            exists = present.cpu().numpy().copy()
            exists[0] = False
            ModalityStore.write(
                partial / kind / name,
                values.cpu().numpy(),
                tokens,
                modality=name,
                encoder=record["model"],
                source=f"pre-trained on {record['dataset']}",
                metadata=told,
                present=exists,
            )
    os.replace(partial, folder.path / VECTORS)


def with_pretrained(config: Config, spec: RunSpec, show_progress: bool = False) -> RunSpec:
    """``spec`` with the vectors that its ``pretrain`` asks for, made first where they are not there.

    Raises:
        WrongUse: it names vectors of its own, too.
    """
    first = pretraining_of(config)
    if first is None:
        return spec
    places = vectors_of(pretrained(first, show_progress))
    settings = dict(spec.settings)
    for kind, path in places.items():
        key, place = f"pretrained_{kind}", os.path.relpath(path)
        if settings.get(key, place) != place:
            raise WrongUse(
                f"pretrain makes {key}, which is given, too ({settings[key]}); leave one of them out"
            )
        settings[key] = place
    return replace(spec, settings=settings)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``recbole-mm pretrain``; every other ``--key=value`` is a configuration key."""
    parser.add_argument("--model", "-m", help="a pre-training: CPMM, MMCPR, or path/to/file.py:Class")
    parser.add_argument("--dataset", "-d", help="its name below data_path, or its folder")
    parser.add_argument("--config_files", default="", help="yaml files, separated by spaces")
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
    verbosity = "quiet" if args.quiet else "verbose" if args.verbose else "normal"
    with init_logger(config, verbosity=verbosity):
        folder = pretrained(config, config["show_progress"] and sys.stderr.isatty() and not args.quiet)
    if out is not None:
        shutil.copytree(folder.path / VECTORS, out)
    _print(folder, vectors_of(folder) if out is None else {p.name: p for p in sorted(out.iterdir())})
    return 0


def _print(folder: RunFolder, places: dict[str, Path]) -> None:
    record = folder.result().record
    best: Iterable[tuple[str, Any]] = (record["best_valid_result"] or {}).items()
    print(f"best validation: {'    '.join(f'{name}: {value:.6g}' for name, value in best) or 'none'}")
    print(
        f"{record['epochs_run']} epochs, ended by {record['stopped_by']}; written to {os.path.relpath(folder.path)}/"
    )
    for kind, path in places.items():
        stores = sorted(each.name for each in path.iterdir())
        print(f"{kind}: {', '.join(stores)}; plug them in with --pretrained_{kind}={os.path.relpath(path)}")
