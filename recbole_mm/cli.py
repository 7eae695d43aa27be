"""``recbole-mm``: the sub-commands, what goes wrong as one line, the exit code (0 done, 1 failure, 2 wrong use)."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from recbole_mm import __version__
from recbole_mm.errors import Failure, WrongUse, one_line, suggest
from recbole_mm.files import at_home

#: sub-command -> (module with add_arguments(parser) and main(args) -> int, what it does)
COMMANDS = {
    "run": ("quick_start.run", "train and evaluate one model"),
    "compare": ("quick_start.compare", "several models on the same split with the same budget, as a table"),
    "pretrain": ("quick_start.pretrain", "vectors of items and users from a pre-training, for any model"),
    "tune": ("quick_start.tune", "search settings of one model on validation"),
    "report": ("quick_start.report", "a comparison, or some runs, as one HTML page"),
    "store": ("modality.command", "build, show and verify stores of modality vectors"),
    "convert": ("convert.command", "raw data to atomic files and items.parquet"),
    "extract": ("extract.command", "texts and images of items, or reviews, to stores of vectors"),
    "check": (
        "quick_start.check",
        "ties, repeated pairs, cold items and vectors of a data set, before a table",
    ),
    "recommend": ("quick_start.recommend", "what a trained model recommends, to users or by a history"),
    "similar": ("quick_start.look", "the items nearest to an item, by a trained model's own vectors"),
    "explain": (
        "quick_start.look",
        "what a score is the sum of: id, modalities, domains, items of the history",
    ),
    "export": (
        "quick_start.export",
        "vectors, a faiss index, the item tower as ONNX and weights of a trained model",
    ),
    "models": ("quick_start.listing", "the models there are, with one line each"),
    "keys": ("quick_start.listing", "the configuration keys, with default and one line each"),
    "doctor": ("quick_start.doctor", "versions, active patches, and whether a GPU and the extras are usable"),
}
#: those that take any configuration key as --key=value
TAKE_KEYS = {"run", "compare", "pretrain", "tune", "check"}
KEYS = "Any configuration key is an option, too: --key=value, such as --epochs=10; recbole-mm keys MODEL lists them. "
VERBOSE = "--verbose, -v: print where an error arose; run also prints everything RecBole logs"


def main(argv: Sequence[str] | None = None, run_by_default: bool = False) -> int:
    """Run a sub-command.

    Args:
        argv: the arguments; None for the program's own.
        run_by_default: without a sub-command's name, take the arguments as those of ``run`` (RecBole's habit).
    """
    _open_streams()
    args = at_home(list(sys.argv[1:] if argv is None else argv))
    if run_by_default and (not args or args[0] not in COMMANDS):
        args = ["run", *args]
    rest = [arg for arg in args[1:] if arg not in ("--verbose", "-v")]
    verbose = len(rest) < len(args) - 1
    try:
        if not args or args[0] in ("-h", "--help", "--version"):
            print(__version__ if args[:1] == ["--version"] else _usage(), flush=True)
            return 0 if args else 2
        code = _dispatch(args[0], rest, verbose)
        sys.stdout.flush()  # now: when Python ends, it would be an error of its own
        return code
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


def _dispatch(name: str, rest: list[str], verbose: bool) -> int:
    if name not in COMMANDS:
        raise WrongUse(f"no command {name!r}{suggest(name, COMMANDS)}")
    path, summary = COMMANDS[name]
    module = import_module(f"recbole_mm.{path}")
    epilog = KEYS * (name in TAKE_KEYS) + VERBOSE
    parser = _Parser(prog=f"recbole-mm {name}", description=summary, epilog=epilog, allow_abbrev=False)
    parser.set_defaults(command=name, verbose=verbose)
    module.add_arguments(parser)
    args = _parse(parser, rest, keys=name in TAKE_KEYS)
    return 0 if args is None else module.main(args)


class _Once(argparse.Action):
    """An option that is given twice is an error where its values differ: argparse would take the last."""

    given: Any = None

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        if option and self.given is not None and self.given != values:
            parser.error(f"{option} is given twice, as {self.given!r} and {values!r}")
        self.given = values
        setattr(namespace, self.dest, values)


class _Parser(argparse.ArgumentParser):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name in (None, "store"):
            self.register("action", name, _Once)


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


def _open_streams() -> None:
    """A closed output is one that nobody reads; a letter that its encoding lacks is a ``?`` there and no error."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (for as long as it runs)
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def _say(error: BaseException, code: int, verbose: bool) -> int:
    if verbose:
        traceback.print_exception(error)
    text = one_line(error)
    if isinstance(error, PermissionError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}; start where you may write, or ask for the right to it"
    elif not isinstance(error, (WrongUse, Failure)):
        text = f"{type(error).__name__}: {text} (--verbose shows where)"
    print(f"error: {text}", file=sys.stderr)
    return code


def _usage() -> str:
    lines = [f"  {name:<10}{summary}" for name, (_, summary) in COMMANDS.items()]
    usage = "usage: recbole-mm COMMAND …   (recbole-mm COMMAND --help for its arguments)"
    return "\n".join([usage, "", *lines, "", VERBOSE])
