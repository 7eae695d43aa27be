"""RecBole imports ray at its start and reports to it through a call that ray dropped."""

from __future__ import annotations

import sys
import warnings
from importlib import metadata
from typing import Any

from recbole_mm.compat.patch import Patch, source_patches


def report(**metrics: Any) -> None:
    """Hands `metrics` to the Ray Tune trial this process runs in; outside a trial, does nothing."""
    # the process of a trial has imported ray before it calls us
    if "ray.tune" not in sys.modules:
        return
    from ray import train, tune

    session: Any = tune if hasattr(tune, "get_context") else train  # ray below 2.43
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that we are outside of a trial; that is the question
        trial = session.get_context().get_trial_id()
    if trial is not None:
        session.report(dict(metrics))


def _needed() -> bool:
    try:
        major, minor = metadata.version("ray").split(".")[:2]
    except metadata.PackageNotFoundError:
        return True
    return (int(major), int(minor)) >= (2, 7)


_MODULE = "recbole.quick_start.quick_start"
_IMPORT = "RecBole imports ray at its start, though only a hyper-parameter trial uses it"
_REPORT = "tune.report takes a dict, no longer keywords"
_import = source_patches("ray", _IMPORT, "RecBole imports ray where it is used", _needed)
_report = source_patches("ray", _REPORT, "RecBole calls tune.report(dict)", _needed)
PATCHES: list[Patch] = [
    _import("ray-optional", _MODULE, "20",
            "from ray import tune\n", "tune = None  # recbole_mm: imported where it is used\n"),
    _report("ray-report", _MODULE, "223",
            "tune.report(**test_result)", "_compat_report(**test_result)", _compat_report=report),
]  # fmt: skip
