"""Writing so that nothing is ever half there: a temporary file beside the target, then a rename.

And paths: as a person writes them, and where our yamls lie.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from recbole_mm.errors import Failure, WrongUse

_HOME = re.compile(r"((?:[^~]*=)?)(~[^/=]*/)")
#: a full disk, a quota, a limit on the size of a file
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LEAVE = {errno.EACCES, errno.EPERM, errno.EROFS}


def at_home(value: Any) -> Any:
    """``value`` with ``~/`` at the start of a text, or behind ``=``, as the folder it means; through lists and dicts.

    A shell leaves it alone in ``--key=~/x``, and a yaml always does.
    """
    if isinstance(value, dict):
        return {key: at_home(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(at_home(each) for each in value)
    found = _HOME.match(value) if isinstance(value, str) else None
    return found[1] + os.path.expanduser(found[2]) + value[found.end() :] if found else value


def dataset_folder(name: str, root: object = None) -> tuple[str, str | None]:
    """The name of a data set, and the folder around its own where ``name`` is a path to that (below ``root``, or not).

    Raises ``WrongUse`` on a path to no folder.
    """
    if os.sep not in name:
        return name, None
    for path in (Path(str(root or "")) / name, Path(name).expanduser()):
        if path.is_dir():
            place = path.resolve() if path.name in ("", "..") else path
            return place.name, str(place.parent)
    raise WrongUse(f"no data set '{name}': there is no folder of that path; name a data set or its folder")


def sha256(path: str | os.PathLike[str]) -> str:
    """Of a file's content."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def told_place(path: str | os.PathLike[str]) -> Iterator[None]:
    """While ``path`` is written: no room or no right to it is a ``Failure`` that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            todo = "make room there, then go on or start again"
        elif error.errno in _NO_LEAVE and Path(str(error.filename)).parent == Path(path).parent:
            todo = "give another place, or the right to write there"
        else:
            raise
        raise Failure(f"{path} cannot be written: {os.strerror(error.errno)}; {todo}") from error


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to write; it takes the place of ``path`` if the block succeeds, else it is removed."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with told_place(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` (UTF-8) to ``path``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def remove_litter(path: str | os.PathLike[str]) -> None:
    """Remove what a killed process left of its writing to ``path``."""
    for temporary in Path(path).parent.glob(f".{glob.escape(Path(path).name)}.*.tmp"):
        temporary.unlink(missing_ok=True)


def check_target(option: str, path: str | os.PathLike[str]) -> None:
    """Raise ``WrongUse`` where no file can be written at ``path``, which ``option`` names; before long work."""
    place = Path(path).expanduser().absolute()
    if place.is_dir():
        raise WrongUse(f"{option}: {path} is a folder; name a file")
    check_folder(option, place.parent)


def check_folder(option: str, path: str | os.PathLike[str]) -> None:
    """Raise ``WrongUse`` where no file can be written into the folder ``path``, which may have to be made."""
    place = Path(path).expanduser().absolute()
    there = next(each for each in (place, *place.parents) if each.exists())
    if not there.is_dir():
        raise WrongUse(f"{option}: {there} is a file, so nothing can be written below it")
    if not os.access(there, os.W_OK):
        raise WrongUse(f"{option}: {there} cannot be written to")


def append_line(path: str | os.PathLike[str], value: Any) -> None:
    """Add ``value`` as a line of JSON and bring it to the disk; a line that a kill cut off is ended first."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    with told_place(file), file.open("ab+") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(json.dumps(value, default=str).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_lines(path: str | os.PathLike[str]) -> list[Any]:
    """The values of the lines; none where there is no file, and those that a kill cut off are passed over."""
    found = []
    for line in Path(path).read_text(encoding="utf-8").splitlines() if Path(path).is_file() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


@cache
def properties_dir() -> Path:
    """The folder of our yamls: the package ``recbole_mm.properties``, or ``properties/`` of a checkout."""
    try:
        import_module("recbole_mm.properties")
        folder = Path(str(files("recbole_mm.properties")))
    except ModuleNotFoundError:
        folder = Path(__file__).resolve().parents[1] / "properties"
    if not (folder / "overall.yaml").is_file():
        raise Failure(f"recbole_mm's properties are missing at {folder}: install the package again")
    return folder
