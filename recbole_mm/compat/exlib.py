"""RecBole imports lightgbm and xgboost together; who has one of them cannot use it without the other."""

from __future__ import annotations

from typing import Any

from recbole_mm.compat.patch import Patch, SourcePatch

_ROOM = "recbole.model.exlib_recommender"
_HOME = {"LightGBM": f"{_ROOM}.lightgbm", "XGBoost": f"{_ROOM}.xgboost"}


def import_asked(name: str) -> Any:
    """The module `__getattr__` of RecBole's package: imports the library of the class that is asked for."""
    from importlib import import_module

    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {_ROOM!r} has no attribute {name!r}")


PATCHES: list[Patch] = [
    SourcePatch(
        "recbole-exlib",
        "recbole",
        _ROOM,
        "XGBoost asks for lightgbm, and so does the search for a model that does not exist",
        "model/exlib_recommender/__init__.py:1, 2",
        "the package imports no library that is not asked for",
        old="from recbole.",
        new="# on demand: from recbole.",
        count=2,
        names={"__getattr__": import_asked},
    )
]
