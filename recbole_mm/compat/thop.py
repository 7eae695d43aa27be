"""RecBole counts FLOPs before training, for a log line; for some models the count raises and ends the run."""

from __future__ import annotations

import sys
from functools import wraps
from types import ModuleType
from typing import Any

from recbole_mm.compat.patch import AttributePatch, Patch


def _guard(module: ModuleType) -> None:
    count = module.get_flops

    @wraps(count)
    def get_flops(
        model: Any, dataset: Any, device: Any, logger: Any, transform: Any, verbose: bool = False
    ) -> Any:
        try:
            return count(model, dataset, device, logger, transform, verbose)
        # any model's own `predict` runs here, so any error can come; none may end a run
        except Exception as error:
            logger.warning(f"FLOPs not counted ({type(error).__name__}: {error})")
            return "unknown"

    # modules that were imported before the hook hold the function under its name
    for holder in list(sys.modules.values()):
        names = getattr(holder, "__dict__", {})
        if names.get("get_flops") is count:
            names["get_flops"] = get_flops


PATCHES: list[Patch] = [
    AttributePatch(
        "flops-never-stop",
        "thop",
        "recbole.utils.utils",
        "get_flops calls predict, which GRU4RecCPR and SASRecCPR refuse; FLOPs are a log line",
        "utils/utils.py:250",
        "get_flops catches what predict raises",
        apply=_guard,
    )
]
