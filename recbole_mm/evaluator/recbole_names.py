"""F1 and MeanAUC as RecBole metric classes, in RecBole's own registries, so that its Config accepts their names.

A name must be registered before the Config that mentions it is made: importing ``recbole_mm.evaluator`` does it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from recbole.evaluator import register as registry
from recbole.evaluator.base_metric import AbstractMetric, TopkMetric
from recbole.utils import EvaluatorType

from recbole_mm.evaluator.auc import mean_auc, query_auc
from recbole_mm.evaluator.metrics import f1


class F1(TopkMetric):
    """F1@K: mean over users of 2 · P@K · R@K / (P@K + R@K), 0 without a hit."""

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """``{"f1@K": value}`` for every K asked for."""
        hits, n_pos = self.used_info(dataobject)
        values = {k: float(f1(hits, n_pos, k).mean()) for k in self.topk}
        return {f"f1@{k}": round(value, self.decimal_place) for k, value in values.items()}


class MeanAUC(AbstractMetric):
    """Unweighted mean over users of their AUC (RecBole's GAUC weights by positives)."""

    metric_type = EvaluatorType.RANKING
    metric_need = ["rec.meanrank"]  # noqa: RUF012 (RecBole reads it from the class)

    def calculate_metric(self, dataobject: Any) -> dict[str, float]:
        """``{"meanauc": value}``."""
        rank_sum, candidates, n_pos = dataobject.get("rec.meanrank").numpy().astype(float).T
        auc = query_auc(np.arange(len(n_pos)), rank_sum, n_pos, candidates)
        return {"meanauc": round(mean_auc(auc), self.decimal_place)}


def register_metrics() -> None:
    """Enter F1 and MeanAUC; doing so again changes nothing."""
    for metric in (F1, MeanAUC):
        name = metric.__name__.lower()
        registry.metrics_dict[name] = metric
        registry.metric_types[name] = metric.metric_type
        registry.metric_information[name] = metric.metric_need
