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
from recbole_mm.evaluator.protocol import Protocol
from recbole_mm.evaluator.record import Record, Wanted
from recbole_mm.evaluator.sampled import ListRanks
from recbole_mm.run.metric import LISTS, QUERY_AUC, names_that_read

Array = np.ndarray


def full_queries(record: Record, wanted: Wanted) -> dict[str, Array]:
    """Each metric of each query [Q], and ``auc`` where it was asked for."""
    assert record.position is not None
    hits = hit_matrix(record.pos_query, record.position, record.queries, wanted.k)
    table = {
        f"{name}@{k}": PER_QUERY[name](hits, record.n_pos, k)
        for name in wanted.metrics
        if name in PER_QUERY
        for k in wanted.topk
    }
    if record.mean_rank is not None and record.candidates is not None:
        table["auc"] = auc.query_auc(record.pos_query, record.mean_rank, record.n_pos, record.candidates)
    return table


def full_metrics(
    record: Record, table: dict[str, Array], wanted: Wanted, count: Array | None, tail_ratio: float | None
) -> OrderedDict[str, float]:
    """The means, in RecBole's order of keys."""
    found: OrderedDict[str, float] = OrderedDict()
    for name in wanted.metrics:
        if name == "gauc":
            found[name] = auc.gauc(table["auc"], record.n_pos)
        elif name == "meanauc":
            found[name] = auc.mean_auc(table["auc"])
        elif name == "auc" and record.pooled is not None:
            found[name] = record.pooled
        elif name in names_that_read(LISTS) and record.lists is not None and count is not None:
            for k in wanted.topk:
                found[f"{name}@{k}"] = item_metric(name, record.lists, k, count, tail_ratio)
        elif name in PER_QUERY:
            found.update((f"{name}@{k}", float(table[f"{name}@{k}"].mean())) for k in wanted.topk)
    return found


def list_table(ranks: ListRanks, wanted: Wanted) -> dict[str, Array]:
    """Each metric of each sampled list [P], and ``auc`` if any AUC was asked for."""
    table = {
        f"{name}@{k}": ranks.metric(name, k)
        for name in wanted.metrics
        if name in PER_QUERY
        for k in wanted.topk
    }
    if {*names_that_read(QUERY_AUC)} & {*wanted.metrics}:
        table["auc"] = ranks.auc
    return table


def list_metrics(table: dict[str, Array], wanted: Wanted) -> OrderedDict[str, float]:
    """Means over lists. A list has one positive, so GAUC and MeanAUC are one number there."""
    found: OrderedDict[str, float] = OrderedDict()
    for name in wanted.metrics:
        if name in names_that_read(QUERY_AUC):
            found[name] = auc.mean_auc(table["auc"])
        found.update(
            (key, float(table[key].mean())) for key in table if key.split("@")[0] == name and "@" in key
        )
    return found


def prefix(protocol: Protocol, primary: Protocol) -> str:
    """What stands before the keys of a protocol that is not the primary one: ``sampled-9/``."""
    return "" if protocol == primary else f"{protocol.name}/"


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
    share = _positive_auc(record)
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
            row |= {keys["full"] + k: v for k, v in _means(part, wanted, inside, n_pos).items()}
        for name, of_list in lists.items():
            part = {key: value[positives] for key, value in of_list.items()}
            means = (
                list_metrics(part, wanted)
                if positives.any()
                else dict.fromkeys(list_metrics(of_list, wanted))
            )
            row |= {keys[name] + key: value for key, value in means.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def _positive_auc(record: Record) -> Array | None:
    if record.mean_rank is None or record.candidates is None:
        return None
    return auc.positive_auc(
        record.pos_query, record.mean_rank, record.pos_score, record.n_pos, record.candidates
    )


def _restricted(record: Record, wanted: Wanted, positives: Array, share: Array | None) -> dict[str, Array]:
    """Each metric of each query as if only some of its positives were there."""
    assert record.position is not None
    query = record.pos_query[positives]
    n_pos = np.bincount(query, minlength=record.queries)
    hits = hit_matrix(query, record.position[positives], record.queries, wanted.k)
    table = {
        f"{name}@{k}": PER_QUERY[name](hits, n_pos, k)
        for name in wanted.metrics
        if name in PER_QUERY
        for k in wanted.topk
    }
    if share is not None:
        total = np.bincount(query, share[positives], minlength=record.queries)
        table["auc"] = np.divide(total, n_pos, out=np.full(record.queries, np.nan), where=n_pos > 0)
    return table


def _means(table: dict[str, Array], wanted: Wanted, inside: Array, n_pos: Array) -> OrderedDict[str, float]:
    found: OrderedDict[str, float] = OrderedDict()
    some = bool(inside.any())
    for name in wanted.metrics:
        if name == "gauc":
            found[name] = auc.gauc(table["auc"][inside], n_pos[inside])
        elif name == "meanauc":
            found[name] = auc.mean_auc(table["auc"][inside])
        elif name in PER_QUERY:
            for k in wanted.topk:
                found[f"{name}@{k}"] = float(table[f"{name}@{k}"][inside].mean()) if some else float("nan")
    return found
