"""From a record of ranks to metrics, the per-query table and the groups."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from recbole_mm.evaluator import auc
from recbole_mm.evaluator.group import Group
from recbole_mm.evaluator.metrics import PER_QUERY, hit_matrix, item_metric
from recbole_mm.evaluator.record import Record, Wanted
from recbole_mm.evaluator.sampled import ListRanks
from recbole_mm.run.metric import METRICS

Array = np.ndarray


def full_queries(record: Record, wanted: Wanted) -> dict[str, Array]:
    """Each metric of each query [Q], and ``auc`` where it was asked for."""
    assert record.position is not None
    table = _at_k(record.pos_query, record.position, record.queries, record.n_pos, wanted)
    if record.mean_rank is not None and record.candidates is not None:
        table["auc"] = auc.query_auc(record.pos_query, record.mean_rank, record.n_pos, record.candidates)
    return table


def _at_k(query: Array, position: Array, queries: int, n_pos: Array, wanted: Wanted) -> dict[str, Array]:
    """The metrics at k of each query [Q], of positives with these queries and list positions [P]."""
    hits = hit_matrix(query, position, queries, wanted.k)
    return {
        f"{name}@{k}": PER_QUERY[name](hits, n_pos, k) for name in wanted.reading("hits") for k in wanted.topk
    }


def full_metrics(
    record: Record, table: dict[str, Array], wanted: Wanted, count: Array | None, tail_ratio: float | None
) -> OrderedDict[str, float]:
    """The means, in RecBole's order of keys."""
    found: OrderedDict[str, float] = OrderedDict()
    for name in wanted.metrics:
        if METRICS[name].in_groups:
            found.update(_mean(name, table, record.n_pos, wanted.topk))
        elif METRICS[name].reads == "lists" and record.lists is not None and count is not None:
            for k in wanted.topk:
                found[f"{name}@{k}"] = item_metric(name, record.lists, k, count, tail_ratio)
        elif METRICS[name].reads == "scores" and record.pooled is not None:
            found[name] = record.pooled
    return found


def _mean(name: str, table: dict[str, Array], n_pos: Array, topk: list[int]) -> dict[str, float]:
    """A metric of queries over those of ``table``; NaN over none."""
    if METRICS[name].reads == "rank":
        return {name: auc.OVER_QUERIES[name](table["auc"], n_pos)}
    return {
        key: float(table[key].mean()) if len(n_pos) else float("nan") for key in (f"{name}@{k}" for k in topk)
    }


def list_table(ranks: ListRanks, wanted: Wanted) -> dict[str, Array]:
    """Each metric of each sampled list [P], and ``auc`` if any AUC was asked for."""
    table = {f"{name}@{k}": ranks.metric(name, k) for name in wanted.reading("hits") for k in wanted.topk}
    return table | ({"auc": ranks.auc} if wanted.reading("rank") else {})


def list_metrics(table: dict[str, Array], wanted: Wanted) -> OrderedDict[str, float]:
    """Means over lists. A list has one positive, so GAUC and MeanAUC are one number there."""
    one = np.ones(len(next(iter(table.values()), ())))
    grouped = (name for name in wanted.metrics if METRICS[name].in_groups)
    return OrderedDict(item for name in grouped for item in _mean(name, table, one, wanted.topk).items())


def query_table(
    record: Record,
    dataset: Any,
    full: dict[str, Array] | None,
    lists: dict[str, dict[str, Array]],
    keys: dict[str, str],
) -> pd.DataFrame:
    """One row a query. Sampled lists are averaged over the lists of a query. ``keys``: protocol → prefix."""
    data: dict[str, Any] = {"user": dataset.id2token(dataset.uid_field, record.user)}
    if record.domain is not None:
        data["domain"] = np.asarray(dataset.domain_names)[record.domain]
    data["n_positives"] = record.n_pos
    for key, value in (full or {}).items():
        data[keys["full"] + key] = value
    for name, table in lists.items():
        for key, value in table.items():
            data[keys[name] + key] = np.bincount(record.pos_query, value, record.queries) / record.n_pos
    return pd.DataFrame(data)


def group_table(
    record: Record, wanted: Wanted, groups: Iterable[Group], table: dict[str, Array] | None,
    lists: dict[str, dict[str, Array]], keys: dict[str, str],
) -> pd.DataFrame:  # fmt: skip
    """One row a group, with the metrics of the groups' own queries or positives."""
    rows = []
    share = None
    if record.mean_rank is not None and record.candidates is not None:
        ranks = (record.mean_rank, record.pos_score, record.n_pos, record.candidates)
        share = auc.positive_auc(record.pos_query, *ranks)
    for group in groups:
        if group.queries is not None:
            inside, positives = group.queries, group.queries[record.pos_query]
        else:
            assert group.items is not None
            positives = group.items[record.pos_item]
            inside = np.bincount(record.pos_query[positives], minlength=record.queries) > 0
        row: dict[str, Any] = {"group": group.group, "value": group.value}
        row |= {"n_queries": int(inside.sum()), "n_positives": int(positives.sum())}
        if table is not None:
            part = table if group.queries is not None else _restricted(record, wanted, positives, share)
            n_pos = np.bincount(record.pos_query[positives], minlength=record.queries)
            inner = {key: value[inside] for key, value in part.items()}
            for metric in (name for name in wanted.metrics if METRICS[name].in_groups):
                means = _mean(metric, inner, n_pos[inside], wanted.topk)
                row |= {keys["full"] + key: value for key, value in means.items()}
        for name, of_list in lists.items():
            part = {key: value[positives] for key, value in of_list.items()}
            row |= {keys[name] + key: value for key, value in list_metrics(part, wanted).items()}
        rows.append(row)
    return pd.DataFrame(rows)


def _restricted(record: Record, wanted: Wanted, positives: Array, share: Array | None) -> dict[str, Array]:
    """Each metric of each query as if only some of its positives were there."""
    assert record.position is not None
    query = record.pos_query[positives]
    n_pos = np.bincount(query, minlength=record.queries)
    table = _at_k(query, record.position[positives], record.queries, n_pos, wanted)
    if share is not None:
        total = np.bincount(query, share[positives], minlength=record.queries)
        table["auc"] = np.divide(total, n_pos, out=np.full(record.queries, np.nan), where=n_pos > 0)
    return table
