"""Evaluation: one pass, every metric, by query; RecBole's values."""

from __future__ import annotations

from recbole_mm.evaluator.evaluator import Evaluator
from recbole_mm.evaluator.recbole_names import register_metrics
from recbole_mm.evaluator.result import EvalResult

register_metrics()

__all__ = ["EvalResult", "Evaluator", "register_metrics"]
