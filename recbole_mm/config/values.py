"""Values that come as text: ``--key=value`` and strings in a dict, read as literals and never run as code."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from recbole_mm.config.properties import FLOAT, ConfigLoader
from recbole_mm.errors import WrongUse

_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "none": None, "~": None}
_PLAIN = (bool, int, float, str, list, tuple, dict, type(None))


def parse_value(text: str) -> Any:
    """Read text as a Python literal or, between brackets, as yaml; anything else stays the text it is.

    ``10`` int, ``1e-3`` float, ``True``/``true`` bool, ``None``/``~`` None, ``['RO',(1,2)]`` and ``[RO, 1]``
    lists; ``[0,inf)``, ``0108775015``, ``2020-01-01`` and ``__import__('os')`` are text.
    """
    bare = text.strip()
    if bare.lower() in _WORDS:
        return _WORDS[bare.lower()]
    if FLOAT.match(bare) and "inf" not in bare.lower() and "nan" not in bare.lower():
        return float(bare.replace("_", ""))
    value = _literal(bare)
    if value is _NOT:
        value = _bracketed(bare)
    return text if value is _NOT else value


_NOT = object()


def _literal(text: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # "01" and "\d" warn before they fail
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return _NOT
    return value if isinstance(value, _PLAIN) else _NOT


def _bracketed(text: str) -> Any:
    """Yaml only where the text is plainly a list or a mapping: as a scalar it would turn 010 and dates."""
    if text[:1] + text[-1:] not in ("[]", "{}"):
        return _NOT
    try:
        return yaml.load(text, Loader=ConfigLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return _NOT


def parse_cli(args: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Read ``--key=value`` and ``--key value``; return (values, their texts). A value may contain ``=``.

    Raises ``WrongUse`` on a stray word, a key without a value, or a key given twice with two values.
    """
    texts: dict[str, str] = {}
    for key, text in _pairs(list(args)):
        if texts.setdefault(key, text) != text:
            raise WrongUse(f"--{key} is given twice, as {texts[key]!r} and {text!r} (command line)")
    return {key: parse_value(text) for key, text in texts.items()}, texts


def _pairs(args: list[str]) -> Iterator[tuple[str, str]]:
    rest = iter(range(len(args)))
    for at in rest:
        arg = args[at]
        if not arg.startswith("--") or len(arg) == 2:
            raise WrongUse(f"unexpected argument '{arg}' (command line); write --key=value")
        key, equals, value = arg[2:].partition("=")
        if not equals:
            if at + 1 >= len(args) or args[at + 1].startswith("--"):
                raise WrongUse(f"--{key} has no value (command line); write --{key}=value")
            value = args[next(rest)]
        yield key, value
