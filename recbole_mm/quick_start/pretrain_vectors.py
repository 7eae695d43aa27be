"""The pre-training before a run: a run of its own whose vectors others plug in.

It lies at ``<checkpoint_dir>/pretrained/`` as any run, under a key of all that made it, with ``vectors/items/<part>``
and ``vectors/users/<part>``, which are stores. One that is finished is taken as it is, one that was cut off goes on.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_mm.config import Config
from recbole_mm.data.training_hash import TRAINING_ROWS, training_hash
from recbole_mm.errors import Interrupted, WrongUse
from recbole_mm.modality import ModalityStore
from recbole_mm.quick_start.fingerprint import run_key
from recbole_mm.quick_start.pretrain_config import pretraining_of
from recbole_mm.run.folder import RunFolder, run_folders
from recbole_mm.run.spec import RunSpec, relative_paths

VECTORS = "vectors"
KINDS = ("items", "users")
_log = getLogger("recbole_mm.run")


def pretrained(config: Config, sessions: Any, show_progress: bool = False) -> RunFolder:
    """The finished pre-training of a configuration, with its vectors; found by its key, gone on with, or begun.

    The test set is not read.

    Args:
        config: of the pre-training.
        sessions: the class `Session`, which builds it.
        show_progress: bars.

    Raises:
        Interrupted: Ctrl-C; the same call goes on from there.
    """
    key = run_key(config, config["seed"])
    folder = run_folders(config["checkpoint_dir"]).get(key)
    if folder is None or not folder.finished:
        session = sessions.build(replace(config.spec, key=key))
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
        write_vectors(sessions.open(folder.path), folder)
    return folder


def is_there(config: Config) -> bool:
    """Whether the pre-training of a configuration is finished and its vectors are written."""
    folder = run_folders(config["checkpoint_dir"]).get(run_key(config, config["seed"]))
    return folder is not None and folder.finished and (folder.path / VECTORS).is_dir()


def vectors_of(folder: RunFolder) -> dict[str, Path]:
    """Where the vectors of a pre-training lie, by kind: ``items`` and perhaps ``users``."""
    places = {kind: folder.path / VECTORS / kind for kind in KINDS}
    return {kind: path for kind, path in places.items() if path.is_dir()}


@torch.no_grad()
def write_vectors(session: Any, folder: RunFolder) -> None:
    """Write what the model hands over as stores, all of them or none; each names its training rows and its run."""
    dataset, record = session.train_data._dataset, folder.result().record
    metadata = {
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
                metadata=metadata,
                present=exists,
            )
    os.replace(partial, folder.path / VECTORS)


def of_a_run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run that was begun, without the pre-training whose vectors it has: it is not made again."""
    made = any(settings.get(f"pretrained_{kind}") for kind in KINDS)
    return {**settings, "pretrain": None} if made else dict(settings)


def with_pretrained(config: Config, spec: RunSpec, sessions: Any) -> RunSpec:
    """``spec`` with the vectors that ``config['pretrain']`` asks for, made first where they are not there.

    Raises:
        WrongUse: it names vectors of its own, too.
    """
    first = None if isinstance(config, Filled) else pretraining_of(config)
    if first is None:
        return spec
    progress = bool(config["show_progress"]) and sys.stderr.isatty()
    places = vectors_of(pretrained(first, sessions, progress))
    settings = dict(spec.settings)
    for kind, path in places.items():
        key, place = f"pretrained_{kind}", os.path.relpath(path)
        if settings.get(key, place) != place:
            raise WrongUse(
                f"pretrain makes {key}, which is given, too ({settings[key]}); leave one of them out"
            )
        settings[key] = place
    return replace(spec, settings=settings)


class Filled(Config):
    """The configuration of a run that has the vectors of its pre-training: `with_pretrained` leaves it as it is."""


def filled(config: Config, sessions: Any) -> Config:
    """``config`` for processes that train by it: its pre-training, if it has one, is made here, once (`Filled`).

    Raises:
        WrongUse, Failure: as `with_pretrained`, and as any run.
    """
    asked = config.spec
    spec = with_pretrained(config, asked, sessions)
    return config if spec is asked else Filled.of(spec)
