"""What a patch is: two kinds, both guarded, both in memory only.

A `SourcePatch` changes exact text of one RecBole module while that module is loaded; an `AttributePatch` runs
once after a module has been loaded and replaces something in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from recbole_mm.errors import Failure


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Patch:
    """One difference between what RecBole 1.2.1 expects of a library and what the library does today.

    The library may be RecBole itself: one part of it expects what another does not do.

    `module` is loaded when the patch is applied; `needed` asks the installed libraries whether to apply it.
    """

    name: str
    library: str
    module: str
    why: str
    upstream: str
    drop_when: str
    needed: Callable[[], bool] = field(default=_always, kw_only=True)

    def as_dict(self) -> dict[str, str]:
        """The words of the patch, for `doctor --json`."""
        words = ("name", "library", "module", "why", "upstream", "drop_when")
        return {word: getattr(self, word) for word in words}


@dataclass(frozen=True)
class SourcePatch(Patch):
    """Replaces `old` by `new`, `count` times, in the source of `module`; the number of lines stays the same.

    `names` are put into the module's namespace, so that `new` can call them.
    """

    old: str = field(kw_only=True)
    new: str = field(kw_only=True)
    count: int = field(default=1, kw_only=True)
    names: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    def rewrite(self, source: str) -> str:
        """The patched source; `Failure` when RecBole's text is not the one this patch was written for."""
        found = source.count(self.old)
        if found != self.count or self.old.count("\n") != self.new.count("\n"):
            raise Failure(
                f"compat patch {self.name}: {self.old.strip()!r} is in {self.module} {found} times, "
                f"not {self.count}: this is not the released RecBole 1.2.1; run: "
                "pip install --force-reinstall --no-deps recbole==1.2.1"
            )
        return source.replace(self.old, self.new)


def source_patches(
    library: str, why: str, drop_when: str, needed: Callable[[], bool] = _always
) -> Callable[..., SourcePatch]:
    """A maker of patches for one reason: ``make(name, module, lines, old, new, count=1, **names)``.

    `lines` are the numbers of the changed lines in the file of RecBole's `module`.
    """

    def make(
        name: str, module: str, lines: str, old: str, new: str, count: int = 1, **names: Any
    ) -> SourcePatch:
        upstream = f"{module.removeprefix('recbole.').replace('.', '/')}.py:{lines}"
        change: dict[str, Any] = {"old": old, "new": new, "count": count, "names": names}
        return SourcePatch(name, library, module, why, upstream, drop_when, needed=needed, **change)

    return make


@dataclass(frozen=True)
class AttributePatch(Patch):
    """Calls `apply(module)` once, after `module` has been loaded."""

    apply: Callable[[ModuleType], None] = field(kw_only=True)
