"""``python -m recbole_mm`` is ``recbole-mm``."""

from recbole_mm.cli import main

raise SystemExit(main())
