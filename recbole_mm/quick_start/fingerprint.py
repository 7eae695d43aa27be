"""The name of a run: a hash of all that made it, so that a finished run is taken up again only if nothing changed."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import CodeType
from typing import Any

import recbole_mm
from recbole_mm.files import sha256
from recbole_mm.modality import find_stores, reviews_folder
from recbole_mm.modality.format import MANIFEST
from recbole_mm.plug import KINDS, named_stores
from recbole_mm.quick_start.pretrain_config import pretraining_of
from recbole_mm.run.key import keys_that
from recbole_mm.serialize import readable

LIBRARIES = ("recbole_mm", "recbole", "torch", "numpy", "pandas", "scipy")
# rooms whose code decides the figures of any run, and of one of a model of ours
_ROOMS = ("compat", "data", "evaluator", "layer", "trainer")
_ROOMS_OF_OURS = ("modality",)
_OUR_MODELS = "recbole_mm.model."
# whose versions say what their code is
_INSTALLED = frozenset(["recbole", "torch", "builtins", "abc", "typing"])


def run_key(config: Any, seed: int) -> str:
    """``<model>-<seed>-<hash>`` of a complete configuration with this seed.

    The hash covers every setting, the versions of the libraries, the code behind the run, the data files (size and
    time) and the manifests of the stores.
    """
    silent = keys_that("silent")
    settings = readable({k: v for k, v in config.final_config_dict.items() if k not in silent})
    first = pretraining_of(config, seed)
    made_of = {
        "settings": {**settings, "seed": seed},
        "versions": versions(),
        "code": code_of(
            config.model_class,
            plugged=first is not None or any(config[key] for key in (*KINDS, "finetune_encoder")),
        ),
        "data": sorted(_data(config)),
    }
    if first is not None:
        made_of["pretrain"] = run_key(first, seed)
    text = json.dumps(made_of, sort_keys=True, default=str)
    return f"{config.model_class.__name__}-{seed}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@cache
def versions() -> dict[str, str]:
    """Versions of the libraries that decide a result; ``source`` where one is not installed as a package."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = recbole_mm.__version__ if name == "recbole_mm" else "source"
    return found


def code_of(model_class: type, plugged: bool = False) -> list[str]:
    """Hashes of the sources behind a result: our rooms, and the files of the model's classes that are not RecBole's.

    So a change of one model leaves the finished runs of the others valid.
    """
    classes = _behind(model_class)
    rooms = _ROOMS + (_ROOMS_OF_OURS if classes or plugged else ()) + (("plug",) if plugged else ())
    return [*(_room_code(room) for room in rooms), *sorted({_class_code(each) for each in classes})]


def _behind(model_class: type) -> set[type]:
    """The class and its bases, and what their files import from our models, and these in turn; none of RecBole's."""
    found: set[type] = set()
    waiting = [*model_class.__mro__]
    while waiting:
        one = waiting.pop()
        if one in found or one.__module__.split(".")[0] in _INSTALLED:
            continue
        found.add(one)
        beside = vars(sys.modules[one.__module__]).values() if one.__module__ in sys.modules else ()
        waiting += [
            each for each in beside if isinstance(each, type) and each.__module__.startswith(_OUR_MODELS)
        ]
    return found


def _class_code(one: type) -> str:
    """A hash of the file of a class; of one that was typed into a notebook or into Python, of its functions."""
    try:
        return sha256(Path(inspect.getfile(one)))
    except (TypeError, OSError):
        codes = [each.__code__ for each in vars(one).values() if inspect.isfunction(each)]
        return hashlib.sha256(repr([_plain(code) for code in codes]).encode()).hexdigest()


def _plain(code: CodeType) -> tuple[Any, ...]:
    consts = [
        _plain(each)
        if isinstance(each, CodeType)
        else sorted(map(repr, each))
        if isinstance(each, frozenset)
        else each
        for each in code.co_consts
    ]
    return code.co_name, code.co_code.hex(), code.co_names, consts


@cache
def _room_code(room: str) -> str:
    root = Path(recbole_mm.__file__).parent / room
    text = "".join(f"{path.relative_to(root)} {sha256(path)}\n" for path in sorted(root.rglob("*.py")))
    return hashlib.sha256(text.encode()).hexdigest()


def _data(config: Any) -> Iterator[str]:
    """The files that the run reads: data sets, a split file, the stores of a multimodal model and of the plug."""
    folder = Path(str(config["data_path"]))
    yield from _files(folder)
    for domain in config["domains"] or []:
        yield from _files(folder.parent / str(domain))
    paths = keys_that("path") - keys_that("silent")
    for key, value in config.final_config_dict.items():
        texts = [
            each for each in (value.values() if isinstance(value, dict) else [value]) if isinstance(each, str)
        ]
        for text in texts:
            if (key in paths or "/" in text) and (Path(text) / MANIFEST).is_file():
                yield _store(Path(text))
            elif (key in paths or text.endswith((".csv", ".parquet", ".npz"))) and Path(text).is_file():
                yield _file(Path(text))
    if config["init_from"]:
        start = Path(config["init_from"])
        yield from _files(start) if start.is_dir() else [_file(start)]
    if config.trait("multimodal"):
        for name in [config["dataset"], *(config["domains"] or [])]:
            root = Path(str(config["modality_path"]))
            for folder in (root / str(name), reviews_folder(root, str(name))):
                yield from (_store(Path(store)) for store in find_stores(folder).values())
    if config["finetune_encoder"] and config["finetune_from"]:
        yield from _files(Path(str(config["finetune_from"])))
    for key in KINDS:
        for name, folder in named_stores(config, key).items():
            yield f"{key} {name} {_store(folder)}"


def _files(folder: Path) -> Iterator[str]:
    for path in folder.iterdir() if folder.is_dir() else []:
        if path.is_file():
            yield _file(path)


def _file(path: Path) -> str:
    found = path.stat()
    return f"{path.name} {found.st_size} {found.st_mtime_ns}"


def _store(folder: Path) -> str:
    return f"{folder.name} {sha256(folder / MANIFEST)}"
