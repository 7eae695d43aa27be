"""numpy 2 dropped the names that RecBole sets and reads."""

from __future__ import annotations

from types import ModuleType

from recbole_mm.compat.patch import AttributePatch, Patch

# the names RecBole wants, and what numpy 2 calls them
ALIASES = {
    "bool": "bool_", "int": "int_", "float": "float64", "complex": "complex128", "object": "object_", "str": "str_",
    "long": "int_", "unicode": "str_",
}  # fmt: skip


def set_missing_aliases() -> None:
    """Gives numpy those of RecBole's names that it lacks; what numpy has is left as it is."""
    import numpy as np

    for old, new in ALIASES.items():
        # hasattr(np, "int") warns or raises: numpy has a module __getattr__ for the names it removed
        if old not in np.__dict__:
            setattr(np, old, getattr(np, new))


def _needed() -> bool:
    import numpy as np

    return not all(name in np.__dict__ for name in ALIASES)


def _replace_settings(module: ModuleType) -> None:
    def compatibility_settings(self: object) -> None:
        set_missing_aliases()

    module.Config.compatibility_settings = compatibility_settings
    set_missing_aliases()  # a subclass of Config may not call the method


PATCHES: list[Patch] = [
    AttributePatch(
        "numpy-aliases",
        "numpy",
        "recbole.config.configurator",
        "np.float_, np.complex_ and np.unicode_ left numpy 2, so Config() raises; only missing names are set",
        "config/configurator.py:625-635",
        "Config.compatibility_settings no longer reads np.float_",
        needed=_needed,
        apply=_replace_settings,
    )
]
