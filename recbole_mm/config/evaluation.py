"""Which metrics a run computes, on which one it stops early, and in which mode it evaluates."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any

from recbole_mm.errors import WrongUse, suggest
from recbole_mm.run.metric import METRICS, OWN, Metric

_MODE = re.compile(r"full|labeled|(?:uni|pop)[1-9][0-9]*")


def find_metric(name: Any, key: str = "metrics", at: str = "") -> Metric:
    """The metric of our table, or one that a person entered in RecBole's registry.

    Raises ``WrongUse``, which names ``key`` and proposes the nearest, with ``at`` (an ``@k``) behind it.
    """
    from recbole.evaluator.register import metric_information, metric_types, metrics_dict, smaller_metrics
    from recbole.utils import EvaluatorType

    lower = str(name).lower()
    if lower in METRICS:
        return METRICS[lower]
    if lower in metric_types:
        at_k = {"rec.topk", "rec.items"}.intersection(metric_information[lower])
        kinds: Any = (
            ("labels",) if metric_types[lower] == EvaluatorType.VALUE else ("collected", "collected@k")
        )
        own = metrics_dict[lower]
        smaller = lower in smaller_metrics or bool(getattr(own, "smaller", False))
        OWN[lower] = Metric(own.__name__, kinds[-1 if at_k else 0], math.inf, smaller_is_better=smaller)
        return OWN[lower]
    names = [metric.label + at * metric.at_k for metric in METRICS.values()]
    raise WrongUse(f"{key}: no metric '{name}'{suggest(f'{name}{at}', names, cutoff=0.5, listed=False)}")


def check_metrics(metrics: Any, evaluator: str) -> tuple[list[str], list[str], list[str]]:
    """(the names, those of rankings, those of single scores).

    Raises ``WrongUse`` on an unknown name, or on a mixture that cannot share a run.
    """
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    if not names:
        raise WrongUse("metrics: the list is empty")
    ranking, value = split_by_type(names)
    if ranking and value and (evaluator != "mm" or any(find_metric(v).reads == "labels" for v in value)):
        raise WrongUse(
            f"metrics: {', '.join(value)} (of single scores) and {', '.join(ranking)} (of lists) "
            "cannot share a run"
        )
    return names, ranking, value


def split_by_type(names: list[str]) -> tuple[list[str], list[str]]:
    """(metrics of rankings, metrics of single scores). Raises ``WrongUse`` on an unknown name."""
    ranking = [name for name in names if find_metric(name).ranks]
    return ranking, [name for name in names if name not in ranking]


def settle_valid_metric(
    valid_metric: str, metrics: list[str], topk: list[int], given: Collection[str]
) -> tuple[str, list[str], list[int]]:
    """Make the validation metric one of those computed; returns (valid_metric, metrics, topk).

    What was given stands; what came from defaults follows it. Both given and at odds is an error.
    """
    name, at, depth = valid_metric.partition("@")
    metric = find_metric(name, "valid_metric", at + depth)
    if metric.at_k != bool(at) or (at and (not depth.isdigit() or int(depth) < 1)):
        form = f"'{name}@{topk[0]}'" if metric.at_k else f"'{name}'"
        raise WrongUse(f"valid_metric: '{valid_metric}' should read {form}")
    has_name = metric.name in {each.lower() for each in metrics}
    has_depth = not metric.at_k or int(depth) in topk
    if "valid_metric" not in given:
        chosen = name if has_name else metrics[0]
        if not find_metric(chosen).at_k:
            return chosen, metrics, topk
        return f"{chosen}@{depth if at and has_depth else topk[0]}", metrics, topk
    if not has_name:
        if "metrics" in given:
            raise WrongUse(
                f"valid_metric '{valid_metric}' is not computed: add {name} to metrics ({', '.join(metrics)})"
            )
        kinds = {find_metric(each).reads for each in [*metrics, name]}
        # RecBole's metrics of values have no lists of items
        if "labels" in kinds and kinds - {"labels", "scores"}:
            raise WrongUse(
                f"valid_metric '{valid_metric}' does not go with {', '.join(metrics)}: one is of rankings, the other "
                "of labels; give metrics too"
            )
        metrics = [*metrics, metric.label]
    if not has_depth:
        if "topk" in given:
            raise WrongUse(f"valid_metric '{valid_metric}' is not computed: add {depth} to topk {topk}")
        topk = [*topk, int(depth)]
    return valid_metric, metrics, topk


def check_eval_args(args: Any, source: str, defaults: Any, ranks: str | None) -> None:
    """Fill in the mode of ``defaults`` and check it; ``ranks``: the model, where its metrics are of rankings."""
    if not isinstance(args, dict):
        raise WrongUse(f"eval_args: expected dict, got {args!r} ({source})")
    if not ranks and "mode" not in args:
        # RecBole would fill in `full`, which single scores cannot take
        args["mode"] = (defaults or {}).get("mode", "labeled")
    check_mode(args)
    if ranks and args.get("mode") == "labeled":
        raise WrongUse(
            f"{ranks}: ranking metrics need lists of items, and eval_args.mode is 'labeled'; "
            "set it to full or uniN, or use AUC and LogLoss"
        )


def check_mode(eval_args: dict[str, Any]) -> None:
    """Raise ``WrongUse`` unless the modes are full, labeled, uniN or popN; sampled-N is a protocol."""
    mode = eval_args.get("mode", "full")
    for each in mode.values() if isinstance(mode, dict) else [mode]:
        if str(each).startswith("sampled-"):
            raise WrongUse(f"eval_args.mode: {each} is a protocol; set mode: full and protocol: {each}")
        if not isinstance(each, str) or not _MODE.fullmatch(each):
            raise WrongUse(f"eval_args.mode: expected full, labeled, uniN or popN, got {each!r}")
    if isinstance(mode, dict) and not set(mode) <= {"valid", "test"}:
        raise WrongUse(f"eval_args.mode: expected the keys valid and test, got {', '.join(map(str, mode))}")
