"""``recbole-mm convert <source> …``: one sub-command for each converter, imported when it is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from recbole_mm.convert import CONVERTERS


class _LazyParser(argparse.ArgumentParser):
    """Asks its converter for the arguments when it is used, so that ``convert`` imports only one."""

    def __init__(self, *args: Any, module: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._module_name: str | None = module

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        if self._module_name is not None:
            module = _converter(self._module_name)
            self._module_name = None
            self.description = module.HELP
            module.add_arguments(self)
        return super().parse_known_args(args, namespace)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one sub-parser for each name in ``CONVERTERS``."""
    sources = parser.add_subparsers(
        dest="source",
        required=True,
        metavar="source",
        help=f"one of {', '.join(_shown(name) for name in CONVERTERS)}; `convert SOURCE --help` describes it",
        parser_class=_LazyParser,
    )
    for name in CONVERTERS:
        sources.add_parser(_shown(name), module=name, allow_abbrev=False)


def main(args: argparse.Namespace) -> int:
    """Run the chosen converter."""
    return int(_converter(args.source.replace("-", "_")).main(args))


def _shown(name: str) -> str:
    return name.replace("_", "-")


def _converter(name: str) -> ModuleType:
    return import_module(f"recbole_mm.convert.{name}")
