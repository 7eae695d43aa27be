"""``recbole-mm report``: a comparison, or some runs, as one HTML page; the records of many as a leaderboard."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_mm.errors import Failure, WrongUse, count, one_line
from recbole_mm.files import write_text
from recbole_mm.quick_start.preset import load_preset, preset_names
from recbole_mm.quick_start.showcase import showcase_of
from recbole_mm.report.leaderboard import leaderboard
from recbole_mm.report.modality import gains
from recbole_mm.report.page import curves, page
from recbole_mm.report.paired import PairedTest, equal_rows, paired_tests
from recbole_mm.report.plot import write_gains
from recbole_mm.run.comparison import FILE, At, Comparison, Plan, Row, read_plan
from recbole_mm.run.folder import SPEC, RunFolder
from recbole_mm.run.question import OneQuestion, Question

PAGE, CURVES, RESULT = "report.html", "curves.html", "result.json"
COLUMNS = 3  # of the metrics of a run, where no comparison names those of a table
#: what a record of a comparison holds at least
_HELD = frozenset(["preset", "dataset", "metrics", "rows", "tests", "evaluation"])
BOARD = "zoo"  # how the presets begin whose tables the leaderboard shows before anything of them is run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``recbole-mm report``."""
    parser.add_argument(
        "folders", nargs="+", metavar="FOLDER", help="of a comparison, or of one or more runs"
    )
    parser.add_argument("--out", metavar="FILE", help=f"the page (default: {PAGE} in the first folder)")
    parser.add_argument(
        "--leaderboard",
        metavar="FILE",
        help=f"write every table of the records */{RESULT} in the folders as Markdown, with what is missing",
    )
    parser.add_argument(
        "--modality",
        metavar="FILE",
        help="draw what each model of these records has over its controls (ids, shuffled features) as an HTML page",
    )


def main(args: argparse.Namespace) -> int:
    """Write the page and say where it is."""
    first = Path(args.folders[0])
    if args.leaderboard or args.modality:
        if args.out:
            raise WrongUse(
                "--out: it names the page of a comparison; --leaderboard and --modality name their own file"
            )
        records = _records(args.folders)
        if args.leaderboard:
            _write_leaderboard(args.folders, records, Path(args.leaderboard))
        if args.modality:
            _write_modality(records, Path(args.modality))
        return 0
    if (first / FILE).is_file() and len(args.folders) == 1:
        plan, runs, errors = read_plan(first)
    else:
        if whole := [folder for folder in args.folders if (Path(folder) / FILE).is_file()]:
            raise WrongUse(f"{whole[0]} is a comparison: give it alone, or runs")
        plan, runs, errors = *plan_of_runs(args.folders), {}
    comparison = Comparison.of(plan, {at: run.result() for at, run in runs.items()}, errors)
    tests, notes = paired_tests(comparison)
    out = Path(args.out) if args.out else (first if first.is_dir() else first.parent) / PAGE
    write_page(out, comparison, tests, [*notes, *equal_rows(comparison)], runs)
    print(f"{os.path.relpath(out)}: {out.stat().st_size / 1e6:.1f} MB, open it in a browser")
    return 0


def _records(folders: Sequence[str]) -> dict[str, Any]:
    """Of each comparison its ``result.json``, by the name of its folder."""
    records: dict[str, Any] = {}
    for file in (file for folder in folders for file in sorted(Path(folder).glob(f"*/{RESULT}"))):
        name = file.parent.name
        if name in records:
            raise WrongUse(f"{file}: there is another record called {name}; rename one of the two folders")
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise Failure(f"{file}: the record cannot be read ({error}); copy it again") from error
        if not isinstance(record, dict) or not record.keys() >= _HELD:
            raise Failure(f"{file}: no record of a comparison; copy its {RESULT} again")
        records[name] = record
    if not records:
        raise WrongUse(
            f"{', '.join(folders)}: no record */{RESULT} there; copy {RESULT} of a comparison into a folder of "
            "its own there"
        )
    return records


def _write_modality(records: Mapping[str, Any], out: Path) -> None:
    gained = gains(records)
    if not len(gained):
        raise WrongUse("--modality: these records hold no controls; recbole-mm compare --controls makes them")
    write_gains(gained, out)
    print(f"{os.path.relpath(out)}: {len(gained)} controls")


def _write_leaderboard(folders: Sequence[str], records: Mapping[str, Any], out: Path) -> None:
    presets = {}
    for name in preset_names():
        if name.startswith(BOARD):
            preset = load_preset([name])
            labels = [entry.get("label", entry["model"]) for entry in preset.rows]
            for dataset in dict.fromkeys([preset.dataset, *preset.datasets]):
                presets[name, str(dataset)] = labels
    command = f"recbole-mm report {' '.join(folders)} --leaderboard {out}"
    write_text(out, leaderboard(records, presets, command))
    print(f"{os.path.relpath(out)}: {count(len(records), 'record')}")


def write_page(
    out: Path,
    comparison: Comparison,
    tests: Sequence[PairedTest],
    notes: Sequence[str],
    runs: Mapping[At, RunFolder],
) -> None:
    """Write the page of a comparison, with the lists and the map of the first seed of each row."""
    showcases: dict[str, Any] = {}
    notes = list(notes)
    for row in comparison.main_rows:
        folder = next((runs[row.label, seed] for seed in sorted(row.runs) if (row.label, seed) in runs), None)
        if folder is None:
            continue
        try:
            showcase = showcase_of(folder)
            why = "its weights were not kept"
        except Exception as error:  # data gone, a model of somebody's own: the figures are there all the same
            showcase, why = None, one_line(error)
        if showcase is None:
            notes.append(f"{row.label}: no lists and no map, for {why}.")
            getLogger("recbole_mm.run").warning("%s", notes[-1])
        else:
            showcases[row.label] = showcase
    write_text(out, page(comparison, tests, notes, showcases))


def write_curves(folder: RunFolder) -> None:
    """Write ``curves.html`` into the folder of a finished run."""
    plan, runs = plan_of_runs([str(folder.path)], tested=False)
    comparison = Comparison.of(plan, {at: run.result() for at, run in runs.items()}, {})
    write_text(folder.path / CURVES, curves(comparison))


def plan_of_runs(folders: Sequence[str], tested: bool = True) -> tuple[Plan, dict[At, RunFolder]]:
    """Finished runs as the rows of a table; ``tested``: they have a test metric to show.

    Raises:
        WrongUse: a folder is no finished run, the runs are of several data sets, or are asked different things.
    """
    for given in folders:
        if Path(given).is_dir() and not (Path(given) / SPEC).is_file():
            raise WrongUse(f"{given}: no {FILE} and no run there; recbole-mm compare makes one")
    opened = [RunFolder.open(folder) for folder in folders]
    records = [folder.result().record for folder in opened]
    datasets = {record["dataset"] for record in records}
    if len(datasets) > 1:
        raise WrongUse(
            f"these runs are of several data sets: {', '.join(sorted(datasets))}; give those of one"
        )
    one = OneQuestion()
    rows: dict[str, Row] = {}
    runs: dict[At, RunFolder] = {}
    for folder, record in zip(opened, records, strict=True):
        label, seed = _label(record, rows, runs), record["seed"]
        one.check(label, Question.read(record))
        rows[label] = Row(label, record["model"], record.get("config") or {})
        runs[label, seed] = folder
    shared = set.intersection(*(set(record.get("test_result") or {}) for record in records))
    columns = [name for name in records[0].get("test_result") or {} if name in shared][:COLUMNS]
    if tested and not columns:
        raise WrongUse(f"{folders[0]}: these runs have no test metric in common; there is nothing to show")
    seeds = list(dict.fromkeys(record["seed"] for record in records))
    common = {"versions": records[0].get("versions") or {}}
    return Plan(list(rows.values()), columns, records[0]["dataset"], seeds, common=common), runs


def _label(record: Mapping[str, Any], rows: Mapping[str, Row], runs: Mapping[At, RunFolder]) -> str:
    """The model's name; runs of the same settings are the seeds of one row, of others rows with a number."""
    settings, number = record.get("config") or {}, 1
    plain = {key: value for key, value in settings.items() if key != "seed"}
    while True:
        label = record["model"] if number == 1 else f"{record['model']} {number}"
        row = rows.get(label)
        same = row is not None and {k: v for k, v in row.settings.items() if k != "seed"} == plain
        if row is None or (same and (label, record["seed"]) not in runs):
            return label
        number += 1
