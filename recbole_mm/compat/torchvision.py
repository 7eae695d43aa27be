"""torchvision beside a torch of another build finds no compiled operators."""

from __future__ import annotations

from recbole_mm.compat.patch import Patch

PATCHES: list[Patch] = []
