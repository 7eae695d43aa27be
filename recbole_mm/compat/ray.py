"""RecBole imports ray at its start and reports to it through a call that ray dropped."""

from __future__ import annotations

import sys
import warnings
from importlib import metadata
from typing import Any

from recbole_mm.compat.patch import Patch, SourcePatch


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
PATCHES: list[Patch] = [
    SourcePatch(
        "ray-optional",
        "ray",
        _MODULE,
        "RecBole imports ray at its start, though only a hyper-parameter trial uses it",
        "quick_start/quick_start.py:20",
        "RecBole imports ray where it is used",
        needed=_needed,
        old="from ray import tune\n",
        new="tune = None  # recbole_mm: imported where it is used\n",
    ),
    SourcePatch(
        "ray-report",
        "ray",
        _MODULE,
        "tune.report takes a dict, no longer keywords",
        "quick_start/quick_start.py:223",
        "RecBole calls tune.report(dict)",
        needed=_needed,
        old="tune.report(**test_result)",
        new="_compat_report(**test_result)",
        names={"_compat_report": report},
    ),
]
