"""Checkpoint files: written whole or not at all, read without running code from them."""

from __future__ import annotations

import errno
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from recbole_mm.errors import WrongUse
from recbole_mm.files import replacing


def write_checkpoint(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Saves plain `state`; a reader sees the old file or the whole new one."""
    with replacing(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch's writer keeps the reason to itself
            if "enforce fail" not in str(error) and "PytorchStreamWriter" not in str(error):
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def read_checkpoint(path: str | os.PathLike[str], mapped: bool = False) -> dict[str, Any]:
    """The state in a checkpoint, on the CPU (an optimiser's step counts must stay there).

    Args:
        path: the file.
        mapped: leave it on disk until it is looked at, so that what it replaces can go first (not on Windows, where a
            file that is mapped cannot be replaced).

    Raises:
        WrongUse: no such file, a damaged one, or one that holds pickled objects (RecBole's own).
    """
    if not Path(path).is_file():
        raise WrongUse(f"checkpoint {path}: no such file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and os.name != "nt")
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, IndexError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        if not isinstance(error, pickle.UnpicklingError) or not zipfile.is_zipfile(path):
            raise WrongUse(
                f"checkpoint {path}: damaged or no checkpoint ({why[:100]}); train it again"
            ) from error
        raise WrongUse(
            f"checkpoint {path}: holds pickled objects (written by RecBole without recbole_mm?), which are not read; "
            "train again under recbole_mm"
        ) from error
    if not isinstance(state, dict) or "state_dict" not in state:
        raise WrongUse(f"checkpoint {path}: holds no model ('state_dict' is missing)")
    return state
