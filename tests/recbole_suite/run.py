"""RecBole's own tests, unchanged, in both modes, against the outcomes that are expected of them.

``make test-recbole-suite RECBOLE_SRC=path``; the tree is read only, what the tests write goes to ``--out``. Stopped
and called again it goes on where it stopped; ``--again NAME`` forgets the outcomes of tests whose name holds NAME.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from modes import MODES
from outcomes import STARTED, read_outcomes, write_outcome

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EXPECTED = HERE / "expected.yaml"
EXAMPLES = "examples.py"
HOW = """\
RECBOLE_SRC is the source tree of RecBole 1.2.1 with its tests, which the wheel leaves out:
  git clone --depth 1 --branch v1.2.1 https://github.com/RUCAIBox/RecBole /somewhere/RecBole
  make test-recbole-suite RECBOLE_SRC=/somewhere/RecBole"""
ENDED = (0, 1, 5)  # pytest's codes after the last test: all passed, some failed, none was left
ROOMS = ("data", "metrics", "config", "evaluation_setting", "hyper_tuning", "model")
COPIED = ("tests", "run_example", "docs/source/developer_guide", "docs/source/user_guide/usage")
SCRIPTS = ("run_recbole.py", "run_recbole_group.py", "run_hyper.py", "significance_test.py", "hyper.test")


def main() -> int:
    """Runs what has no outcome yet and compares; 0 when all is as expected, 1 when not, 2 without a tree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", nargs="?", type=Path, help="RecBole's source tree")
    parser.add_argument("--out", type=Path, default=ROOT / "results/recbole_suite")
    parser.add_argument("--mode", choices=MODES, action="append", help="one mode alone")
    parser.add_argument("--only", default="", help="files whose name holds this")
    parser.add_argument(
        "--again", metavar="NAME", action="append", help="run these tests again; '' means all"
    )
    parser.add_argument("--test-seconds", type=int, default=1800, help="the time limit of a test")
    given = parser.parse_args()
    if given.source is None or not (given.source / "tests/model/test_model_auto.py").is_file():
        print(HOW, file=sys.stderr)
        return 2
    given.out, modes = given.out.resolve(), given.mode or MODES
    for mode in modes:
        prepare(given.source, given.out / mode, given.again or [])
    files = [file for file in test_files(given.source) if given.only in file]
    for file in files:
        for mode in modes:
            run_file(file, mode, given.out / mode, given.test_seconds)
    return report(given.out, modes, files)


def prepare(source: Path, folder: Path, again: list[str]) -> None:
    """A folder with what of RecBole's tree is run, without RecBole itself: the installed one is asked."""
    for name in COPIED:
        if not (folder / name).exists():
            shutil.copytree(source / name, folder / name)
    for name in SCRIPTS:
        shutil.copy(source / name, folder / name)
    shutil.copy(HERE / EXAMPLES, folder / EXAMPLES)
    (folder / "pytest.ini").write_text("[pytest]\n")
    outcomes = folder / "outcomes.jsonl"
    before = read_outcomes(outcomes)
    outcomes.unlink(missing_ok=True)
    for test, row in before.items():
        interrupted = row["outcome"] == STARTED
        if not interrupted and not any(name in test for name in again):
            write_outcome(outcomes, **row)


def test_files(source: Path) -> list[str]:
    """The files of RecBole's tests as seen from its tree, and ours with the examples of its documentation."""
    found = [file for room in ROOMS for file in sorted((source / "tests" / room).glob("test_*.py"))]
    return [*(str(file.relative_to(source)) for file in found), EXAMPLES]


def run_file(file: str, mode: str, folder: Path, seconds: int) -> None:
    """Sessions of pytest until each test of the file has an outcome; a test that ends its process has `crashed`."""
    outcomes = folder / "outcomes.jsonl"
    paths = [str(HERE), str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "RECBOLE_SUITE_MODE": mode}
    words = f"-P -m pytest {file} -p outcomes -c pytest.ini --rootdir=. -p no:cacheprovider -q --tb=line"
    words += f" --recbole-mode={mode} --test-seconds={seconds}"
    command = [sys.executable, *words.split(), f"--outcomes={outcomes}"]
    before = read_outcomes(outcomes)
    while True:
        with (folder / "log.txt").open("a") as log:
            code = subprocess.run(command, cwd=folder, env=env, stdout=log, stderr=log).returncode
        after = read_outcomes(outcomes)
        print(f"{file} ({mode}): {len(after) - len(before)} tests", flush=True)
        if code in ENDED:
            return
        for test, row in after.items():
            if row["outcome"] == STARTED:
                write_outcome(
                    outcomes, test=test, outcome="crashed", message=f"the process ended with {code}"
                )
        if len(after) == len(before):
            raise SystemExit(f"{file} ({mode}): pytest ended with {code}; see {folder / 'log.txt'}")
        before = after


@cache
def imports(library: str) -> bool:
    """Whether a library imports; one that was built for another torch is there and does not."""
    try:
        import_module(library)
    except Exception:
        return False
    return True


def expected_of(entry: dict[str, Any], mode: str) -> tuple[str, str]:
    """(the outcome, a piece of its message) that is expected of a test with this entry in the list."""
    if library := entry.get("needs"):
        return ("passed", "") if imports(library) else ("failed", library)
    return (entry[mode], entry["message"]) if mode in entry else ("passed", "")


def report(out: Path, modes: Sequence[str], files: list[str]) -> int:
    """Prints a line for each class of tests and for each outcome that is another than expected."""
    entries = {entry["test"]: entry for entry in yaml.safe_load(EXPECTED.read_text())}
    by_mode = {mode: read_outcomes(out / mode / "outcomes.jsonl") for mode in modes}
    tests = sorted({test for test in set().union(*by_mode.values()) if test.partition("::")[0] in files})
    passed, surprises = defaultdict(Counter), []
    for test in tests:
        room = passed[test.rpartition("::")[0]]
        room["tests"] += 1
        for mode, outcomes in by_mode.items():
            row = outcomes.get(test, {"outcome": "not run", "message": ""})
            room[mode] += row["outcome"] == "passed"
            outcome, piece = expected_of(entries.get(test, {}), mode)
            if row["outcome"] != outcome or piece not in row["message"]:
                said = row["message"].partition("\n")[0][:160]
                surprises.append(f"{test} ({mode}): {row['outcome']}, expected {outcome} {piece}; {said}")
    for room, counts in passed.items():
        print(f"{room}: {', '.join(f'{mode} {counts[mode]}' for mode in modes)} of {counts['tests']} pass")
    print("\n".join(surprises) or f"all as expected: {len(tests)} tests, {len(modes)} modes")
    return 1 if surprises else 0


if __name__ == "__main__":
    raise SystemExit(main())
