"""Several models on the same split with the same budget, over several seeds, as one honest table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from logging import getLogger
from pathlib import Path

from recbole_mm.config.properties import file_list
from recbole_mm.config.values import parse_cli
from recbole_mm.errors import WrongUse
from recbole_mm.files import write_text
from recbole_mm.quick_start.arguments import add_data_arguments, command_line, words
from recbole_mm.quick_start.controls import CONTROLS, control_rows
from recbole_mm.quick_start.fingerprint import versions
from recbole_mm.quick_start.plan import Request, plan_runs, results_folder
from recbole_mm.quick_start.preset import Settings, preset_names, rows_of
from recbole_mm.quick_start.record import add_search
from recbole_mm.quick_start.report import CURVES, PAGE, RESULT, write_page
from recbole_mm.quick_start.runs import run_all
from recbole_mm.quick_start.search.method import Method, add_method_arguments, method_of
from recbole_mm.quick_start.search.rows import tuned_rows
from recbole_mm.report.latex import latex
from recbole_mm.report.page import curves
from recbole_mm.report.paired import equal_rows, paired_tests
from recbole_mm.report.plain import document, frame
from recbole_mm.report.plot import write_missing
from recbole_mm.report.table import markdown, on_terminal
from recbole_mm.run.comparison import At, Comparison, Plan, Row, read_plan, write_plan
from recbole_mm.run.folder import RunFolder
from recbole_mm.run.metric import check_columns
from recbole_mm.run.question import OneQuestion
from recbole_mm.serialize import readable

FIRST_SEED = 2020
FOLDER = "results/{preset}-{dataset}"


def compare(
    models: Sequence[str] | None = None,
    dataset: str | None = None,
    seeds: int | Sequence[int] | None = None,
    *,
    metrics: Sequence[str] | None = None,
    presets: Sequence[str] = (),
    out: str | Path | None = None,
    controls: Sequence[str] = (),
    missing: Sequence[float] = (),
    config_files: Sequence[str] = (),
    config_dict: Settings | None = None,
    fresh: bool = False,
    add: bool = False,
    command: str | None = None,
    show: Callable[[str], object] | None = None,
    tune: int | None = None,
    method: Method | None = None,
) -> Comparison:
    """Run every row under every seed, write tables, result.json and the page, return the comparison.

    Args:
        models: names of models or of the preset's rows; None for all rows of the preset.
        dataset: its name; None for the preset's.
        seeds: how many (2020, 2021, ...), or the seeds themselves: initialisation, order and negatives.
        metrics: columns of the table; the first is the headline.
        presets: names or yaml files, later ones over earlier ones.
        out: folder of the results; finished runs in it are taken from there, interrupted ones go on.
        controls, missing: of every row that reads features, too: ids, shuffled, noise; shares of features to mask.
        config_files, config_dict: settings for all rows; the second over everything but a row's own switches.
        fresh: run again what is finished.
        add: keep the rows and seeds of the comparison in ``out`` beside these.
        command, show: the command line, for the record; what the report for a terminal is handed to.
        tune, method: search each row first: trials, on validation under the first seed, and how.

    Raises:
        WrongUse: a row could not even be configured; nothing has been run then.
        OtherQuestion: a row is asked something else than the first; there is no table then.
    """
    if "seed" in (config_dict or {}):
        raise WrongUse("--seed is what a comparison varies: give --seeds 3 or --seeds 2020,2021")
    request = Request.read(presets, dataset, config_files, config_dict, out, FOLDER)
    folder, rows = request.folder, rows_of(request.preset, models)
    columns = check_columns(metrics or request.preset.metrics)
    numbers = seed_list(request.preset.seeds if seeds is None else seeds)
    if tune is not None:
        rows = tuned_rows(request, rows, columns, tune, numbers[0], method or Method(), fresh)
    rows += control_rows(rows, controls, missing, request.settings)
    before = read_plan(folder)[0] if add else None
    kept, numbers, reference = ([], numbers, None) if before is None else _kept(before, rows, numbers)
    plan, runs = plan_runs(request, rows, numbers, columns, kept, reference)
    _say_replaced([] if before is None else before.rows, plan.rows)
    plan = replace(plan, common={**plan.common, "versions": versions(), "command": command})
    done, errors = run_all(runs, folder, fresh, OneQuestion())
    folders = {at: run for at, (run, _) in done.items()}
    _note_searches(rows, folders)
    write_plan(folder, plan, folders, errors)
    comparison = Comparison.of(plan, {at: result for at, (_, result) in done.items()}, errors)
    write_results(comparison, folder, folders, show)
    return comparison


def _note_searches(rows: Sequence[Row], runs: Mapping[At, RunFolder]) -> None:
    """Write into the records of a row's runs how its settings were found."""
    searched = {row.label: row.search for row in rows if row.search}
    for (label, _), run in runs.items():
        if label in searched:
            add_search(run, searched[label] or {})


def _kept(
    before: Plan, rows: Sequence[Row], numbers: Sequence[int]
) -> tuple[list[Row], list[int], str | None]:
    """The rows of an earlier comparison beside ``rows``, its seeds with ``numbers``, its reference."""
    kept = [row for row in before.rows if row.label not in {each.label for each in rows}]
    return kept, list(dict.fromkeys([*before.seeds, *numbers])), before.reference


def _say_replaced(before: Sequence[Row], rows: Sequence[Row]) -> None:
    """Warn of each row that was there under other settings."""
    known = {row.label: row.settings for row in before}
    for row in rows:
        old, new = known.get(row.label, row.settings), readable(row.settings)
        changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
        if row.label in known and changed:
            listed = ", ".join(f"{key} {old.get(key)!r} -> {new.get(key)!r}" for key in changed)
            getLogger("recbole_mm.run").warning(
                "--add: row '%s' was there with other settings: %s", row.label, listed
            )


def write_results(
    comparison: Comparison,
    folder: Path,
    runs: Mapping[At, RunFolder],
    show: Callable[[str], object] | None = None,
) -> None:
    """Write table.md, table.csv, table.tex, result.json, figures where there is something to draw, and the page.

    ``show`` is called with the report for a terminal.
    """
    tests, notes = paired_tests(comparison)
    notes += equal_rows(comparison)
    table = folder / "table.md"
    write_text(table, markdown(comparison, tests, notes))
    write_text(folder / "table.csv", frame(comparison, tests).to_csv(index=False))
    write_text(folder / "table.tex", latex(comparison, tests))
    text = json.dumps(document(comparison, tests, notes), indent=1, default=str)
    write_text(folder / RESULT, text + "\n")
    write_missing(comparison, folder)
    write_text(folder / CURVES, curves(comparison))
    write_page(folder / PAGE, comparison, tests, notes, runs)
    if show is not None:
        show(on_terminal(comparison, tests, notes, str(table)))


def seed_list(seeds: int | Sequence[int]) -> list[int]:
    """``3`` as 2020, 2021, 2022; a list as it is. Raises ``WrongUse`` on none or on one twice."""
    numbers = (
        list(range(FIRST_SEED, FIRST_SEED + seeds)) if isinstance(seeds, int) else [int(s) for s in seeds]
    )
    if not numbers or len(set(numbers)) < len(numbers):
        raise WrongUse(f"--seeds: expected a count from 1 on or different seeds, got {seeds}")
    return numbers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``recbole-mm compare``; every other ``--key=value`` is a setting of all rows."""
    parser.add_argument("--models", default="", help="comma-separated: models, or rows of the preset")
    add_data_arguments(parser)
    parser.add_argument("--seeds", help="how many (default 3), or a list: 2020,2021")
    parser.add_argument("--preset", nargs="+", default=[], help=f"{', '.join(preset_names())}, or yaml files")
    parser.add_argument(
        "--metrics", help="columns, the first is the headline: ndcg@10,recall@10,gauc,sampled-9/ndcg@10"
    )
    every = ",".join(CONTROLS)
    parser.add_argument(
        "--controls", nargs="?", const=every, help=f"add rows without content: {every} (default: all)"
    )
    parser.add_argument("--missing", help="shares of features to mask: 0,.3,.6,.9")
    parser.add_argument("--out", help="folder of the results (default: results/<preset>-<dataset>)")
    parser.add_argument("--fresh", action="store_true", help="run again what is finished there")
    parser.add_argument(
        "--add", action="store_true", help="keep the rows and seeds that are there beside these"
    )
    parser.add_argument("--tune", type=int, metavar="N", help="search each row first, N trials on validation")
    add_method_arguments(parser.add_argument_group("of --tune"))


def main(args: argparse.Namespace) -> int:
    """Compare, print the table and where it lies; 1 if a run failed."""
    out = Path(args.out) if args.out else None
    method = method_of(args)
    if args.tune is None and method != Method():
        raise WrongUse("--engine, --searcher, --scheduler and what belongs to them go with --tune N")
    if args.tune is not None and args.tune < 1:
        raise WrongUse(f"--tune: expected a number of trials from 1 on, got {args.tune}")
    comparison = compare(
        words(args.models),
        args.dataset,
        _seeds(args.seeds),
        metrics=words(args.metrics),
        presets=args.preset,
        out=out,
        controls=words(args.controls),
        missing=_shares(args.missing),
        config_files=file_list(args.config_files),
        config_dict=parse_cli(args.overrides)[0],
        fresh=args.fresh,
        add=args.add,
        command=command_line(),
        show=lambda text: print(f"\n{text}"),
        tune=args.tune,
        method=method,
    )
    folder = results_folder(out, FOLDER, comparison.preset, comparison.dataset)
    figures = sorted(path.name for path in folder.glob("*.html") if path.name != PAGE)
    print(f"wrote {folder}/: {', '.join(['table.md', 'table.csv', 'table.tex', RESULT, *figures])}")
    print(f"open {folder / PAGE} in a browser")
    return 1 if comparison.failed else 0


def _seeds(text: str | None) -> int | list[int] | None:
    if text is None:
        return None
    numbers = words(text)
    if not numbers or not all(number.isdigit() for number in numbers):
        raise WrongUse(f"--seeds: expected a count (3) or seeds (2020,2021), got '{text}'")
    return [int(number) for number in numbers] if "," in text else int(numbers[0])


def _shares(text: str | None) -> list[float]:
    try:
        shares = [float(word) for word in words(text)]
    except ValueError:
        shares = [-1.0]
    if not all(0 <= share < 1 for share in shares):
        raise WrongUse(f"--missing: expected shares from 0 to below 1, separated by commas, got '{text}'")
    return shares
