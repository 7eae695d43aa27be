"""``recbole-mm keys``: the configuration keys, each with its default and a line.

The lines are the comments of the yaml files, ours and those of the installed RecBole; what a key takes beyond its
type is in `recbole_mm.run.key`.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from tabulate import tabulate

from recbole_mm.config.properties import load_internal, properties_dir, recbole_dir
from recbole_mm.errors import WrongUse
from recbole_mm.model import get_model
from recbole_mm.run.key import KEYS, Key

HELP = "the configuration keys, of all models or of one"
_LINE = re.compile(r"^(?P<key>\w+):.*?\s#\s*(?P<about>.+?)\s*$")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``recbole-mm keys``."""
    parser.add_argument("model", nargs="?", help="the keys of this model alone")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    """Print key, default and line."""
    found = keys(args.model)
    if args.json:
        print(json.dumps(found, indent=1, default=str))
    else:
        print(
            tabulate(
                found, headers="keys", tablefmt="plain", maxcolwidths=[None, 32, 90], disable_numparse=True
            )
        )
    return 0


def keys(model: str | None = None) -> list[dict[str, Any]]:
    """``key``, ``default`` and ``about`` of every key, or of those that a model has for itself.

    Raises ``WrongUse`` on an unknown model, or one of a file, whose keys stand nowhere but in its source.
    """
    roots = (recbole_dir() / "properties", properties_dir())
    if model is None:
        files = [roots[0] / "overall.yaml", roots[0] / "dataset/sample.yaml", roots[1] / "overall.yaml"]
    else:
        name = get_model(model).__name__
        files = [file for root in roots if (file := root / f"model/{name}.yaml").is_file()]
        if not files:
            raise WrongUse(f"keys: {name} has no yaml; what it reads stands in its source")
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        lines = comments(file)
        for key, default in load_internal(file).items():
            allowed = KEYS.get(key, Key()).allowed
            about = lines.get(key, "") + (f" [{allowed}]" if allowed else "")
            found[key] = {"key": key, "default": default, "about": about.strip()}
    return list(found.values())


def comments(file: Path) -> dict[str, str]:
    """The comment behind each top-level key of a yaml file."""
    matches = map(_LINE.match, file.read_text(encoding="utf-8").splitlines())
    return {match["key"]: match["about"] for match in matches if match}
