"""RecBole 1.2.1, unmodified on disk, on the libraries of today.

`install_hook()` (called when `recbole_mm` is imported) imports neither RecBole nor torch. From then on each
module that has a patch is patched when it is first imported. One file per library, `recbole` for slips of its own;
each patch says why, the upstream line, and when to drop it; it is applied only where the installed library needs it.
"""

from __future__ import annotations

import sys

from recbole_mm.compat import (
    exlib,
    features,
    hyperopt,
    numpy,
    pandas,
    ray,
    recbole,
    scipy,
    sklearn,
    thop,
    torch,
    torchvision,
    worker,
)
from recbole_mm.compat.hook import RECBOLE_VERSION, REMEDY, PatchingFinder
from recbole_mm.compat.patch import Patch, SourcePatch
from recbole_mm.compat.threads import wait_briefly, waiting

__all__ = [
    "ALL_PATCHES",
    "RECBOLE_VERSION",
    "REMEDY",
    "SourcePatch",
    "active_patches",
    "install_hook",
    "waiting",
]

ALL_PATCHES: list[Patch] = [
    patch
    for room in (
        numpy,
        pandas,
        recbole,
        exlib,
        features,
        scipy,
        sklearn,
        torch,
        ray,
        worker,
        hyperopt,
        thop,
        torchvision,
    )
    for patch in room.PATCHES
]
_finder = PatchingFinder(ALL_PATCHES)


def install_hook() -> None:
    """Makes the patches take effect and settles how torch's threads wait; a second call does nothing."""
    wait_briefly()
    if _finder in sys.meta_path:
        return
    sys.meta_path.insert(0, _finder)
    _finder.patch_loaded()


def active_patches() -> list[Patch]:
    """The patches applied so far in this process, in the order of their application."""
    return list(_finder.active)
