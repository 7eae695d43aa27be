"""What one configuration key may hold: types, bounds, a closed set, a syntax, the parts of a mapping."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from recbole_mm.errors import suggest

_INTERVAL = re.compile(r"[\[(]([^,;]+),([^,;]+)[\])]")


@dataclass(frozen=True)
class Key:
    """What one key may hold, and what depends on it.

    takes      types, where they are more than that of the default
    low, high  bounds of a number; ``low`` itself is excluded if ``open``
    whole      its numbers have no fraction
    choices    the texts it may hold, whose capitals do not count if ``folded``
    syntax     regular expression that a text matches in full, where one of the choices has a variable part
    test       what can be said in no other way, of the whole value
    form       words for the bounds and the test
    parts      the names inside a mapping, each with what it may hold
    each       what the elements of a list and the values of a mapping may hold
    needed     it may not be None, whatever its default
    optional   it may be None: a part, an element, or a key whose None is a value of its own
    fields     it names fields of the atomic files, as elements or as keys, and these are: ``known``, ``loaded``,
               ``float``, of ``inter``
    shared     the same for all lines of a table and never searched, being a part of this: ``budget``, ``split``,
               ``protocol`` (compared before anything runs) or ``run`` (given once)
    silent     no figure depends on it
    resumable  may differ between two parts of one run
    path       a file or a folder; an empty text is none, unless it is `optional`

    Bounds, choices and syntax hold for each element of a list or a mapping, unless ``each`` says what those hold. A
    number is finite. None says that a key is not set.
    """

    takes: tuple[type, ...] = ()
    low: float | None = None
    high: float | None = None
    open: bool = False
    whole: bool = False
    choices: tuple[str, ...] = ()
    folded: bool = False
    syntax: str = ""
    test: Callable[[Any], bool] | None = None
    form: str = ""
    parts: Mapping[str, Key] = field(default_factory=dict)
    each: Key | None = None
    needed: bool = False
    optional: bool = False
    fields: tuple[str, ...] = ()
    shared: str = ""
    silent: bool = False
    resumable: bool = False
    path: bool = False

    @property
    def allowed(self) -> str:
        """The values it may hold, in words; empty where any of its type will do."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.form or self.low is None:
            return self.form or ("a whole number" if self.whole else "")
        kind = "whole number" if self.whole else "value"
        if self.high is not None:
            return f"a {kind} between {self.low:g} and {self.high:g}"
        return f"a {kind} {'>' if self.open else '>='} {self.low:g}"

    def problem(self, value: Any) -> str | None:
        """Why a value of the right type may not be held, or None."""
        if value is None:
            return None
        if self.path and value == "" and not self.optional:
            return "expected a path, got an empty text; leave the key out where there is none"
        if self.test is not None and not self.test(value):
            return f"expected {self.allowed}, got {value!r}"
        if self.parts and isinstance(value, Mapping):
            return self._part_problem(value)
        if self.each is not None and isinstance(value, (Mapping, list, tuple)):
            return self._element_problem(self.each, value)
        return self._bound_problem(value)

    def _bound_problem(self, value: Any) -> str | None:
        values = list(value.values()) if isinstance(value, Mapping) else value
        each = values if isinstance(values, (list, tuple)) else [values]
        wrong = [one for one in each if one is not None and not self._fits(one)]
        if not wrong:
            return None
        near = suggest(wrong[0], self.choices, listed=False) if isinstance(wrong[0], str) else ""
        return f"expected {self.allowed or 'a finite number'}, got {value!r}{near}"

    def _part_problem(self, value: Mapping[Any, Any]) -> str | None:
        for name, part in value.items():
            if name not in self.parts:
                return f"unknown part {name!r}{suggest(name, self.parts)}"
            if problem := self.parts[name].inner_problem(part):
                return f"{name}: {problem}"
        return None

    def _element_problem(self, each: Key, value: Any) -> str | None:
        named = value.items() if isinstance(value, Mapping) else [("", one) for one in value]
        for name, one in named:
            if problem := each.inner_problem(one):
                return f"{name}: {problem}" if name else f"{problem} in {value!r}"
        return None

    def inner_problem(self, value: Any) -> str | None:
        """Why a part or an element may not be held, or None."""
        if self.optional and (value is None or str(value).lower() == "none"):
            return None
        return type_problem(value, self.takes) or self.problem(value)

    def _fits(self, value: Any) -> bool:
        if self.syntax:
            return isinstance(value, str) and re.fullmatch(self.syntax, value) is not None
        if self.choices:
            texts = [each.lower() for each in self.choices] if self.folded else self.choices
            return isinstance(value, str) and (value.lower() if self.folded else value) in texts
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if number and not math.isfinite(value):
            return False
        if self.whole and not (number and float(value).is_integer()):
            return False
        if self.low is None:
            return True
        return (
            number
            and (value > self.low if self.open else value >= self.low)
            and (self.high is None or value <= self.high)
        )


def type_problem(value: Any, kinds: tuple[type, ...]) -> str | None:
    """Why a value is of none of these types, or None; no types are all types. True is an int to Python alone."""
    fits = not kinds or (isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)))
    return None if fits else f"expected {words(kinds)}, got {value!r}"


def words(kinds: tuple[type, ...]) -> str:
    """Types for a person."""
    return " or ".join(dict.fromkeys(kind.__name__ for kind in kinds if kind is not tuple))


def is_intervals(value: Any) -> bool:
    """Whether RecBole reads this as intervals that hold something: ``[5,inf)``, ``(0,1];[3,4)``.

    What is no text is a list of tokens, or the pair that a reader of yaml or Python makes of ``[1,2]`` or ``(1,2)``.
    """
    if not isinstance(value, str):
        return isinstance(value, (list, tuple)) and len(value) > 0
    return all(_is_interval(part.strip()) for part in value.split(";"))


def _is_interval(text: str) -> bool:
    match = _INTERVAL.fullmatch(text)
    if match is None:
        return False
    try:
        left, right = map(float, match.groups())
    except ValueError:
        return False
    return left < right or (left == right and text[0] + text[-1] == "[]")
