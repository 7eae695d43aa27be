"""The two ways in which a program that RecBole's users wrote meets recbole_mm.

``python modes.py MODE script.py words …`` runs a script in one of them.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

MODES = ("hook", "registered")


def enter(mode: str) -> None:
    """``hook``: ``import recbole_mm`` alone; ``registered``: ``recbole_mm.register()`` too."""
    import recbole_mm

    if mode == "registered":
        recbole_mm.register()


if __name__ == "__main__":
    chosen, sys.argv = sys.argv[1], sys.argv[2:]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    enter(chosen)
    runpy.run_path(sys.argv[0], run_name="__main__")
