"""Values that were given, against the type of the default they replace and against what the key can mean."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Any

# keys that take more than the type of their default
_TAKES: dict[str, tuple[type, ...]] = {
    "topk": (int, list),
    "metrics": (str, list),
    "protocol": (str, list),
    "gpu_id": (str, int, tuple, list),
    "additional_feat_suffix": (str, list),
    "benchmark_filename": (list,),
    "clip_grad_norm": (dict,),
    "dataset": (str, int),
}
_POSITIVE = (lambda value: value > 0, "> 0")
_COUNT = (lambda value: value >= 1, ">= 1")
_NOT_NEGATIVE = (lambda value: value >= 0, ">= 0")
_SHARE = (lambda value: 0 <= value <= 1, "between 0 and 1")
_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "epochs": _NOT_NEGATIVE,
    "train_batch_size": _COUNT,
    "eval_batch_size": _COUNT,
    "eval_step": _NOT_NEGATIVE,
    "stopping_step": _NOT_NEGATIVE,
    "learning_rate": _POSITIVE,
    "weight_decay": _NOT_NEGATIVE,
    "embedding_size": _COUNT,
    "worker": _NOT_NEGATIVE,
    "seed": _NOT_NEGATIVE,
    "split_seed": _NOT_NEGATIVE,
    "min_coverage": _SHARE,
    "MAX_ITEM_LIST_LENGTH": _COUNT,
    "metric_decimal_place": _NOT_NEGATIVE,
    "topk": (lambda value: all(_is_int(k) and k > 0 for k in _as_list(value)), "made of positive integers"),
}
_PARTS: dict[str, dict[str, tuple[type, ...]]] = {
    "eval_args": {"split": (dict,), "group_by": (str,), "order": (str,), "mode": (str, dict)},
    "train_neg_sample_args": {
        "distribution": (str,),
        "sample_num": (int,),
        "alpha": (int, float),
        "dynamic": (bool,),
        "candidate_num": (int,),
    },
}
_CHOICES: dict[str, tuple[str, ...]] = {"evaluator": ("mm", "recbole"), "eval_candidates": ("domain", "all")}


def check_values(
    given: dict[str, Any],
    defaults: Mapping[str, Any],
    sources: Mapping[str, str],
    texts: Mapping[str, str],
    whole_keys: Collection[str],
) -> list[str]:
    """Replace the values of ``given`` by those the code wants; return the problems, with key and source."""
    problems = []
    for key, value in given.items():
        given[key], problem = checked(
            key, value, defaults.get(key), text=texts.get(key), whole=key in whole_keys
        )
        if problem:
            problems.append(f"{key}: {problem} ({sources.get(key, 'config_dict')})")
    return problems


def checked(key: str, value: Any, default: Any, *, text: str | None, whole: bool) -> tuple[Any, str | None]:
    """Return (value as the code wants it, problem or None).

    Args:
        key: the key.
        value: what was given.
        default: what it replaces; None says nothing about the type.
        text: the words of the command line, which are the value of a key whose default is text.
        whole: the default's int must stay whole (RecBole writes some float defaults of models as ``2``).
    """
    kinds = _kinds(key, default, whole)
    if text is not None and kinds and kinds[0] is str and value is not None and not isinstance(value, kinds):
        value = text
    if key == "dataset":
        value = str(value)
    if isinstance(value, tuple) and list in kinds and tuple not in kinds:
        value = list(value)
    if _is_whole_float(value) and int in kinds and float not in kinds:
        value = int(value)
    problem = _type_problem(value, default, kinds) or _choice_problem(key, value) or _part_problem(key, value)
    if problem is None and key in _RANGES and value is not None:
        test, words = _RANGES[key]
        if not test(value):
            problem = f"expected a value {words}, got {value!r}"
    return value, problem


def _kinds(key: str, default: Any, whole: bool) -> tuple[type, ...]:
    if key in _TAKES:
        return _TAKES[key]
    if default is None:
        return ()
    if isinstance(default, bool):
        return (bool,)
    if isinstance(default, int):
        return (int,) if whole else (int, float)
    if isinstance(default, float):
        return (float, int)
    for kind in (str, list, dict):
        if isinstance(default, kind):
            return (kind,)
    return ()


def _type_problem(value: Any, default: Any, kinds: tuple[type, ...]) -> str | None:
    if not kinds:
        return None
    if value is None:
        return f"expected {_words(kinds)}, got None" if isinstance(default, (bool, int, float)) else None
    if value == "None" and dict in kinds:  # RecBole's way to write an empty mapping
        return None
    # True is an int to Python, not to a person
    fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    return None if fits else f"expected {_words(kinds)}, got {value!r}"


def _words(kinds: tuple[type, ...]) -> str:
    return " or ".join(dict.fromkeys(kind.__name__ for kind in kinds if kind is not tuple))


def _choice_problem(key: str, value: Any) -> str | None:
    if key not in _CHOICES or value in _CHOICES[key]:
        return None
    return f"expected one of {', '.join(_CHOICES[key])}, got {value!r}"


def _part_problem(key: str, value: Any) -> str | None:
    """The parts of a mapping RecBole knows by heart."""
    if key not in _PARTS or not isinstance(value, Mapping):
        return None
    parts = _PARTS[key]
    for name, part in value.items():
        if name not in parts:
            near = difflib.get_close_matches(str(name), parts, n=1, cutoff=0.5)
            return f"unknown part {name!r}; " + (
                f"did you mean {near[0]!r}?" if near else f"it has {', '.join(parts)}"
            )
        if part is None or str(part).lower() == "none":
            continue
        if not isinstance(part, parts[name]) or (isinstance(part, bool) and bool not in parts[name]):
            return f"{name}: expected {_words(parts[name])}, got {part!r}"
        if name == "sample_num" and isinstance(part, int) and part < 1:
            return f"{name}: expected a value >= 1, got {part!r}"
    return None


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_whole_float(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
