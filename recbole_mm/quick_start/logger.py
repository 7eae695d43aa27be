"""Where a run's log lines go: all of them into a file, the ones a person wants onto the console."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, TextIO

from recbole.utils import get_local_time
from tqdm import tqdm

from recbole_mm.errors import WrongUse

VERBOSITIES = ("quiet", "normal", "verbose")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_COLOURS = {logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "31"}


@contextmanager
def init_logger(
    config: Any, *, verbosity: str = "normal", folder: str | os.PathLike[str] = "log"
) -> Iterator[Path]:
    """While open, a run's lines go to the console and to ``<folder>/<Model>/<Model>-<dataset>-<time>-<hash>.log``.

    RecBole and this package both log to the root logger. RecBole's ``logging.basicConfig`` does nothing the second
    time, so a second run would log into the file of the first. Here each run brings handlers and takes them away, and
    touches nobody else's (pytest's, a notebook's). An error leaves its traceback in the file alone.

    Args:
        config: a RecBole configuration; its ``state`` is the level of the file (INFO if None).
        verbosity: on the console, ``quiet``: warnings and errors; ``normal``: and the lines of this package;
            ``verbose``: and RecBole's.
        folder: where log files go.

    Raises:
        WrongUse: an unknown verbosity, or an unknown ``state``.
    """
    if verbosity not in VERBOSITIES:
        raise WrongUse(f"verbosity: {verbosity!r} is not one of {', '.join(VERBOSITIES)}")
    level = logging.getLevelNamesMapping().get((config["state"] or "info").upper())
    if level is None:
        raise WrongUse(
            f"state: {config['state']!r} is no log level; use DEBUG, INFO, WARNING, ERROR or CRITICAL"
        )
    values = "".join(str(value) for value in config.final_config_dict.values())
    digest = hashlib.sha256(values.encode()).hexdigest()[:6]
    stem = f"{config['model']}-{config['dataset']}-{get_local_time()}-{digest}"
    path = _new_file(Path(folder) / config["model"], stem)
    file, root = logging.FileHandler(path, encoding="utf-8"), logging.getLogger()
    file.setFormatter(_PlainFormatter("%(asctime)s %(levelname)s  %(message)s"))
    file.setLevel(level)
    handlers, level_before = [file, _Console(verbosity)], root.level
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(min(level, logging.INFO))
    logging.captureWarnings(True)
    try:
        yield path
    except Exception as error:  # the person gets one line, the file all of it
        trace = (type(error), error, error.__traceback__)
        file.handle(root.makeRecord("recbole_mm", logging.ERROR, "", 0, "the run failed", (), trace))
        raise
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level_before)
        logging.captureWarnings(False)


class _PlainFormatter(logging.Formatter):
    """Without the colour codes that RecBole writes into its messages."""

    def format(self, record: logging.LogRecord) -> str:
        return _ANSI.sub("", super().format(record))


class _ConsoleFormatter(logging.Formatter):
    """The message alone; from warnings on, with its level in front, coloured on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        text = _ANSI.sub("", super().format(record))
        if record.levelno < logging.WARNING:
            return text
        level = record.levelname.lower()
        if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
            level = f"\x1b[{_COLOURS.get(record.levelno, '33')}m{level}\x1b[0m"
        return f"{level}: {text}"


class _Console(logging.Handler):
    """Writes to the standard error of the moment, above a progress bar if there is one."""

    def __init__(self, verbosity: str) -> None:
        super().__init__(logging.WARNING if verbosity == "quiet" else logging.INFO)
        self.setFormatter(_ConsoleFormatter())
        if verbosity != "verbose":
            self.addFilter(_for_a_person)

    def emit(self, record: logging.LogRecord) -> None:
        stream: TextIO = sys.stderr
        with suppress(OSError):  # nobody reads it any more: the file has the line, and the run goes on
            tqdm.write(self.format(record), file=stream)
            stream.flush()


def _for_a_person(record: logging.LogRecord) -> bool:
    """Our own lines, and what is serious; Python warnings of libraries are for the file."""
    if record.name == "py.warnings":
        return False
    return record.levelno >= logging.WARNING or record.name.split(".")[0] == "recbole_mm"


def _new_file(folder: Path, stem: str) -> Path:
    """Creates a file that no other run has: two may start within a second."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        path = folder / (f"{stem}.log" if number == 1 else f"{stem}-{number}.log")
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        return path
    raise AssertionError("unreachable: count() does not end")
