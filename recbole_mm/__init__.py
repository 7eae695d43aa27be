"""recbole_mm: multimodal and cross-domain recommendation on unmodified RecBole.

Importing this package imports neither RecBole nor torch. It installs a hook that makes RecBole 1.2.1 work on
current libraries as soon as RecBole itself is imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from recbole_mm.compat import install_hook

__version__ = "0.1.0"
__all__ = ["Session", "__version__", "register", "run_recbole_mm"]

install_hook()

_LAZY = {
    "Session": "recbole_mm.quick_start.session",
    "register": "recbole_mm.quick_start.register",
    "run_recbole_mm": "recbole_mm.quick_start.run",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
