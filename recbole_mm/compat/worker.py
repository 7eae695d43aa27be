"""RecBole's functions that run in other processes.

A process of Ray or of torch.multiprocessing gets a function by its name and imports the module in that name.
Under these names it imports recbole_mm, hence the patches, before RecBole.
"""

from __future__ import annotations

from functools import wraps
from types import ModuleType
from typing import Any

from recbole_mm.compat.patch import AttributePatch, Patch

_KEPT = "_compat_own_"


def objective_function(*args: Any, **kwargs: Any) -> Any:
    """RecBole's `objective_function(config_dict=None, config_file_list=None, saved=True)`."""
    return _own("objective_function")(*args, **kwargs)


def run_recboles(rank: int, *args: Any) -> Any:
    """RecBole's `run_recboles(rank, *args)`, the body of each process of a distributed run."""
    return _own("run_recboles")(rank, *args)


def _own(name: str) -> Any:
    from recbole.quick_start import quick_start

    return vars(quick_start)[_KEPT + name]


def _replace(module: ModuleType) -> None:
    for ours in (objective_function, run_recboles):
        name = ours.__name__
        own = vars(module)[name]
        vars(module)[_KEPT + name] = own
        vars(module)[name] = wraps(own, assigned=("__doc__",), updated=())(ours)


PATCHES: list[Patch] = [
    AttributePatch(
        "ray-worker",
        "ray",
        "recbole.quick_start.quick_start",
        "processes of Ray Tune and of a distributed run import RecBole by themselves, without these patches",
        "quick_start/quick_start.py:182, 196",
        "no other patch is left",
        apply=_replace,
    )
]
