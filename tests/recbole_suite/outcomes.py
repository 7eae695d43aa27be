"""A pytest plugin: enters a mode before RecBole's tests are collected and writes each outcome as a line of JSON.

A test that has an outcome in the file is not run again, so a session goes on where another stopped.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from modes import MODES, enter

STARTED = "started"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("recbole suite")
    group.addoption("--recbole-mode", choices=MODES, required=True)
    group.addoption("--outcomes", type=Path, required=True, help="the file of JSON lines")
    group.addoption("--test-seconds", type=int, default=900, help="the time limit of a test")
    group.addoption("--most-gigabytes", type=float, default=3.0, help="the session stops when it holds more")


def pytest_configure(config: pytest.Config) -> None:
    enter(config.getoption("recbole_mode"))


def read_outcomes(file: Path) -> dict[str, dict[str, Any]]:
    """The last line about each test."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return {row["test"]: row for row in map(json.loads, lines)}


def write_outcome(file: Path, **row: Any) -> None:
    """Adds a line; at once, since the process may be killed."""
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(row) + "\n")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    done = read_outcomes(config.getoption("outcomes"))
    items[:] = [item for item in items if item.nodeid not in done]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    seconds = item.config.getoption("test_seconds")

    def late(*_: Any) -> None:
        pytest.fail(f"not done after {seconds} s")  # no Exception, which a test may catch

    write_outcome(item.config.getoption("outcomes"), test=item.nodeid, outcome=STARTED)
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call" or report.outcome != "passed":
        message = str(call.excinfo.value) if call.excinfo else ""
        row = {"outcome": report.outcome, "seconds": round(report.duration, 1), "message": message[:2000]}
        write_outcome(item.config.getoption("outcomes"), test=item.nodeid, **row)
    return report


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    if psutil.Process().memory_info().rss > item.config.getoption("most_gigabytes") * 2**30:
        item.session.shouldstop = "much memory in use; the next session goes on"
