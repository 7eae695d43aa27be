"""Values that were given, against the type of the default they replace and against what the key can mean."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from recbole_mm.run.key_type import Key, is_intervals, type_problem, words


def check_values(
    given: dict[str, Any],
    defaults: Mapping[str, Any],
    sources: Mapping[str, str],
    texts: Mapping[str, str],
    whole_keys: Collection[str],
    described: Callable[[str], Key],
) -> list[str]:
    """Replace the values of ``given`` by those the code wants; return the problems, with key and source."""
    problems = []
    for key, value in given.items():
        kind = described(key)
        default, whole = defaults.get(key), key in whole_keys or kind.whole
        given[key], problem = checked(key, kind, value, default, text=texts.get(key), whole=whole)
        if problem:
            problems.append(f"{key}: {problem} ({sources.get(key, 'config_dict')})")
    return problems


def checked(
    key: str, described: Key, value: Any, default: Any, *, text: str | None, whole: bool
) -> tuple[Any, str | None]:
    """Return (value as the code wants it, problem or None).

    Args:
        key: the key.
        described: what it may hold.
        value: what was given.
        default: what it replaces; None says nothing about the type.
        text: the words of the command line, which are the value of a key whose default is text.
        whole: the default's int must stay whole (RecBole writes some float defaults of models as ``2``).
    """
    kinds = described.takes or _kinds(default, whole)
    if text is not None and kinds and kinds[0] is str and value is not None and not isinstance(value, kinds):
        value = text
    number = key == "dataset" and isinstance(value, int) and not isinstance(value, bool)
    pair = described.test is is_intervals and isinstance(value, (list, tuple))
    if number or pair:  # [5,10] and (5,10) are read as lists, by yaml and by Python
        value = str(value)
    # where None is no value, `none` is one, or what is there stays
    if value is None and (described.choices or described.syntax) and not described.optional:
        value = "none" if "none" in described.choices else default
    if isinstance(value, tuple) and list in kinds and tuple not in kinds:
        value = list(value)
    if isinstance(value, float) and value.is_integer() and int in kinds and float not in kinds:
        value = int(value)
    if value is None:
        missing = described.needed or isinstance(default, (bool, int, float))
        return value, f"expected {words(kinds)}, got None" if missing else None
    if value == "None" and dict in kinds:  # RecBole's way to write an empty mapping
        return value, None
    return value, type_problem(value, kinds) or described.problem(value)


def _kinds(default: Any, whole: bool) -> tuple[type, ...]:
    if isinstance(default, int) and not isinstance(default, bool):
        return (int,) if whole else (int, float)
    if isinstance(default, float):
        return (float, int)
    return next(((kind,) for kind in (bool, str, list, dict) if isinstance(default, kind)), ())
