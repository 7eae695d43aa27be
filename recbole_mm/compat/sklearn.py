"""RecBole imports scikit-learn, and scipy.stats with it, for three metrics and two models that few runs ask for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from recbole_mm.compat.patch import Patch, source_patches

_MODELS = "recbole.model.general_recommender"


def _on_demand(module: str, name: str) -> Any:
    def call(*arguments: Any, **named: Any) -> Any:
        return getattr(import_module(f"sklearn.{module}"), name)(*arguments, **named)

    return call


def _convergence_warning() -> Any:
    return import_module("sklearn.exceptions").ConvergenceWarning


_lazy = source_patches(
    "recbole",
    "two of the five seconds that RecBole takes to import are scikit-learn's, whatever is run",
    "RecBole imports scikit-learn where it calls it",
)
_FROM, _LATER = "from sklearn", "# on demand: from sklearn"

PATCHES: list[Patch] = [
    _lazy(
        "sklearn-metrics", "recbole.evaluator.metrics", "29, 30", _FROM, _LATER, 2,
        sk_auc=_on_demand("metrics", "auc"),
        mean_absolute_error=_on_demand("metrics", "mean_absolute_error"),
        mean_squared_error=_on_demand("metrics", "mean_squared_error"),
    ),
    _lazy(
        "sklearn-slimelastic", f"{_MODELS}.slimelastic", "16, 17", _FROM, _LATER, 2,
        ElasticNet=_on_demand("linear_model", "ElasticNet"),
    ),
    _lazy(
        "sklearn-slimelastic-warning", f"{_MODELS}.slimelastic", "64",
        "category=ConvergenceWarning", "category=_convergence_warning()",
        _convergence_warning=_convergence_warning,
    ),
    _lazy(
        "sklearn-nceplrec", f"{_MODELS}.nceplrec", "19", _FROM, _LATER,
        randomized_svd=_on_demand("utils.extmath", "randomized_svd"),
    ),
]  # fmt: skip
