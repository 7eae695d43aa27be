"""Which metrics a run computes, and on which one it stops early."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from recbole_mm.errors import WrongUse, suggest
from recbole_mm.run.metric import METRICS, SCORES

_MODE = re.compile(r"full|labeled|(?:uni|pop|sampled-)[1-9][0-9]*")


def check_metrics(metrics: Any, evaluator: str) -> list[str]:
    """The names as a list. Raises ``WrongUse`` on an unknown name, or on a mixture that cannot share a run."""
    from recbole.evaluator import metric_types

    names = [metrics] if isinstance(metrics, str) else list(metrics)
    if not names:
        raise WrongUse("metrics: the list is empty")
    ours = {name for name, metric in METRICS.items() if metric.ours}
    known = set(metric_types) | (ours if evaluator == "mm" else set())
    for name in names:
        if not isinstance(name, str) or name.lower() not in known:
            lack = " (ours: needs evaluator: mm)" if str(name).lower() in ours else ""
            labels = [METRICS[each].label if each in METRICS else each for each in known]
            raise WrongUse(f"metrics: no metric '{name}'{lack}{suggest(name, labels, cutoff=0.5)}")
    ranking, value = split_by_type(names)
    if ranking and value and (evaluator != "mm" or not all(_is_pooled(name) for name in value)):
        raise WrongUse(
            f"metrics: {', '.join(value)} (of single scores) and {', '.join(ranking)} (of lists) "
            "cannot share a run"
        )
    return names


def split_by_type(names: list[str]) -> tuple[list[str], list[str]]:
    """(ranking metrics, value metrics)."""
    from recbole.evaluator import metric_types
    from recbole.utils import EvaluatorType

    value = [n for n in names if metric_types.get(n.lower()) == EvaluatorType.VALUE]
    return [n for n in names if n not in value], value


def settle_valid_metric(
    valid_metric: str, metrics: list[str], topk: list[int], given: Collection[str]
) -> tuple[str, list[str], list[int]]:
    """Make the validation metric one of those computed; returns (valid_metric, metrics, topk).

    What was given stands; what came from defaults follows it. Both given and at odds is an error.
    """
    name, at, depth = valid_metric.partition("@")
    if name.lower() not in METRICS:
        whole_keys = [f"{metric.label}{at}{depth}" for metric in METRICS.values()]
        raise WrongUse(f"valid_metric: no metric '{name}'{suggest(valid_metric, whole_keys, cutoff=0.5)}")
    whole = not METRICS[name.lower()].at_k
    if whole == bool(at) or (at and (not depth.isdigit() or int(depth) < 1)):
        form = f"'{name}'" if whole else f"'{name}@{topk[0]}'"
        raise WrongUse(f"valid_metric: '{valid_metric}' should read {form}")
    has_name = name.lower() in {metric.lower() for metric in metrics}
    has_depth = whole or int(depth) in topk
    if "valid_metric" not in given:
        metric = name if has_name else metrics[0]
        if not METRICS[metric.lower()].at_k:
            return metric, metrics, topk
        return f"{metric}@{depth if at and has_depth else topk[0]}", metrics, topk
    if not has_name:
        if "metrics" in given:
            raise WrongUse(
                f"valid_metric '{valid_metric}' is not computed: add {name} to metrics ({', '.join(metrics)})"
            )
        metrics = [*metrics, METRICS[name.lower()].label]
    if not has_depth:
        if "topk" in given:
            raise WrongUse(f"valid_metric '{valid_metric}' is not computed: add {depth} to topk {topk}")
        topk = [*topk, int(depth)]
    return valid_metric, metrics, topk


def check_mode(eval_args: dict[str, Any]) -> None:
    """Raise ``WrongUse`` unless the modes are full, labeled, uniN, popN or (ours) sampled-N."""
    mode = eval_args.get("mode", "full")
    for each in mode.values() if isinstance(mode, dict) else [mode]:
        if not isinstance(each, str) or not _MODE.fullmatch(each):
            raise WrongUse(f"eval_args.mode: expected full, labeled, uniN, popN or sampled-N, got {each!r}")
    if isinstance(mode, dict) and not set(mode) <= {"valid", "test"}:
        raise WrongUse(f"eval_args.mode: expected the keys valid and test, got {', '.join(map(str, mode))}")


def _is_pooled(name: str) -> bool:
    return name.lower() in METRICS and METRICS[name.lower()].reads == SCORES
