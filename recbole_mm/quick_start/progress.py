"""Progress of many runs: a line at each start and end, in between the latest epoch; it never stands still."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
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
from recbole_mm.trainer import Callback, epoch_line

EVERY = 20.0  # seconds between two lines where the output is no terminal


class RunsProgress(Callback):
    """Shows the runs of a plan: a live bar on a terminal, otherwise now and then a plain line.

    Args:
        names: the label of every run to come, in order.
        known: seconds that runs of a label took earlier.
    """

    def __init__(self, names: Sequence[str], known: Mapping[str, Sequence[float]]) -> None:
        self.names = list(names)
        self.seconds = {name: list(seconds) for name, seconds in known.items() if seconds}
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
        self.began = self.spoke = time.monotonic()

    def __enter__(self) -> RunsProgress:
        self.bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.stop()

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
        of = {name: sum(seconds) / len(seconds) for name, seconds in self.seconds.items()}
        return sum(of.get(name, mean) for name in self.names[self.at :])

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        try:
            self.console.print(line, markup=False)
        except (BrokenPipeError, SystemExit):
            # rich ends the program where its reader, such as `head`, has gone; the runs go on
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        self.spoke = time.monotonic()

    def on_run_start(self, trainer: Any) -> None:
        """Take what the line of an epoch needs."""
        self.trainer = trainer

    def on_epoch_end(self, record: dict[str, Any]) -> None:
        """The epoch goes into the bar, or is printed if the last line is long ago."""
        line = f"{self.current}: {epoch_line(record, self.trainer.epochs, self.trainer.valid_metric)}"
        if self.console.is_terminal:
            self.bar.update(self.task, description=line)
        elif time.monotonic() - self.spoke >= EVERY:
            self.say(f"    {line}")
