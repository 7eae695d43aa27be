"""``recbole-mm``: the sub-commands, what goes wrong as one line, the exit code (0 done, 1 failure, 2 wrong use)."""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from recbole_mm import __version__
from recbole_mm.errors import Failure, WrongUse, suggest

#: sub-command -> module with HELP, add_arguments(parser), main(args) -> int
COMMANDS = {
    "run": "recbole_mm.quick_start.run",
    "compare": "recbole_mm.quick_start.compare",
    "tune": "recbole_mm.quick_start.tune",
    "models": "recbole_mm.quick_start.models",
    "keys": "recbole_mm.quick_start.keys",
    "store": "recbole_mm.modality.command",
    "convert": "recbole_mm.convert.command",
    "extract": "recbole_mm.extract.command",
    "doctor": "recbole_mm.quick_start.doctor",
}
#: those that take any configuration key as --key=value
TAKE_KEYS = {"run", "compare", "tune"}


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
    if args[0] != "run":  # which has a word of its own for it
        args = [word for word in args if word != "--verbose"]
    try:
        return _dispatch(args[0], args[1:])
    except WrongUse as error:
        return _say(error, 2, verbose)
    except KeyboardInterrupt as error:
        # the trainer says where it stopped and how to go on
        print(f"\ninterrupted{': ' if str(error) else ''}{error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # its reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _say(error, 1, verbose)


def _dispatch(name: str, rest: list[str]) -> int:
    if name not in COMMANDS:
        raise WrongUse(f"no command {name!r}{suggest(name, COMMANDS)}")
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
        traceback.print_exception(error)
    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, (WrongUse, Failure)):
        text = f"{type(error).__name__}: {text} (--verbose shows where)"
    print(f"error: {text}", file=sys.stderr)
    return code


def _usage() -> str:
    """The commands, each with its own line; read as text, for importing them all takes seconds."""
    lines = [f"  {name:<9}{_help_of(module)}" for name, module in COMMANDS.items()]
    return "\n".join(
        [
            "usage: recbole-mm COMMAND …   (recbole-mm COMMAND --help for its arguments)",
            "",
            *lines,
            "",
            "  --verbose  with any command: show where an error arose",
        ]
    )


def _help_of(module: str) -> str:
    file = Path(__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
    line = next(line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("HELP = "))
    return str(ast.literal_eval(line.removeprefix("HELP = ")))
