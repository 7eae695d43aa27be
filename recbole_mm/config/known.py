"""Which keys exist: what the yamls declare, what RecBole lists, and what code reads as ``config["key"]``."""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import CodeType

from recbole_mm.config.properties import load_internal, recbole_dir
from recbole_mm.errors import suggest
from recbole_mm.files import properties_dir

# given by callers and launchers, declared in no yaml
_CALL_KEYS = frozenset([
    "model", "dataset", "config_file", "config_files", "nproc", "world_size", "ip", "port", "offset", "group_offset",
    "local_rank", "verbose", "encoding", "double_tower", "wandb_project", "neg_sampling", "training_neg_sample_num",
    "tail_ratio",
])  # fmt: skip
# what code calls a config
_CONFIGS = ("config", "cfg", "final_config_dict")
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


def strict_keys(home: type) -> frozenset[str]:
    """The keys whose default has the type that is meant; RecBole's models declare some floats as ``2``."""
    theirs, ours = recbole_dir() / "properties", properties_dir()
    files = (theirs / "overall.yaml", theirs / "dataset/sample.yaml", ours / "overall.yaml")
    return frozenset().union(*map(load_internal, (*files, ours / f"model/{home.__name__}.yaml")))


def hyper_parameters(home: type) -> frozenset[str]:
    """The keys of one of RecBole's models or ours: what its yamls declare and what its file reads."""
    if home.__module__.split(".")[0] not in ("recbole", "recbole_mm"):
        return frozenset()
    keys: set[str] = set()
    for root in (recbole_dir(), properties_dir().parent):
        for name in (home.__name__, home.__name__.lower()):  # as RecBole spells those of trees
            keys.update(load_internal(root / f"properties/model/{name}.yaml"))
    return frozenset(keys.union(*map(keys_read, source_texts(home).values())))


def unknown_keys(keys: Iterable[str], declared: Iterable[str], model_class: type) -> dict[str, str]:
    """The keys nobody declares or reads, each with ``; did you mean 'x'?`` or nothing.

    RecBole reads some 30 keys that no yaml declares, and a user's own model reads what it likes: source is
    searched, and only for keys that are not found otherwise.
    """
    known = declared_keys().union(declared)
    strange = [key for key in keys if key not in known and not _is_read(key, model_class)]
    near = {key: suggest(key, known, cutoff=0.7, listed=False) for key in strange}
    if not all(near.values()):  # perhaps a key that only code knows
        readable = known.union(
            own_keys(model_class), *(keys_read(_text(file)) for file in _package_sources())
        )
        near = {key: suggest(key, readable, cutoff=0.7, listed=False) for key in strange}
    return near


def own_keys(model_class: type) -> frozenset[str]:
    """What the sources of a model's class and of its bases, outside of RecBole and torch, read from a config.

    Of a class without a source (typed into Python itself) the words of the functions that mention one.
    """
    found: set[str] = set()
    for each in own_classes(model_class):
        texts = source_texts(each)
        found.update(*map(keys_read, texts.values()))
        found.update(*(_words(code) for code in _codes(each) if code.co_filename not in texts))
    return frozenset(found)


def _is_read(key: str, model_class: type) -> bool:
    if key in own_keys(model_class):
        return True
    quoted = (f'"{key}"', f"'{key}'", f"config.{key}")
    texts = map(_text, _package_sources())
    return any(any(each in text for each in quoted) and key in keys_read(text) for text in texts)


@cache
def _package_sources() -> tuple[Path, ...]:
    ours = Path(__file__).resolve().parents[1]
    return tuple(sorted([*recbole_dir().rglob("*.py"), *ours.rglob("*.py")]))


def own_classes(model_class: type) -> list[type]:
    """A model's class and its bases, outside of RecBole and torch."""
    others = ("builtins", "abc", "typing", "torch", "recbole")
    return [each for each in model_class.__mro__ if each.__module__.split(".")[0] not in others]


def source_texts(model_class: type) -> dict[str, str]:
    """The sources of one class by the names of their files; those of a notebook's cells have names, too."""
    names = {code.co_filename for code in _codes(model_class)}
    with suppress(TypeError, OSError):  # the class of a notebook, or one typed into Python, has no file
        names.add(inspect.getsourcefile(model_class) or "")
    for name in names:
        linecache.checkcache(name)
    texts = {name: "".join(linecache.getlines(name)) for name in sorted(names)}
    return {name: text for name, text in texts.items() if text}


def _codes(model_class: type) -> list[CodeType]:
    return [each.__code__ for each in vars(model_class).values() if inspect.isfunction(each)]


def _words(code: CodeType) -> set[str]:
    """The names and texts in a function that mentions a config, and in the functions inside it."""
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    names = {*code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars}
    own = names.union(const for const in code.co_consts if isinstance(const, str))
    return (own if names.intersection(_CONFIGS) else set()).union(*map(_words, inner))


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


@cache
def keys_read(text: str) -> frozenset[str]:
    """Names that a source takes from a config: ``config["x"]``, ``config.get("x")``, ``config.x``."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return frozenset()
    return frozenset(name for node in ast.walk(tree) for name in _key_of(node))


def _key_of(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Subscript(value=owner, slice=ast.Constant(value=str(key))) if is_config(owner):
            yield key
        case ast.Call(func=ast.Attribute(owner, "get"), args=[ast.Constant(str(key)), *_]) if is_config(
            owner
        ):
            yield key
        case ast.Compare(left=ast.Constant(str(key)), comparators=owners) if any(map(is_config, owners)):
            yield key
        case ast.Attribute(value=owner, attr=key) if is_config(owner):
            yield key


def is_config(node: ast.AST) -> bool:
    """Whether a piece of source is a name that code gives a config."""
    return getattr(node, "id", getattr(node, "attr", "")) in _CONFIGS
