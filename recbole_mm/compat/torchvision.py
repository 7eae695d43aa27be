"""torchvision beside a torch of another build (the CPU one) has no compiled operators: its import fails."""

from __future__ import annotations

import sys
from types import ModuleType

from recbole_mm.compat.patch import AttributePatch, Patch

SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _undeclared() -> list[str]:
    """The operators torchvision gives a shape rule to without asking whether they exist."""
    import torch

    return [name for name in ("nms", "qnms") if not hasattr(torch.ops.torchvision, name)]


def _needed() -> bool:
    extension = sys.modules["torchvision.extension"]
    return not extension._has_ops() and bool(_undeclared())


def _declare(module: ModuleType) -> None:
    import torch

    for name in _undeclared():
        torch.library.define(f"torchvision::{name}", SIGNATURE)


PATCHES: list[Patch] = [
    AttributePatch(
        "torchvision-nms",
        "torchvision",
        "torchvision.extension",
        "without compiled operators `import torchvision` ends in 'operator torchvision::nms does not exist'; "
        "the two operators are declared, so that models and transforms work (calling nms still fails)",
        "torchvision/_meta_registrations.py:163, 177",
        "torchvision asks _has_ops() before register_fake, or both come from the same build",
        needed=_needed,
        apply=_declare,
    )
]
