"""The arguments that several commands have in common, each declared and read in one place."""

from __future__ import annotations

import argparse
import shlex
import sys


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """``--dataset`` and ``--config_files``."""
    parser.add_argument(
        "--dataset", "-d", help="its name below data_path, or its folder; ml-100k is built in"
    )
    parser.add_argument("--config_files", default="", help="yaml files, separated by spaces")


def verbosity_of(args: argparse.Namespace) -> str:
    """What ``--quiet`` and ``--verbose`` ask of `init_logger`."""
    return "quiet" if args.quiet else "verbose" if args.verbose else "normal"


def words(text: str | None) -> list[str]:
    """The words of a list that is separated by commas; blank ones are none."""
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def command_line() -> str:
    """The command that runs, as one would type it."""
    return shlex.join(["recbole-mm", *sys.argv[1:]])
