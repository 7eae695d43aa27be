"""The one table of metrics: what each reads, in which direction it is better, in what range it lies."""

from __future__ import annotations

import re
from dataclasses import dataclass

# what a metric is made of
HITS = "the hits of each query, down to K"
QUERY_AUC = "the rank of each positive among the candidates of its query"
LISTS = "the recommended items of all queries, down to K"
SCORES = "all scores together"
LABELS = "scores against labels"


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        label: its name as RecBole spells it.
        reads: what it is made of: ``HITS``, ``QUERY_AUC``, ``LISTS``, ``SCORES`` or ``LABELS``.
        smaller_is_better: its direction.
        high: the largest value; None: none. The smallest is 0.
        ours: RecBole has no such metric.
    """

    label: str
    reads: str
    smaller_is_better: bool = False
    high: float | None = 1.0
    ours: bool = False

    @property
    def at_k(self) -> bool:
        """Whether it is asked for at a list length."""
        return self.reads in (HITS, LISTS)

    @property
    def by_query(self) -> bool:
        """Whether each query has a value, so that it can be grouped and paired."""
        return self.reads in (HITS, QUERY_AUC)


#: by lower-case name
METRICS: dict[str, Metric] = {
    metric.label.lower(): metric
    for metric in (
        Metric("NDCG", HITS),
        Metric("Recall", HITS),
        Metric("Precision", HITS),
        Metric("F1", HITS, ours=True),
        Metric("Hit", HITS),
        Metric("MRR", HITS),
        Metric("MAP", HITS),
        Metric("GAUC", QUERY_AUC),
        Metric("MeanAUC", QUERY_AUC, ours=True),
        Metric("ItemCoverage", LISTS),
        Metric("AveragePopularity", LISTS, smaller_is_better=True, high=None),
        Metric("GiniIndex", LISTS, smaller_is_better=True),
        Metric("ShannonEntropy", LISTS, high=None),
        Metric("TailPercentage", LISTS),
        Metric("AUC", SCORES),
        Metric("LogLoss", LABELS, smaller_is_better=True, high=None),
        Metric("MAE", LABELS, smaller_is_better=True, high=None),
        Metric("RMSE", LABELS, smaller_is_better=True, high=None),
    )
}

_COLUMN = re.compile(r"(?:(?P<protocol>[^/]+)/)?(?P<name>[a-z0-9]+)(?:@(?P<k>[1-9][0-9]*))?")


@dataclass(frozen=True)
class Column:
    """A key of a result, ``[protocol/]name[@k]``, in lower case."""

    name: str
    k: int | None = None
    protocol: str | None = None

    @classmethod
    def parse(cls, text: str) -> Column | None:
        """The column; None where ``text`` is no such key."""
        match = _COLUMN.fullmatch(text.lower())
        return match and cls(match["name"], int(match["k"]) if match["k"] else None, match["protocol"])


def names_that_read(*what: str) -> tuple[str, ...]:
    """Names of the metrics that are made of this."""
    return tuple(name for name, metric in METRICS.items() if metric.reads in what)


def smaller_is_better(column: str) -> bool:
    """Whether a smaller value of this key of a result is the better one; False of a metric that is not in the table."""
    found = Column.parse(column)
    return found is not None and found.name in METRICS and METRICS[found.name].smaller_is_better
