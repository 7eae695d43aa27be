"""The errors a person sees as one line: what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class WrongUse(ValueError):
    """The command, the configuration or a file given to us is wrong (exit code 2)."""


class Failure(RuntimeError):
    """The request was right but could not be carried out (exit code 1)."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training; `checkpoint` is the file to resume from, None where a run can only start over."""

    def __init__(self, message: str, checkpoint: str | None = None):
        super().__init__(message)
        self.checkpoint = checkpoint


def suggest(word: object, known: Iterable[object], *, cutoff: float = 0.6, listed: bool = True) -> str:
    """What to write in the place of an unknown ``word``, to be put behind a message.

    ``; did you mean 'x'?`` (capitals, ``-`` and ``_`` count as equal), else ``; there are a, b, c`` if ``listed``,
    else nothing.
    """
    ordered = sorted(known, key=str) if isinstance(known, (set, frozenset)) else known
    names = {_folded(name): str(name) for name in ordered}
    close = get_close_matches(_folded(word), names, n=1, cutoff=cutoff)
    if close:
        return f"; did you mean '{names[close[0]]}'?"
    shown = [*list(names.values())[:12], *(["…"] if len(names) > 12 else [])]
    return f"; there are {', '.join(shown)}" if listed and shown else ""


def count(number: object, thing: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{number} {thing}{'s' * (number != 1)}"


def one_line(error: BaseException) -> str:
    """What an error says on one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def _folded(word: object) -> str:
    return str(word).lower().replace("-", "_")
