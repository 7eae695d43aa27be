"""Templates and scripts of pages; whatever comes from data is escaped."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from recbole_mm.errors import WrongUse

NO_PLOTLY = 'figures need plotly: pip install "recbole_mm[report]"'


def render(template: str, **values: Any) -> str:
    """A template of ``assets/`` with these values."""
    return str(_environment().get_template(template).render(**values))


def asset(*names: str) -> Markup:
    """Files of ``assets/``, one after another, as they are: styles and scripts of ours."""
    return Markup("\n".join(_read(name) for name in names))


def embedded(data: Any) -> Markup:
    """JSON for a script element: nothing in it can end the element; a number that is none is null."""
    text = json.dumps(_finite(data), separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=str)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


@cache
def packed_plotly() -> Markup:
    """plotly.js, compressed (1.9 of 4.8 MB) and in letters.

    Raises:
        WrongUse: it is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as missing:
        raise WrongUse(NO_PLOTLY) from missing
    return Markup(base64.b64encode(gzip.compress(get_plotlyjs().encode(), 6, mtime=0)).decode())


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and value - value != 0 else value


def _read(name: str) -> str:
    return files("recbole_mm.report").joinpath("assets", name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_read),
    )
