"""Progress of many runs: a line at each start and end, in between the latest epoch; it never stands still."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from recbole_mm.report.text import duration

EVERY = 20.0  # seconds between two lines where the output is no terminal


class Pulse(logging.Handler):
    """Shows the runs of a plan: a live bar on a terminal, otherwise now and then a plain line.

    Args:
        names: the label of every run to come, in order.
        known: seconds that runs of a label took earlier.
    """

    def __init__(self, names: Sequence[str], known: dict[str, list[float]]) -> None:
        super().__init__(logging.INFO)
        self.names, self.seconds = list(names), known
        self.at, self.current = 0, ""
        self.console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        columns = (
            SpinnerColumn(),
            MofNCompleteColumn(),
            BarColumn(12),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
        )
        self.bar = Progress(
            *columns, console=self.console, transient=True, disable=not self.console.is_terminal
        )
        self.task = self.bar.add_task("", total=len(self.names))
        self.log = logging.getLogger("recbole_mm.trainer")
        self.began = self.spoke = time.monotonic()

    def __enter__(self) -> Pulse:
        self.before = self.log.level
        self.log.setLevel(logging.INFO)  # for this handler; those of the root have levels of their own
        self.log.addHandler(self)
        self.bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.stop()
        self.log.removeHandler(self)
        self.log.setLevel(self.before)

    def start(self, title: str) -> None:
        """A run begins."""
        self.current, self.began = title, time.monotonic()
        self.bar.update(self.task, description=title)
        self.say(f"[{self.at + 1}/{len(self.names)}] {title} ...")

    def end(self, outcome: str) -> None:
        """The run has ended; ``outcome`` is said with its time and an estimate for what is left."""
        took = time.monotonic() - self.began
        self.seconds.setdefault(self.names[self.at], []).append(took)
        self.at += 1
        self.bar.update(self.task, completed=self.at)
        left = f"; about {duration(self.left())} left" if self.at < len(self.names) else ""
        self.say(f"[{self.at}/{len(self.names)}] {self.current}: {outcome}, {duration(took)}{left}")

    def left(self) -> float:
        """Seconds that the remaining runs will take: as earlier ones of the same label, else as the mean run."""
        every = [s for seconds in self.seconds.values() for s in seconds]
        mean = sum(every) / len(every) if every else 0.0
        of = {name: sum(seconds) / len(seconds) for name, seconds in self.seconds.items() if seconds}
        return sum(of.get(name, mean) for name in self.names[self.at :])

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self.console.print(line, markup=False)
        self.spoke = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """A line of the trainer: into the bar, or printed if the last line is long ago."""
        line = record.getMessage()
        if record.levelno > logging.INFO:
            return  # a warning has its own way to the console
        if self.console.is_terminal:
            self.bar.update(self.task, description=f"{self.current}: {line}")
        elif time.monotonic() - self.spoke >= EVERY:
            self.say(f"    {self.current}: {line}")
