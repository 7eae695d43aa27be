"""The log of a run: a file of its own with everything, a console with what a person wants."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest

from recbole_mm.errors import WrongUse
from recbole_mm.quick_start.logger import init_logger


class Settings:
    """What `init_logger` reads of a RecBole Config."""

    def __init__(self, **values: Any):
        self.final_config_dict = {"model": "BPR", "dataset": "toy", "state": "INFO", **values}

    def __getitem__(self, key: str) -> Any:
        return self.final_config_dict.get(key)


def say() -> None:
    logging.getLogger().info("\x1b[1;34mRecBole\x1b[0m says")
    logging.getLogger("recbole_mm.trainer").info("ours says")
    logging.getLogger().warning("careful")


def test_each_run_has_its_own_file_and_all_lines(tmp_path: Path) -> None:
    before = logging.getLogger().handlers[:]
    with init_logger(Settings(), folder=tmp_path) as first:
        say()
    with init_logger(Settings(), folder=tmp_path) as second:
        logging.getLogger().info("second")
    assert first != second and first.parent == tmp_path / "BPR"
    assert first.name.startswith("BPR-toy-")
    lines = first.read_text().splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == ["RecBole says", "ours says", "careful"]
    assert second.read_text().count("\n") == 1
    assert logging.getLogger().handlers == before


def test_a_log_inside_another_leaves_the_outer_one_as_it_was(tmp_path: Path) -> None:
    with init_logger(Settings(), folder=tmp_path) as outer:
        with init_logger(Settings(), folder=tmp_path) as inner:
            logging.getLogger().info("for both")
        logging.getLogger().info("for the outer")
    assert [len(log.read_text().splitlines()) for log in (outer, inner)] == [2, 1]


@pytest.mark.parametrize(
    ("verbosity", "expected"),
    [
        ("quiet", ["warning: careful"]),
        ("normal", ["ours says", "warning: careful"]),
        ("verbose", ["RecBole says", "ours says", "warning: careful"]),
    ],
)
def test_verbosity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verbosity: str, expected: list[str]
) -> None:
    with init_logger(Settings(), verbosity=verbosity, folder=tmp_path):
        say()
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines() == expected  # no colour codes: not a terminal


def test_wrong_levels_are_told(tmp_path: Path) -> None:
    with (
        pytest.raises(WrongUse, match="verbosity"),
        init_logger(Settings(), verbosity="loud", folder=tmp_path),
    ):
        pass
    with pytest.raises(WrongUse, match="state"), init_logger(Settings(state="chatty"), folder=tmp_path):
        pass


def test_a_failure_leaves_its_traceback_in_the_file_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError), init_logger(Settings(), folder=tmp_path) as log:
        raise RuntimeError("of old age")
    assert "Traceback" in log.read_text() and "of old age" in log.read_text()
    assert "Traceback" not in capsys.readouterr().err


def test_warnings_of_libraries_are_for_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with init_logger(Settings(), folder=tmp_path) as log:
        warnings.warn("an old name", UserWarning, stacklevel=1)
    assert "an old name" in log.read_text()
    assert "an old name" not in capsys.readouterr().err
