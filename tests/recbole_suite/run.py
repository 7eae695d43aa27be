"""RecBole's own tests, unchanged, in both modes, against the outcomes that are expected of them.

``make test-recbole-suite RECBOLE_SRC=path``; the tree is read only, what the tests write goes to ``--out``. Stopped
and called again it goes on where it stopped; ``--again NAME`` forgets the outcomes of tests whose name holds NAME.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
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
    modes = given.mode or MODES
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
    kept = [
        row for row in read_outcomes(outcomes).values() if row["outcome"] != STARTED
    ]  # interrupted: run again
    outcomes.unlink(missing_ok=True)
    for row in kept:
        if not any(name in row["test"] for name in again):
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
    command = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        file,
        "-p",
        "outcomes",
        "-c",
        "pytest.ini",
        "--rootdir=.",
    ]
    command += [
        "--tb=line",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--recbole-mode={mode}",
        f"--outcomes={outcomes}",
    ]
    while True:
        before = read_outcomes(outcomes)
        with (folder / "log.txt").open("a") as log:
            code = subprocess.run(command, cwd=folder, env=env, stdout=log, stderr=log).returncode
        after = read_outcomes(outcomes)
        for test, row in after.items():
            if row["outcome"] == STARTED:
                write_outcome(
                    outcomes, test=test, outcome="crashed", message=f"the process ended with {code}"
                )
        if len(after) == len(before):
            if code not in (0, 5):  # 5: no test is left
                raise SystemExit(f"{file} ({mode}): pytest ended with {code}; see {folder / 'log.txt'}")
            return
        print(f"{file} ({mode}): {len(after) - len(before)} tests", flush=True)


def expected_of(test: str, mode: str, entries: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """(the outcome, a piece of its message) that is expected of a test."""
    entry = entries.get(test, {})
    if library := entry.get("needs"):
        return ("passed", "") if importlib.util.find_spec(library) else ("failed", library)
    return entry.get(mode, "passed"), entry.get("message", "") if mode in entry else ""


def report(out: Path, modes: list[str] | tuple[str, ...], files: list[str]) -> int:
    """Prints a line for each file and for each outcome that is another than expected."""
    entries = {entry["test"]: entry for entry in yaml.safe_load(EXPECTED.read_text()) or []}
    by_mode = {mode: read_outcomes(out / mode / "outcomes.jsonl") for mode in modes}
    asked = {Path(file).name for file in files}
    surprises = []
    for file in files:
        counts = []
        for mode, outcomes in by_mode.items():
            rows = {
                t: row for t, row in outcomes.items() if Path(t.partition("::")[0]).name == Path(file).name
            }
            for test in sorted(rows.keys() | {t for t in entries if f"{Path(file).name}::" in t}):
                row = rows.get(test, {"outcome": "not run", "message": ""})
                outcome, piece = expected_of(test, mode, entries)
                if row["outcome"] != outcome or piece not in row.get("message", ""):
                    said = row.get("message", "").partition("\n")[0][:160]
                    surprises.append(f"{test} ({mode}): {row['outcome']}, expected {outcome} {piece} {said}")
            counts.append(
                f"{mode} {sum(row['outcome'] == 'passed' for row in rows.values())} of {len(rows)} pass"
            )
        print(f"{file}: {', '.join(counts)}")
    print("\n".join(surprises) or f"all as expected ({len(asked)} files)")
    return 1 if surprises else 0


if __name__ == "__main__":
    raise SystemExit(main())
