"""``recbole-mm models``: every model there is, with a line on each; nothing is imported."""

from __future__ import annotations

import argparse
import ast
import json
from importlib.util import find_spec
from pathlib import Path

from tabulate import tabulate

from recbole_mm.model import model_names

HELP = "the models there are"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``recbole-mm models``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    """Print name, family and line of each model, ours first."""
    found = models()
    print(json.dumps(found, indent=1) if args.json else tabulate(found, headers="keys", tablefmt="plain"))
    return 0


def models() -> list[dict[str, str]]:
    """``model``, ``family`` (``recbole_mm`` for ours) and ``about``, the first line of its docstring."""
    return [
        {"model": name, "family": _family(module), "about": _about(module, name)}
        for name, module in model_names().items()
    ]


def _family(module: str) -> str:
    package, *_, room, _ = module.split(".")
    return package if package == "recbole_mm" else room.removesuffix("_recommender").replace("_", " ")


def _about(module: str, name: str) -> str:
    """Of the class, else of its file; without importing the model's libraries."""
    package, *rest = module.split(".")
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    file = Path(spec.submodule_search_locations[0]).joinpath(*rest).with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    own = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    text = (ast.get_docstring(tree) if package == "recbole_mm" else ast.get_docstring(own)) or ""
    return " ".join(text.split("\n\n")[0].split("\n#")[0].split())[:100]
