"""Who may import whom (house.md): a room imports from lower floors only, and the whole has no circle.

The one exception is `quick_start/doctor.py`, which reports what `compat` has patched.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "recbole_mm"
FLOORS = {
    **{
        "layer": 1,
        "modality": 1,
        "run": 1,
        "model": 2,
        "data": 2,
        "convert": 2,
        "extract": 2,
        "config": 3,
        "evaluator": 3,
    },
    **{"trainer": 4, "report": 4, "quick_start": 5, "cli": 6, "testing": 6, "__main__": 7},
}
#: below all floors; they import none of the rooms
GROUND = {"errors", "files", "serialize"}


def imports() -> Iterator[tuple[Path, str, str]]:
    """(file, its room, the room it imports)."""
    for file in PACKAGE.rglob("*.py"):
        room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: write absolute imports"
                names = [node.module or ""]
            for name in names:
                if name.startswith("recbole_mm."):
                    yield file, room, name.split(".")[1]


def test_rooms_import_from_lower_floors_only() -> None:
    wrong = []
    for file, room, other in imports():
        if (
            other in GROUND
            or other == room
            or room == "__init__"
            or (room, other) == ("quick_start", "compat")
        ):
            continue
        if room in GROUND or room == "compat" or FLOORS[room] <= FLOORS[other]:
            wrong.append(f"{file.relative_to(PACKAGE)} imports {other}")
    assert not wrong


def test_every_room_has_a_floor() -> None:
    rooms = {
        p.name.removesuffix(".py")
        for p in PACKAGE.iterdir()
        if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert rooms - {"__init__", "compat"} == set(FLOORS) | GROUND


def test_the_lowest_rooms_know_neither_recbole_nor_torch() -> None:
    for room in ("modality", "convert"):
        for file in (PACKAGE / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not {n.split(".")[0] for n in names} & {"recbole", "torch"}, file
