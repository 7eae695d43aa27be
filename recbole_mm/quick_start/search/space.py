"""What is searched: the values that each key may take, read from yaml or from a ``params_file`` of RecBole's."""

from __future__ import annotations

import ast
import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import product
from pathlib import Path
from typing import Any

from recbole_mm.config.properties import load_user
from recbole_mm.errors import WrongUse, suggest
from recbole_mm.files import properties_dir
from recbole_mm.run.key import keys_that

Point = dict[str, Any]
KINDS = ("choice", "uniform", "loguniform", "int")
_WHEN = "when"
# RecBole's params_file: a key, a distribution, its numbers or list
_LINE = re.compile(r"(?P<key>[\w.]+)[ \t]+(?P<kind>[A-Za-z]\w*)[ \t]+(?P<values>\S.*)")
_RECBOLE_KINDS = ("choice", "uniform", "quniform", "loguniform")


@dataclass(frozen=True)
class Axis:
    """The values of one key.

    Attributes:
        values: of a choice; () for a range.
        low, high: the ends of a range, both in it.
        log: even in the logarithm.
        step: values are multiples of it; ``int`` has 1.
        when: key -> values of it under which this key is there at all.
    """

    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    whole: bool = False
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def applies(self, point: Point) -> bool:
        """Whether the key is there beside the others of ``point``."""
        return all(key in point and point[key] in values for key, values in self.when.items())

    def at(self, share: float) -> Any:
        """The value at ``share`` of the way, in [0, 1)."""
        if self.values:
            return self.values[int(share * len(self.values))]
        if self.whole:
            return int(self.low) + int(share * (int(self.high) - int(self.low) + 1))
        if self.log:
            return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        value = self.low + share * (self.high - self.low)
        return value if self.step is None else round(value / self.step) * self.step


@dataclass(frozen=True)
class Space:
    """The axes by key; a conditional key comes after those that it depends on."""

    axes: Mapping[str, Axis]

    @property
    def finite(self) -> bool:
        """Whether its points can be counted."""
        return all(axis.values or axis.whole for axis in self.axes.values())

    def draw(self, rng: random.Random) -> Point:
        """A random point."""
        point: Point = {}
        for key, axis in self.axes.items():
            share = rng.random()  # also for a key that is not there: those after it stay the same
            if axis.applies(point):
                point[key] = axis.at(share)
        return point

    def grid(self) -> list[Point]:
        """Every point. Raises ``WrongUse`` where a key has a range of real numbers."""
        lists = []
        for key, axis in self.axes.items():
            if not (axis.values or axis.whole):
                raise WrongUse(f"--searcher grid: '{key}' is a range; give a list of values, or use random")
            lists.append(axis.values or range(int(axis.low), int(axis.high) + 1))
        points: list[Point] = []
        for values in product(*lists):
            point: Point = {}
            for (key, axis), value in zip(self.axes.items(), values, strict=True):
                if axis.applies(point):
                    point[key] = value
            if point not in points:
                points.append(point)
        return points


def find_space(path: Path) -> Space:
    """Read a space. Raises ``WrongUse`` that names the file, the key and what to write."""
    if not path.is_file():
        there = sorted(each.stem for each in (properties_dir() / "tune").glob("*.yaml"))
        raise WrongUse(f"no search space {path}; give one with --space FILE (there are {', '.join(there)})")
    raw = _recbole_lines(path) if _is_recbole(path) else load_user(path)
    if not raw:
        raise WrongUse(f"{path}: the space is empty; write lines of 'key: [values]'")
    axes = {key: _axis(value, f"{path}: '{key}'") for key, value in raw.items()}
    for key, axis in axes.items():
        if key in keys_that("shared"):
            raise WrongUse(f"{path}: '{key}' is the same for all models of a comparison; it is not searched")
        for other, values in axis.when.items():
            _check_condition(axes, other, values, f"{path}: '{key}'")
    try:
        order = {key: set(axis.when) for key, axis in axes.items()}
        ordered = list(TopologicalSorter(order).static_order())
    except CycleError as error:
        raise WrongUse(f"{path}: '{error.args[1][0]}' depends on itself by its conditions") from error
    first = [key for key in axes if not axes[key].when]
    return Space({key: axes[key] for key in [*first, *(key for key in ordered if key not in first)]})


def _check_condition(axes: Mapping[str, Axis], other: str, values: tuple[Any, ...], where: str) -> None:
    if other not in axes:
        raise WrongUse(f"{where}: when: '{other}' is not searched{suggest(other, axes)}")
    known = axes[other].values
    strange = [value for value in values if value not in known]
    if strange or not known:
        raise WrongUse(f"{where}: when: '{other}' never is {strange[0] if strange else values[0]!r}")


def _axis(value: Any, where: str) -> Axis:
    """An axis as it is written: a list, or a mapping of one kind and perhaps ``when``."""
    if isinstance(value, Axis):
        return value
    if isinstance(value, list):
        return Axis(values=_choices(value, where))
    kinds = ", ".join(f"{{{kind}: [...]}}" for kind in KINDS)
    if not isinstance(value, dict):
        raise WrongUse(f"{where} must be a list of values or one of {kinds}, got {value!r}")
    names = [name for name in value if name != _WHEN]
    if len(names) != 1 or names[0] not in KINDS:
        strange = next((name for name in names if name not in KINDS), None)
        hint = "" if strange is None else f", not '{strange}'{suggest(strange, KINDS, listed=False)}"
        raise WrongUse(f"{where}: expected one of {kinds}{hint}")
    (kind,) = names
    when = value.get(_WHEN, {})
    if not isinstance(when, dict):
        raise WrongUse(f"{where}: when: expected 'key: value' of another searched key, got {when!r}")
    given = {key: tuple(each) if isinstance(each, list) else (each,) for key, each in when.items()}
    if kind == "choice":
        return Axis(values=_choices(value[kind], where), when=given)
    return _range(kind, value[kind], where, given)


def _choices(values: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(values, (list, tuple)) or not values:
        raise WrongUse(f"{where} must be a list of values, got {values!r}")
    return tuple(values)


def _range(kind: str, ends: Any, where: str, when: Mapping[str, tuple[Any, ...]]) -> Axis:
    number = (int,) if kind == "int" else (int, float)
    if not (isinstance(ends, list) and len(ends) == 2 and all(type(end) in number for end in ends)):
        what = "two whole numbers" if kind == "int" else "two numbers"
        raise WrongUse(f"{where}: {kind}: expected {what} [low, high], got {ends!r}")
    low, high = ends
    if low >= high:
        raise WrongUse(f"{where}: {kind}: {low} is not below {high}")
    if kind == "loguniform" and low <= 0:
        raise WrongUse(f"{where}: loguniform: {low} is not above 0; write the values, not their logarithms")
    return Axis(low=low, high=high, log=kind == "loguniform", whole=kind == "int", when=when)


# ---- RecBole's params_file


def _lines(path: Path) -> list[tuple[int, str]]:
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = ((number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), 1))
    return [(number, line) for number, line in lines if line]


def _is_recbole(path: Path) -> bool:
    return any(_LINE.fullmatch(line) for _, line in _lines(path)[:1])


def _recbole_lines(path: Path) -> dict[str, Axis]:
    """``key choice [a, b]``, ``key uniform low,high``, ``quniform low,high,q``, ``loguniform`` of logarithms."""
    found: dict[str, Axis] = {}
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        match = _LINE.fullmatch(line)
        if match is None:
            raise WrongUse(f"{where}: expected 'key {'|'.join(_RECBOLE_KINDS)} values', got {line!r}")
        key, kind = match["key"], match["kind"]
        if kind not in _RECBOLE_KINDS:
            raise WrongUse(f"{where}: no distribution '{kind}'{suggest(kind, _RECBOLE_KINDS)}")
        if key in found:
            raise WrongUse(f"{where}: key '{key}' is there twice")
        found[key] = _recbole_axis(kind, match["values"], f"{where}: '{key}'")
    return found


def _recbole_axis(kind: str, text: str, where: str) -> Axis:
    if kind == "choice":
        try:
            return Axis(values=_choices(ast.literal_eval(text), where))
        except (ValueError, SyntaxError) as error:
            raise WrongUse(f"{where} must be a list of values, got {text!r}") from error
    try:
        numbers = [float(word) for word in re.split(r"[,\s]+", text.strip("[]() "))]
    except ValueError:
        numbers = []
    wanted = 3 if kind == "quniform" else 2
    if len(numbers) != wanted or numbers[0] >= numbers[1] or (wanted == 3 and numbers[2] <= 0):
        form = "low,high,step" if wanted == 3 else "low,high"
        raise WrongUse(f"{where}: {kind}: expected {form}, got {text!r}")
    low, high = numbers[:2]
    if kind == "loguniform":  # RecBole writes the logarithms of the ends
        return Axis(low=math.exp(low), high=math.exp(high), log=True)
    return Axis(low=low, high=high, step=numbers[2] if wanted == 3 else None)
