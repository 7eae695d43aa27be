"""Each patch: the untouched RecBole still fails without it, and works with it. When one fails: drop that patch."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recbole_mm.compat import ALL_PATCHES, SourcePatch
from recbole_mm.errors import Failure

PROBES = Path(__file__).with_name("probes.py")
PROBED = re.findall(r'^@probe\("(.+)"\)', PROBES.read_text(), re.M)
# the same line as a probed patch in models that cannot be built in a line; test_source_is_upstream looks at it
LIKE_PROBED = {f"torch-load-{model}" for model in ("convncf", "ract", "kd_dagfm", "s3rec")}
SOURCE_PATCHES = [patch for patch in ALL_PATCHES if isinstance(patch, SourcePatch)]


def installed(name: str) -> bool:
    library = name.split("-", 1)[0]
    return library not in ("ray", "torchvision", "hyperopt") or importlib.util.find_spec(library) is not None


def outcome(program: Callable[..., str], *arguments: str) -> Any:
    return json.loads(program(str(PROBES), *arguments).splitlines()[-1])


@pytest.fixture(scope="module")
def untouched(program: Callable[..., str]) -> Any:
    return outcome(program)


@pytest.fixture(scope="module")
def patched(program: Callable[..., str]) -> Any:
    return outcome(program, "patched")


def test_each_patch_has_a_probe() -> None:
    names = [patch.name for patch in ALL_PATCHES]
    assert len(set(names)) == len(names)
    assert set(names) == set(PROBED) | LIKE_PROBED


@pytest.mark.parametrize("name", PROBED)
def test_still_needed(untouched: Any, name: str) -> None:
    if not installed(name):
        pytest.skip(f"{name.split('-')[0]} is not installed")
    assert untouched["errors"][name], f"RecBole works without the patch {name}: drop it"


@pytest.mark.parametrize("name", PROBED)
def test_works_when_patched(patched: Any, name: str) -> None:
    if not installed(name):
        pytest.skip(f"{name.split('-')[0]} is not installed")
    assert patched["errors"][name] == ""
    assert name in patched["active"]


@pytest.mark.parametrize("patch", SOURCE_PATCHES, ids=lambda patch: patch.name)
def test_source_is_upstream(patch: SourcePatch) -> None:
    """The lines a patch names hold the text it replaces, and it changes no other line."""
    recbole = importlib.util.find_spec("recbole")
    assert recbole is not None and recbole.origin is not None
    file, _, numbers = patch.upstream.partition(":")
    lines = (Path(recbole.origin).parent / file).read_text(encoding="utf-8").splitlines()
    named = {int(number) for number in numbers.split(",")}
    changed = patch.rewrite("\n".join(lines) + "\n").splitlines()
    assert len(changed) == len(lines)
    assert {i for i, (old, new) in enumerate(zip(lines, changed, strict=True), 1) if old != new} == named
    assert patch.module == "recbole." + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert patch.needed()


def test_another_source_is_refused() -> None:
    with pytest.raises(Failure, match=r"--no-deps recbole==1\.2\.1"):
        SOURCE_PATCHES[0].rewrite("pass\n")
