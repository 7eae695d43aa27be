"""Checkpoint files: their names, written whole or not at all, read without running code from them."""

from __future__ import annotations

import glob
import os
import pickle
import weakref
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import torch

from recbole_mm.errors import WrongUse
from recbole_mm.files import replacing

LAST_SUFFIX = ".last.pth"


def last_of(best_file: str | os.PathLike[str]) -> str:
    """The `last` file that belongs to a best file: ``X.pth`` -> ``X.last.pth``."""
    return str(Path(best_file).with_suffix("")) + LAST_SUFFIX


def best_of(last_file: str | os.PathLike[str]) -> str:
    """The best file that belongs to a `last` file."""
    return str(last_file).removesuffix(LAST_SUFFIX) + ".pth"


def write_checkpoint(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Saves plain `state`; a reader sees the old file or the whole new one."""
    with replacing(path) as temporary:
        torch.save(state, temporary)


def remove_litter(path: str | os.PathLike[str]) -> None:
    """Removes what a killed process left of its writing to `path`."""
    for temporary in Path(path).parent.glob(f".{glob.escape(Path(path).name)}.*.tmp"):
        temporary.unlink(missing_ok=True)


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The state in a checkpoint, on the CPU (an optimiser's step counts must stay there).

    Raises:
        WrongUse: no such file, a damaged one, or one that holds pickled objects (RecBole's own).
    """
    if not Path(path).is_file():
        raise WrongUse(f"checkpoint {path}: no such file{_nearby(Path(path))}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WrongUse(
            f"checkpoint {path}: holds pickled objects (written by RecBole without recbole_mm?), which are not read; "
            "train again under recbole_mm"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise WrongUse(
            f"checkpoint {path}: damaged or no checkpoint ({str(error).splitlines()[0]})"
        ) from error
    if not isinstance(state, dict) or "state_dict" not in state:
        raise WrongUse(f"checkpoint {path}: holds no model ('state_dict' is missing)")
    return state


def reserve_name(best_file: str | os.PathLike[str], owner: object) -> tuple[str, Callable[[], object]]:
    """`best_file`, or with ``-2``, ``-3``… when another run of the same second has that name.

    RecBole's names have a resolution of one second. The name is claimed by a hidden file that is created
    exclusively, so that two processes cannot both get it.

    Returns:
        The name, and a function that gives the claim up: call it once a file of that name exists. It also
        happens when `owner` or the process ends.
    """
    wanted = Path(best_file)
    for number in count(1):
        name = wanted if number == 1 else wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
        claim = name.with_name(f".{name.name}.claim")
        try:
            os.close(os.open(claim, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        if not name.exists() and not Path(last_of(name)).exists():
            return str(name), weakref.finalize(owner, claim.unlink, missing_ok=True)
        claim.unlink()
    raise AssertionError("unreachable: count() does not end")


def _nearby(path: Path) -> str:
    """A hint at the newest `last` file of the same folder."""
    files = sorted(path.parent.glob(f"*{LAST_SUFFIX}"), key=lambda file: file.stat().st_mtime)
    return f"; the newest there is {files[-1]}" if files else ""
