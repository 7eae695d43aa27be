"""Values that come as text: ``--key=value`` and strings in a dict, read as literals and never run as code."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Sequence
from contextlib import suppress
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
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError, TypeError), warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # "01" and "\d" warn before they fail
        value = ast.literal_eval(bare)
        if isinstance(value, _PLAIN):
            return value
    # yaml only where the text is plainly a list or a mapping: as a scalar it would turn 010 and dates
    if bare[:1] + bare[-1:] in ("[]", "{}"):
        with suppress(yaml.YAMLError, ValueError, RecursionError):
            return yaml.load(bare, Loader=ConfigLoader)
    return text


def parse_cli(args: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Read ``--key=value`` and ``--key value``; return (values, their texts). A value may contain ``=``.

    Raises ``WrongUse`` on a stray word, a key without a value, or a key given twice with two values.
    """
    texts: dict[str, str] = {}
    rest = list(reversed(args))
    while rest:
        arg = rest.pop()
        if not arg.startswith("--") or len(arg) == 2:
            raise WrongUse(f"unexpected argument '{arg}' (command line); write --key=value")
        if arg == "--dry-run":  # of `run`, which takes it before
            raise WrongUse("--dry-run goes with recbole-mm run, which says what one row takes")
        key, equals, text = arg[2:].partition("=")
        if not equals:
            if not rest or rest[-1].startswith("--"):
                raise WrongUse(f"--{key} has no value (command line); write --{key}=value")
            text = rest.pop()
        if texts.setdefault(key, text) != text:
            raise WrongUse(f"--{key} is given twice, as {texts[key]!r} and {text!r} (command line)")
    return {key: parse_value(text) for key, text in texts.items()}, texts
