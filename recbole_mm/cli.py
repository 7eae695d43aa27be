"""``recbole-mm``: the sub-commands, what goes wrong as one line, the exit code (0 done, 1 failure, 2 wrong use)."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import logging
import sys
from collections.abc import Sequence
from importlib import import_module

from recbole_mm import __version__
from recbole_mm.errors import Failure, WrongUse

#: sub-command -> module with HELP, add_arguments(parser), main(args) -> int
COMMANDS = {
    "run": "recbole_mm.quick_start.run",
    "compare": "recbole_mm.quick_start.compare",
    "tune": "recbole_mm.quick_start.tune",
    "store": "recbole_mm.modality.command",
    "convert": "recbole_mm.convert.command",
    "extract": "recbole_mm.extract.command",
    "doctor": "recbole_mm.quick_start.doctor",
}
#: those that take any configuration key as --key=value
TAKE_KEYS = {"run", "compare", "tune"}

_SUMMARY = {
    "run": "train and evaluate one model",
    "compare": "several models on the same split with the same budget, as a table",
    "tune": "search settings on validation",
    "store": "build, show and verify modality stores",
    "convert": "raw data to atomic files",
    "extract": "texts and images to modality stores",
    "doctor": "versions, active patches, what is usable",
}


def main(argv: Sequence[str] | None = None, run_by_default: bool = False) -> int:
    """Run a sub-command.

    Args:
        argv: the arguments; None for the program's own.
        run_by_default: without a sub-command's name, take the arguments as those of ``run`` (RecBole's habit).
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if run_by_default and (not args or args[0] not in COMMANDS):
        args = ["run", *args]
    if not args or args[0] in ("-h", "--help"):
        print(_usage())
        return 0 if args else 2
    if args[0] == "--version":
        print(__version__)
        return 0
    verbose = "--verbose" in args or "-v" in args
    try:
        return _dispatch(args[0], args[1:])
    except WrongUse as error:
        return _say(error, 2, verbose)
    except KeyboardInterrupt as error:
        # the trainer says where it stopped and how to go on
        print(f"\ninterrupted{': ' if str(error) else ''}{error}", file=sys.stderr)
        return 1
    except Exception as error:
        return _say(error, 1, verbose)


def _dispatch(name: str, rest: list[str]) -> int:
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise WrongUse(f"no command {name!r}{hint} (there are {', '.join(COMMANDS)})")
    module = import_module(COMMANDS[name])
    parser = argparse.ArgumentParser(prog=f"recbole-mm {name}", description=module.HELP, allow_abbrev=False)
    module.add_arguments(parser)
    args = _parse(parser, rest, keys=name in TAKE_KEYS)
    return 0 if args is None else module.main(args)


def _parse(parser: argparse.ArgumentParser, rest: list[str], keys: bool) -> argparse.Namespace | None:
    """The arguments; what argparse does not know goes to ``overrides`` if ``keys``. None after ``--help``."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            args, overrides = parser.parse_known_args(rest) if keys else (parser.parse_args(rest), [])
    except SystemExit as stop:
        if not stop.code:
            return None
        # argparse prints its whole usage first
        line = said.getvalue().strip().splitlines()[-1]
        raise WrongUse(f"{line.partition('error: ')[2] or line} ({parser.prog} --help)") from None
    args.overrides = overrides
    return args


def _say(error: BaseException, code: int, verbose: bool) -> int:
    if verbose:
        logging.getLogger("recbole_mm").error("failed", exc_info=error)
    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, (WrongUse, Failure)):
        text = f"{type(error).__name__}: {text} (--verbose shows where)"
    print(f"error: {text}", file=sys.stderr)
    return code


def _usage() -> str:
    lines = [f"  {name:<9}{_SUMMARY[name]}" for name in COMMANDS]
    return "\n".join(
        ["usage: recbole-mm COMMAND …   (recbole-mm COMMAND --help for its arguments)", "", *lines]
    )
