"""Search of settings on validation, on this machine one trial after another or on Ray. No trial has a test row."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from recbole_mm.config.properties import file_list
from recbole_mm.config.values import parse_cli
from recbole_mm.errors import WrongUse, count
from recbole_mm.files import at_home, properties_dir
from recbole_mm.model import get_model
from recbole_mm.quick_start.arguments import add_data_arguments, command_line
from recbole_mm.quick_start.plan import Request, results_folder
from recbole_mm.quick_start.preset import Settings, preset_names
from recbole_mm.quick_start.search.method import Method, add_method_arguments, method_of
from recbole_mm.quick_start.search.outcome import BEST, TABLE, Search
from recbole_mm.quick_start.search.outcome import TRIALS as TRIALS_FILE
from recbole_mm.quick_start.search.picture import PICTURE
from recbole_mm.quick_start.search.search import search
from recbole_mm.quick_start.search.space import find_space
from recbole_mm.run.comparison import Row

TRIALS = 12  # the same effort for every model


def tune(
    model: str,
    dataset: str | None = None,
    trials: int | None = TRIALS,
    *,
    space: str | Path | None = None,
    presets: Sequence[str] = (),
    order_seed: int = 0,
    out: str | Path | None = None,
    config_files: Sequence[str] = (),
    config_dict: Settings | None = None,
    fresh: bool = False,
    command: str | None = None,
    method: Method | None = None,
) -> Search:
    """Run trials of the space; write trials.csv, trials.json, best.yaml and search.html.

    Args:
        model: a model.
        dataset: its name; None for the preset's.
        trials: how many points of the space; None for all of a grid.
        space: None for ``properties/tune/<Model>.yaml`` (`search.space` says what a file may hold).
        presets: whose budget, split and protocol the trials have, so that they fit the comparison.
        order_seed: decides which points there are and in which order.
        out: folder; finished trials in it are taken from there, one that was cut off goes on.
        config_files, config_dict: settings of all trials, the second over the first.
        fresh: run again what is finished.
        command: the command line, written into best.yaml.
        method: engine, searcher, scheduler; None: on this machine, one after another.

    Raises ``WrongUse`` on a space or a point that cannot be used, ``Failure`` if no trial ends.
    """
    model_class = get_model(model)
    name = model_class.__name__
    request = Request.read(presets, dataset, config_files, config_dict, out, _folder_of(model_class))
    given = find_space(Path(at_home(space) or properties_dir() / f"tune/{name}.yaml"))
    for key in sorted(set(given.axes) & {*request.files, *request.overrides}):
        named = f"--{key}" if key in request.overrides else f"{key} (--config_files)"
        raise WrongUse(
            f"{named} is given and is searched; leave it out, or name a space without it (--space)"
        )
    settings = request.settings(Row(name, model))
    return search(
        model, request.dataset, given, settings, request.folder,
        trials=trials, seed=order_seed, fresh=fresh, command=command, method=method or Method(),
    )  # fmt: skip


def _folder_of(model_class: type) -> str:
    """Where the results of a search go where no folder is given (`results_folder`)."""
    return f"results/tune/{model_class.__name__}-{{dataset}}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``recbole-mm tune``; every other ``--key=value`` is a setting of all trials."""
    parser.add_argument(
        "--model", "-m", required=True, help="a model's name, path/to/file.py:Class or dotted name"
    )
    add_data_arguments(parser)
    parser.add_argument(
        "--samples",
        "--trials",
        dest="trials",
        default=str(TRIALS),
        help=f"how many points, or all (default {TRIALS})",
    )
    parser.add_argument(
        "--space", help="yaml, or RecBole's params_file (default: properties/tune/<Model>.yaml)"
    )
    parser.add_argument(
        "--preset", nargs="+", default=[], help=f"budget and split of {', '.join(preset_names())}"
    )
    parser.add_argument("--order-seed", type=int, default=0, help="decides which points there are")
    parser.add_argument("--out", help="folder of the results (default: results/tune/<Model>-<dataset>)")
    parser.add_argument("--fresh", action="store_true", help="run again what is finished there")
    add_method_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Search and print the best values as yaml."""
    if args.trials != "all" and not (args.trials.isdigit() and int(args.trials)):
        raise WrongUse(f"--samples: expected a count or all, got '{args.trials}'")
    result = tune(
        args.model,
        args.dataset,
        None if args.trials == "all" else int(args.trials),
        space=args.space,
        presets=args.preset,
        order_seed=args.order_seed,
        out=args.out,
        config_files=file_list(args.config_files),
        config_dict=parse_cli(args.overrides)[0],
        fresh=args.fresh,
        command=command_line(),
        method=method_of(args),
    )
    folder = results_folder(args.out, _folder_of(get_model(args.model)), None, result.dataset)
    print((folder / BEST).read_text(encoding="utf-8"), end="")
    if result.test_result:
        print("test, read once: " + "    ".join(f"{k}: {v}" for k, v in result.test_result.items()))
    if failed := [trial for trial in result.trials if trial["error"]]:
        print(
            f"{len(failed)} of {count(len(result.trials), 'trial')} failed, the first: {failed[0]['error']}"
        )
    print(f"wrote {folder}/: {', '.join([TABLE, TRIALS_FILE, BEST, PICTURE])}")
    return 0
