"""``recbole-mm models`` and ``recbole-mm keys``: what there is, with one line each, read without importing a model."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from recbole_mm.config.properties import load_internal, recbole_dir
from recbole_mm.errors import WrongUse, suggest
from recbole_mm.files import properties_dir
from recbole_mm.model import model_lines, model_names
from recbole_mm.run.model_key import describe

# a key at the start of its line, and the comment at the end
_LINE = re.compile(r"^(?P<key>\w+):.*?\s#\s*(?P<comment>.*\S)", re.MULTILINE)


def models() -> list[dict[str, str]]:
    """``name``, ``of`` (``recbole_mm``, or the family of RecBole's) and ``about`` (of its docstring) of each model."""
    entries = []
    for name, (module, about) in model_lines().items():
        package, *_, family, _ = module.split(".")
        of = package if package == "recbole_mm" else f"RecBole {family.removesuffix('_recommender')}"
        entries.append({"name": name, "of": of, "about": about})
    return entries


def keys(model: str | None = None) -> list[dict[str, Any]]:
    """``key``, ``default``, ``about`` and ``of`` (whose it is) of each key that any run may have, or of a model's own.

    What a key is about stands in the comments of the yamls, ours and RecBole's; a key that both name is ours.

    Raises:
        WrongUse: no such model.
    """
    if model is not None and model not in model_names():
        raise WrongUse(f"no model '{model}'{suggest(model, model_names(), listed=False)}")
    ours, theirs = properties_dir(), recbole_dir() / "properties"
    if model is None:
        files = [theirs / "overall.yaml", theirs / "dataset/sample.yaml", ours / "overall.yaml"]
    else:  # RecBole spells the files of its tree models in lower case
        files = [theirs / f"model/{name}.yaml" for name in (model.lower(), model)] + [
            ours / f"model/{model}.yaml"
        ]
    entries: dict[str, dict[str, Any]] = {}
    for file in files:
        about = _comments(file)
        for key, default in load_internal(file).items():
            line = about.get(key) or entries.get(key, {}).get("about", "")
            of = "recbole_mm" if file.is_relative_to(ours) else "RecBole"
            entries[key] = {"key": key, "default": default, "about": line, "of": of}
    return list(entries.values())


def _comments(path: Path) -> dict[str, str]:
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return {match["key"]: match["comment"] for match in _LINE.finditer(text)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of both commands."""
    if parser.get_default("command") == "keys":
        parser.add_argument("model", nargs="?", help="list the keys of this model alone")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    """Print the list that the command names."""
    entries = models() if args.command == "models" else keys(args.model)
    print(
        json.dumps(entries, indent=1)
        if args.json
        else "\n".join(_lines(entries, getattr(args, "model", None)))
    )
    return 0


def _lines(entries: Iterable[dict[str, Any]], model: str | None = None) -> Iterator[str]:
    for entry in entries:
        if "name" in entry:
            yield f"{entry['name']:<20}{entry['of']:<25}{entry['about']}".rstrip()
            continue
        allowed = describe(entry["key"], model or "", [entry["key"]]).allowed
        default = "~" if entry["default"] is None else json.dumps(entry["default"], ensure_ascii=False)
        shown = default if len(default) <= 30 else f"{default[:29]}…"
        yield f"{entry['key']:<30}{shown:<32}{entry['about']}{f' ({allowed})' if allowed else ''}".rstrip()
