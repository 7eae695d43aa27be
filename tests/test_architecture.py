"""Who may import whom (house.md): a room imports from lower floors only, and no files import each other in a circle.

The exceptions are named one by one, and each must still be there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "recbole_mm"
FLOORS = {
    **dict.fromkeys(["layer", "modality", "run"], 1),
    **dict.fromkeys(["model", "data", "convert", "extract"], 2),
    **dict.fromkeys(["config", "evaluator"], 3),
    **dict.fromkeys(["trainer", "report", "serve", "plug"], 4),
    **{"quick_start": 5, "cli": 6, "testing": 6, "__main__": 7},
}
#: below all floors; they import none of the rooms
GROUND = {"atomic", "errors", "files", "serialize"}
#: (file, what it imports from a room that it may not): the import hook, and the report on what it patched
ALLOWED = {
    ("__init__.py", "recbole_mm.compat"),
    ("quick_start/doctor.py", "recbole_mm.compat"),
}
#: rooms that load neither RecBole nor torch, so that they serve without them
LIGHT = ("modality", "convert", "run")
LINES, FUNCTION_LINES = 300, 60


def nodes(file: Path) -> list[ast.AST]:
    """Everything in a file."""
    return _parsed(file.read_text(encoding="utf-8"))


@cache
def _parsed(text: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(text)))


def imports(package: Path) -> Iterator[tuple[Path, str]]:
    """(file, module of the package that it imports), imports inside functions and for types included."""
    for file in sorted(package.rglob("*.py")):
        if "properties" in file.relative_to(package).parts:  # not ours to import
            continue
        for node in nodes(file):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: write absolute imports"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                if name.startswith(f"{package.name}.") and (module := _module(package, name)):
                    yield file, module


def _module(package: Path, name: str) -> str | None:
    """The longest part of a dotted name that is a file or a folder; None where only the package itself is."""
    parts = name.split(".")
    for end in range(len(parts), 1, -1):
        path = package.parent.joinpath(*parts[:end])
        if path.with_suffix(".py").is_file() or path.is_dir():
            return ".".join(parts[:end])
    return None


def wrong_floors(package: Path) -> set[tuple[str, str]]:
    """(file, imported module) where the module is of the same floor in another room, or of a higher one."""
    found = set()
    for file, name in imports(package):
        room, other = (
            file.relative_to(package).parts[0].removesuffix(".py"),
            name.split(".")[1],
        )
        if other == room or other in GROUND:
            continue
        if room in GROUND or other not in FLOORS or FLOORS.get(room, 0) <= FLOORS[other]:
            found.add((file.relative_to(package).as_posix(), name))
    return found


def circle(package: Path) -> list[str]:
    """Files that import each other in a circle, [] where none do; imports for types alone count too."""
    files = {file.relative_to(package.parent) for file in package.rglob("*.py")}
    graph: dict[str, set[str]] = {".".join(file.with_suffix("").parts): set() for file in files}
    for file, name in set(imports(package)):
        own = ".".join(file.relative_to(package.parent).with_suffix("").parts)
        target = name if name in graph else f"{name}.__init__"
        if own != target and not _only_for_types(file, name):
            graph[own].add(target)
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def _only_for_types(file: Path, name: str) -> bool:
    """Whether every import of ``name`` in the file stands under ``if TYPE_CHECKING``."""
    guarded = {
        id(inner)
        for node in nodes(file)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    own = [n for n in nodes(file) if isinstance(n, ast.ImportFrom) and n.module == name]
    return bool(own) and all(id(node) in guarded for node in own)


def test_rooms_import_from_lower_floors_only() -> None:
    assert wrong_floors(PACKAGE) == ALLOWED


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle(PACKAGE) == []


def test_every_room_has_a_floor() -> None:
    rooms = {
        p.name.removesuffix(".py")
        for p in PACKAGE.iterdir()
        if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert rooms - {"__init__", "compat", "properties"} == set(FLOORS) | GROUND


@pytest.mark.parametrize("room", LIGHT)
def test_light_rooms_know_neither_recbole_nor_torch(room: str) -> None:
    for file in (PACKAGE / room).rglob("*.py"):
        for node in nodes(file):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {n.split(".")[0] for n in names} & {"recbole", "torch"}, file


def test_files_and_functions_are_short() -> None:
    long = []
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if text.count("\n") > LINES:
            long.append(f"{file.relative_to(PACKAGE)}: {text.count(chr(10))} lines")
        for node in nodes(file):
            if (
                isinstance(node, ast.FunctionDef)
                and (length := node.end_lineno - node.lineno + 1) > FUNCTION_LINES
            ):  # type: ignore[operator]
                long.append(f"{file.relative_to(PACKAGE)}: {node.name} has {length} lines")
    assert long == []


@pytest.mark.parametrize(
    ("file", "line", "seen"),
    [
        ("layer/loss.py", "from recbole_mm.model.base import TripletRecommender", "floor"),
        ("model/cmc.py", "from recbole_mm.data import create_dataset", "floor"),
        ("model/cmc.py", "from recbole_mm import data", "floor"),
        ("config/check.py", "from recbole_mm.compat import RECBOLE_VERSION", "floor"),
        ("errors.py", "from recbole_mm.layer import loss", "floor"),
        ("run/spec.py", "from recbole_mm.run.folder import RunFolder", "circle"),
        ("evaluator/query.py", "from recbole_mm.evaluator.evaluator import Evaluator", "circle"),
    ],
)
def test_a_wrong_import_is_seen(tmp_path: Path, file: str, line: str, seen: str) -> None:
    copy = tmp_path / "recbole_mm"
    for source in PACKAGE.rglob("*.py"):
        if "properties" in source.relative_to(PACKAGE).parts:
            continue
        target = copy / source.relative_to(PACKAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    assert wrong_floors(copy) == ALLOWED and circle(copy) == []
    with (copy / file).open("a") as stream:
        stream.write(f"{line}\n")
    if seen == "floor":
        (wrong,) = wrong_floors(copy) - ALLOWED
        assert wrong[0] == file
    else:
        assert f"recbole_mm.{file.removesuffix('.py').replace('/', '.')}" in circle(copy)
