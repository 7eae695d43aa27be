"""The import hook: applies the patches of a module when that module is loaded."""

from __future__ import annotations

import ast
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, FunctionType, ModuleType

from recbole_mm.compat.patch import AttributePatch, Patch, SourcePatch
from recbole_mm.errors import Failure

RECBOLE_VERSION = "1.2.1"
REMEDY = f"pip install --no-deps recbole=={RECBOLE_VERSION}"


class RecBoleImportError(ModuleNotFoundError, Failure):
    """RecBole is not installed, or in another version; an ImportError, so that `except ImportError` works."""


class PatchingFinder(MetaPathFinder):
    """Finds the modules that have patches, with a loader that applies them."""

    def __init__(self, patches: Sequence[Patch]) -> None:
        self.patches: dict[str, list[Patch]] = {}
        for patch in patches:
            self.patches.setdefault(patch.module, []).append(patch)
        self.active: list[Patch] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec the other finders give, with our loader; None for all but our modules."""
        if fullname != "recbole" and fullname not in self.patches:
            return None
        spec = _find_elsewhere(self, fullname, path, target)
        if fullname == "recbole":
            if spec is None:
                raise RecBoleImportError(f"RecBole is not installed; run: {REMEDY}", name="recbole")
            _check_version(spec)
            return None
        if spec is None:
            return None
        if not isinstance(spec.loader, SourceFileLoader):
            raise Failure(f"compat: {fullname} is not loaded from a source file, so it cannot be patched")
        spec.loader = PatchingLoader(fullname, str(spec.loader.path), self.patches[fullname], self.active)
        return spec

    def patch_loaded(self) -> None:
        """Patches in place the modules that were imported before the hook was there."""
        if (recbole := sys.modules.get("recbole")) and recbole.__spec__:
            _check_version(recbole.__spec__)
        for fullname, patches in self.patches.items():
            module = sys.modules.get(fullname)
            if module is None or not isinstance(module.__loader__, SourceFileLoader):
                continue
            loader = PatchingLoader(fullname, str(module.__loader__.path), patches, self.active)
            _swap_code(module, loader.get_code(fullname))
            loader.finish(module)


class PatchingLoader(SourceFileLoader):
    """Loads a module from its file with those of `patches` it needs; reads and writes no cached bytecode."""

    def __init__(self, fullname: str, path: str, patches: Sequence[Patch], active: list[Patch]) -> None:
        super().__init__(fullname, path)
        self._patches = patches
        self._active = active
        self._rewritten: list[SourcePatch] = []

    def get_code(self, fullname: str) -> CodeType:
        """The code of the changed source; lines keep their numbers, so tracebacks point to the right ones."""
        source = importlib.util.decode_source(self.get_data(self.path))
        self._rewritten = [p for p in self._patches if isinstance(p, SourcePatch) and p.needed()]
        for patch in self._rewritten:
            source = patch.rewrite(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about RecBole's docstrings; cached bytecode would hide them too
            return self.source_to_code(source.encode(), self.path)

    def exec_module(self, module: ModuleType) -> None:
        """Runs the changed code, then the attribute patches."""
        super().exec_module(module)
        self.finish(module)

    def finish(self, module: ModuleType) -> None:
        """What follows the module's own code: names for the changed lines, attribute patches, the record."""
        for rewritten in self._rewritten:
            vars(module).update(rewritten.names)
            self._active.append(rewritten)
        for patch in self._patches:
            if isinstance(patch, AttributePatch) and patch.needed():
                patch.apply(module)
                self._active.append(patch)


def _find_elsewhere(
    own: MetaPathFinder, fullname: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    for finder in sys.meta_path:
        search = getattr(finder, "find_spec", None)
        if finder is not own and search and (spec := search(fullname, path, target)) is not None:
            return spec
    return None


def _check_version(spec: ModuleSpec) -> None:
    """Reads `__version__` off RecBole's __init__ without running it; raises when it is another than ours."""
    loader: Loader | None = spec.loader
    source = loader.get_source(spec.name) if isinstance(loader, SourceFileLoader) else None
    found = None
    for node in ast.parse(source or "").body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__version__" for t in node.targets):
            found = getattr(node.value, "value", None)
    if found != RECBOLE_VERSION:
        place = spec.origin or list(spec.submodule_search_locations or [])
        what = f"RecBole {found} is installed" if found else "what is importable as recbole is not RecBole"
        message = f"{what} ({place}), recbole_mm needs {RECBOLE_VERSION}; run: {REMEDY}"
        raise RecBoleImportError(message, name="recbole")


def _swap_code(module: ModuleType, code: CodeType) -> None:
    """Gives the functions of a loaded module their code in `code`; name and line identify a function."""
    new = {(c.co_name, c.co_firstlineno): c for c in _codes(code)}
    for function in _functions(module):
        key = (function.__code__.co_name, function.__code__.co_firstlineno)
        if key in new:
            function.__code__ = new[key]


def _codes(code: CodeType) -> Iterator[CodeType]:
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield const
            yield from _codes(const)


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    classes = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    for owner in (module, *classes):
        for value in vars(owner).values():
            if isinstance(value, property):
                value = value.fget
            elif isinstance(value, staticmethod | classmethod):
                value = value.__func__
            while isinstance(value, FunctionType) and value.__module__ == module.__name__:
                yield value
                value = getattr(value, "__wrapped__", None)
