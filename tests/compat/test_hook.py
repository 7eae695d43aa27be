from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import recbole_mm
from recbole_mm.compat import active_patches, install_hook
from recbole_mm.compat.hook import PatchingFinder, RecBoleImportError
from recbole_mm.compat.patch import AttributePatch, SourcePatch

BAN_RECBOLE = """
import importlib.abc, sys
class NoRecBole(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        return None
sys.path = [p for p in sys.path if "site-packages" not in p]
"""


def source_patch(**more: object) -> SourcePatch:
    words = dict.fromkeys(("library", "why", "upstream", "drop_when"), "-")
    return SourcePatch(name="p", module="victim", **(words | more))  # type: ignore[arg-type]


@pytest.fixture
def victim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module `victim` that can be imported."""
    path = tmp_path / "victim.py"
    path.write_text(
        "import functools\n\n\ndef answer():\n    return 1\n\n\n"
        "class Thing:\n    @property\n    def one(self):\n        return answer() + 1\n\n"
        "    @staticmethod\n    def fail():\n        raise KeyError('here')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "victim", raising=False)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield path
    sys.modules.pop("victim", None)


def test_second_install_does_nothing() -> None:
    before = list(sys.meta_path)
    install_hook()
    assert sys.meta_path == before


def test_import_is_light(program: Callable[..., str]) -> None:
    heavy = "{'torch', 'numpy', 'pandas', 'scipy', 'recbole', 'ray', 'torchvision', 'transformers'}"
    assert program("-c", f"import sys, recbole_mm; print({heavy} & set(sys.modules))").strip() == "set()"


def test_source_is_changed_in_memory_only(victim: Path) -> None:
    text = victim.read_text()
    finder = PatchingFinder([source_patch(old="return 1\n", new="return two()\n", names={"two": lambda: 2})])
    sys.meta_path.insert(0, finder)
    import victim as module  # type: ignore[import-not-found]

    assert module.answer() == 2 and module.Thing().one == 3
    assert victim.read_text() == text
    assert [patch.name for patch in finder.active] == ["p"]


def test_traceback_points_to_the_line(victim: Path) -> None:
    sys.meta_path.insert(0, PatchingFinder([source_patch(old="return 1", new="return 2")]))
    import victim as module

    with pytest.raises(KeyError) as caught:
        module.Thing.fail()
    assert "raise KeyError('here')" in str(caught.traceback[-1].statement)


def test_module_imported_before(victim: Path) -> None:
    """Objects that others hold already change too."""
    import victim as module

    answer, thing = module.answer, module.Thing()
    finder = PatchingFinder(
        [
            source_patch(old="return 1\n", new="return 2\n"),
            source_patch(old="answer() + 1", new="answer() + 2"),
            AttributePatch("a", "-", "victim", "-", "-", "-", apply=lambda m: setattr(m, "late", True)),
        ]
    )
    finder.patch_loaded()
    assert answer() == 2 and thing.one == 4 and module.late and module.answer is answer


def test_needless_patch_is_left_out(victim: Path) -> None:
    finder = PatchingFinder([source_patch(old="return 1", new="return 2", needed=lambda: False)])
    sys.meta_path.insert(0, finder)
    import victim as module

    assert module.answer() == 1 and finder.active == []


def test_recbole_imported_first(program: Callable[..., str]) -> None:
    pytest.importorskip("ray.tune")
    script = (
        "import sys; sys.argv = ['x']; import recbole.quick_start, recbole.trainer, recbole.data.dataset;"
        "from recbole.utils import get_flops;"
        "old = get_flops;"
        "from recbole.config import Config; import recbole_mm, recbole.utils;"
        "print(Config(model='BPR', dataset='ml-100k')['model'], recbole.utils.get_flops is get_flops is not old);"
        "print(*sorted(patch.name for patch in recbole_mm.compat.active_patches()))"
    )
    first, names = program("-c", script).splitlines()
    assert first == "BPR True"
    assert {"pandas-agg-dataset", "torch-save", "ray-report", "numpy-aliases"} <= set(names.split())


def test_recbole_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = PatchingFinder([])
    monkeypatch.setattr(sys, "meta_path", [finder])
    with pytest.raises(
        RecBoleImportError, match=r"^RecBole is not installed; run: pip install --no-deps recbole==1.2.1$"
    ):
        finder.find_spec("recbole")
    assert issubclass(RecBoleImportError, ModuleNotFoundError)


@pytest.mark.parametrize("init", ['__version__ = "1.1.1"\n', "", None])
def test_recbole_of_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, init: str | None
) -> None:
    (tmp_path / "recbole").mkdir()
    if init is not None:
        (tmp_path / "recbole" / "__init__.py").write_text(init)
        monkeypatch.syspath_prepend(str(tmp_path))
    else:  # a folder named recbole in the working directory
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(
        RecBoleImportError, match=r"needs 1\.2\.1; run: pip install --no-deps recbole==1\.2\.1$"
    ):
        PatchingFinder([]).find_spec("recbole")


def test_active_patches_is_a_copy() -> None:
    active_patches().clear()
    assert recbole_mm.compat.active_patches() == active_patches()
