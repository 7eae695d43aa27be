"""scipy 1.13 dropped `dok_matrix._update`, with which RecBole's graph models fill their adjacency matrix."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from recbole_mm.compat.patch import AttributePatch, Patch


def _needed() -> bool:
    from scipy.sparse import dok_matrix

    return not hasattr(dok_matrix, "_update")


def _give_back_update(module: ModuleType) -> None:
    from scipy.sparse import dok_matrix

    def _update(self: Any, data: dict[tuple[int, int], float]) -> None:
        """Sets the entries of `data` {(row, column): value} unchecked, as scipy 1.12 did."""
        self._dict.update(data)

    dok_matrix._update = _update


PATCHES: list[Patch] = [
    AttributePatch(
        "scipy-dok-update",
        "scipy",
        "recbole.model.abstract_recommender",
        "dok_matrix._update left scipy at 1.13; seven graph models call it",
        "model/general_recommender/lightgcn.py:111, ngcf.py:110, gcmc.py:174, ncl.py:131, spectralcf.py:123; "
        "model/knowledge_aware_recommender/kgin.py:356, mcclk.py:425",
        "those models build their matrix without _update",
        needed=_needed,
        apply=_give_back_update,
    )
]
