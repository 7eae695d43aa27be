"""Which keys exist: what the yamls declare, what RecBole lists, and what code reads as ``config["key"]``."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from recbole_mm.config.properties import load_internal, properties_dir, recbole_dir
from recbole_mm.errors import suggest

# given by callers and launchers, declared in no yaml
_CALL_KEYS = frozenset([
    "model", "dataset", "config_file", "config_files", "nproc", "world_size", "ip", "port", "offset", "group_offset",
    "local_rank", "verbose", "encoding", "double_tower", "wandb_project", "neg_sampling", "training_neg_sample_num",
])  # fmt: skip
# in RecBole's folder of data sets, but lists of addresses: every entry would be a key
_NO_SETTINGS = frozenset({"url.yaml", "kg_url.yaml"})


@cache
def declared_keys() -> frozenset[str]:
    """Keys of RecBole's yamls and argument lists and of our yamls."""
    from recbole.utils import argument_list

    keys = set(_CALL_KEYS)
    for name in ("general", "training", "evaluation", "dataset"):
        keys.update(getattr(argument_list, f"{name}_arguments"))
    for root in (recbole_dir() / "properties", properties_dir()):
        for name in ("overall.yaml", "model/*.yaml", "dataset/*.yaml", "quick_start_config/*.yaml"):
            for file in root.glob(name):
                if file.name not in _NO_SETTINGS:
                    keys.update(load_internal(file))
    return frozenset(keys)


def unknown_keys(keys: Iterable[str], declared: Iterable[str], model_class: type) -> dict[str, str]:
    """The keys nobody declares or reads, each with ``; did you mean 'x'?`` or nothing.

    RecBole reads some 30 keys that no yaml declares, and a user's own model reads what it likes: source is
    searched, and only for keys that are not found otherwise.
    """
    known = declared_keys().union(declared)
    strange = [key for key in keys if key not in known and not _is_read(key, model_class)]
    near = {key: suggest(key, known, cutoff=0.7, listed=False) for key in strange}
    if not all(near.values()):  # perhaps a key that only code knows
        sources = [*_package_sources(), *_model_sources(model_class)]
        readable = known.union(*(keys_read(file) for file in sources))
        near = {key: suggest(key, readable, cutoff=0.7, listed=False) for key in strange}
    return near


def _is_read(key: str, model_class: type) -> bool:
    quoted = (f'"{key}"', f"'{key}'", f"config.{key}")
    for file in [*_model_sources(model_class), *_package_sources()]:
        text = _text(file)
        if any(each in text for each in quoted) and key in keys_read(file):
            return True
    return False


@cache
def _package_sources() -> tuple[Path, ...]:
    ours = Path(__file__).resolve().parents[1]
    return tuple(sorted([*recbole_dir().rglob("*.py"), *ours.rglob("*.py")]))


def _model_sources(model_class: type) -> Iterator[Path]:
    """The files of a model's class and of its bases, outside of RecBole and torch."""
    for each in model_class.__mro__:
        if each.__module__.split(".")[0] in ("builtins", "abc", "torch", "recbole"):
            continue
        try:
            file = inspect.getsourcefile(each)
        except TypeError:  # a class made in a notebook has no file
            continue
        if file and Path(file).is_file():
            yield Path(file)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


@cache
def keys_read(file: Path) -> frozenset[str]:
    """Names that a source file takes from a config: ``config["x"]``, ``config.get("x")``, ``config.x``."""
    try:
        tree = ast.parse(_text(file))
    except SyntaxError:
        return frozenset()
    return frozenset(name for node in ast.walk(tree) for name in _key_of(node))


def _key_of(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Subscript(value=owner, slice=ast.Constant(value=str(key))) if _is_config(owner):
            yield key
        case ast.Call(func=ast.Attribute(owner, "get"), args=[ast.Constant(str(key)), *_]) if _is_config(
            owner
        ):
            yield key
        case ast.Compare(left=ast.Constant(str(key)), comparators=owners) if any(map(_is_config, owners)):
            yield key
        case ast.Attribute(value=owner, attr=key) if _is_config(owner):
            yield key


def _is_config(node: ast.AST) -> bool:
    return getattr(node, "id", getattr(node, "attr", "")) in ("config", "cfg", "final_config_dict")
