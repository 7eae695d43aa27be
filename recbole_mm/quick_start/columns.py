"""Columns of a table, ``[protocol/]metric[@k]``, and the evaluation settings that fill them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from recbole_mm.errors import WrongUse
from recbole_mm.evaluator.protocol import parse

# metrics of a whole list, without @k
_WHOLE = frozenset(["auc", "gauc", "meanauc", "logloss", "mae", "rmse"])
_FORM = re.compile(r"(?:(?P<protocol>[^/]+)/)?(?P<name>[a-z0-9]+)(?:@(?P<k>[1-9][0-9]*))?")


def check_columns(columns: Sequence[str]) -> list[str]:
    """The columns in lower case. Raises ``WrongUse`` on one that no result could have.

    Whether the metric exists is the configuration's to say.
    """
    if not columns:
        raise WrongUse("--metrics: name at least one, such as ndcg@10")
    for column in columns:
        match = _FORM.fullmatch(column.lower())
        if match is None:
            raise WrongUse(f"--metrics: '{column}' should read ndcg@10, gauc or sampled-9/ndcg@10")
        if match["protocol"]:
            parse(match["protocol"])
        whole = match["name"] in _WHOLE
        if whole == bool(match["k"]):
            raise WrongUse(f"--metrics: '{column}' should read '{match['name']}{'' if whole else '@10'}'")
    return [column.lower() for column in columns]


def evaluation_of(columns: Sequence[str], common: dict[str, Any]) -> dict[str, Any]:
    """``metrics``, ``topk`` and ``protocol`` that give the columns, the validation metric and what ``common`` asks."""
    metrics, topk = _listed(common.get("metrics")), [int(k) for k in _listed(common.get("topk"))]
    protocols = _listed(common.get("protocol")) or ["recbole"]
    for column in [*columns, str(common.get("valid_metric", "")).lower()]:
        match = _FORM.fullmatch(column)
        if match is None:
            continue
        if match["name"] not in [str(metric).lower() for metric in metrics]:
            metrics.append(match["name"])
        if match["k"] and int(match["k"]) not in topk:
            topk.append(int(match["k"]))
        if match["protocol"] and match["protocol"] not in protocols:
            protocols.append(match["protocol"])
    found = {"metrics": metrics, "protocol": protocols if len(protocols) > 1 else protocols[0]}
    return found | ({"topk": sorted(topk)} if topk else {})


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
