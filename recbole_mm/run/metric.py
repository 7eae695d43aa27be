"""The one table of metrics, and the columns that they fill: ``[protocol/]metric[@k]``."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from recbole_mm.errors import WrongUse
from recbole_mm.run.key import KEYS


@dataclass(frozen=True)
class Metric:
    """One metric; its values lie between 0 and ``high``.

    label  as RecBole spells it; ``name``, its lower case, stands in results
    reads  what it is made of:
           ``hits``    which places of a query's list hold a positive; has an ``@k``
           ``lists``   what all lists together show; has an ``@k``
           ``rank``    the AUC of each query
           ``scores``  the scores of all queries pooled
           ``labels``  single scores and their labels
           ``collected``, ``collected@k``  what RecBole's collector gathers for one of a person's own
    ours   RecBole does not have it
    """

    label: str
    reads: Literal["hits", "lists", "rank", "scores", "labels", "collected", "collected@k"]
    high: float = 1.0
    smaller_is_better: bool = False
    ours: bool = False

    @property
    def name(self) -> str:
        """The name in results."""
        return self.label.lower()

    @property
    def at_k(self) -> bool:
        """Whether it is given at list lengths."""
        return self.reads in ("hits", "lists", "collected@k")

    @property
    def ranks(self) -> bool:
        """Whether it is of rankings, which RecBole does not compute beside metrics of single scores."""
        return self.reads not in ("scores", "labels")

    @property
    def in_groups(self) -> bool:
        """Whether tables of groups have it: it is a mean over queries."""
        return self.reads in ("hits", "rank")


METRICS = {
    metric.name: metric
    for metric in (
        Metric("NDCG", "hits"),
        Metric("Recall", "hits"),
        Metric("Precision", "hits"),
        Metric("F1", "hits", ours=True),
        Metric("Hit", "hits"),
        Metric("MRR", "hits"),
        Metric("MAP", "hits"),
        Metric("GAUC", "rank"),
        Metric("MeanAUC", "rank", ours=True),
        Metric("AUC", "scores"),
        Metric("ItemCoverage", "lists"),
        Metric("AveragePopularity", "lists", math.inf, smaller_is_better=True),
        Metric("GiniIndex", "lists", smaller_is_better=True),
        Metric("ShannonEntropy", "lists", math.inf),
        Metric("TailPercentage", "lists"),
        Metric("LogLoss", "labels", math.inf, smaller_is_better=True),
        Metric("MAE", "labels", math.inf, smaller_is_better=True),
        Metric("RMSE", "labels", math.inf, smaller_is_better=True),
    )
}

#: metrics that a configuration found in RecBole's registry, where people enter their own
OWN: dict[str, Metric] = {}

_FORM = re.compile(r"(?:(?P<protocol>[^/]+)/)?(?P<name>[a-z0-9_]+)(?:@(?P<k>[1-9][0-9]*))?")


@dataclass(frozen=True)
class Column:
    """One column of a table of results; ``protocol`` is None for the primary one."""

    name: str
    k: int | None = None
    protocol: str | None = None

    @classmethod
    def read(cls, text: str, key: str = "--metrics") -> Column:
        """The column that ``text`` names, in capitals or not; ``key`` says in a message where it was given.

        Raises ``WrongUse`` on one that no result could have. A name that the table does not know passes: RecBole's
        registry may have it.
        """
        match = _FORM.fullmatch(text.lower())
        if match is None:
            raise WrongUse(f"{key}: '{text}' should read ndcg@10, gauc or sampled-9/ndcg@10")
        problem = KEYS["protocol"].problem(match["protocol"])
        if problem:
            raise WrongUse(f"{key}: '{text}': {problem}")
        metric = METRICS.get(match["name"])
        if metric and metric.at_k != bool(match["k"]):
            raise WrongUse(f"{key}: '{text}' should read '{metric.name}{'@10' if metric.at_k else ''}'")
        return cls(match["name"], int(match["k"]) if match["k"] else None, match["protocol"])

    def __str__(self) -> str:
        at = "" if self.k is None else f"@{self.k}"
        return f"{self.protocol}/{self.name}{at}" if self.protocol else f"{self.name}{at}"


def metric_of(column: str) -> Metric | None:
    """The metric of a result's key; None where no configuration here has found one of that name."""
    name = column.rpartition("/")[2].partition("@")[0].lower()
    return METRICS.get(name) or OWN.get(name)


def smaller_is_better(column: str) -> bool:
    """Whether the smaller of two values of a result's key is the better one."""
    metric = metric_of(column)
    return metric is not None and metric.smaller_is_better


def check_columns(columns: Sequence[str]) -> list[str]:
    """The columns as the keys of results. Raises ``WrongUse`` where there is none, or on one that no result has."""
    if not columns:
        raise WrongUse("--metrics: name at least one, such as ndcg@10")
    return [str(Column.read(column)) for column in columns]


def evaluation_of(columns: Sequence[str], common: dict[str, Any]) -> dict[str, Any]:
    """``metrics``, ``topk`` and ``protocol`` that give the columns, the validation metric and what ``common`` asks."""
    metrics, topk = _listed(common.get("metrics")), [int(k) for k in _listed(common.get("topk"))]
    protocols = _listed(common.get("protocol")) or ["recbole"]
    asked = [*columns, *_listed(common.get("valid_metric"))]
    for column in (Column.read(str(each), "valid_metric") for each in asked):
        if column.name not in [str(metric).lower() for metric in metrics]:
            metrics.append(column.name)
        if column.k is not None and column.k not in topk:
            topk.append(column.k)
        if column.protocol and column.protocol not in protocols:
            protocols.append(column.protocol)
    found = {"metrics": metrics, "protocol": protocols if len(protocols) > 1 else protocols[0]}
    return found | ({"topk": sorted(topk)} if topk else {})


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
