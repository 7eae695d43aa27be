"""Search of settings on validation, one trial after another. The test set is never read."""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from recbole_mm.config import Config, properties_dir
from recbole_mm.config.properties import file_list, load_user
from recbole_mm.config.values import parse_cli
from recbole_mm.data.presplit import rule_without_validation
from recbole_mm.errors import Failure, WrongUse
from recbole_mm.files import at_home, write_text
from recbole_mm.model import get_model
from recbole_mm.quick_start.fingerprint import run_key
from recbole_mm.quick_start.plan import Request, one_mask
from recbole_mm.quick_start.preset import Settings, preset_names
from recbole_mm.quick_start.runs import run_all
from recbole_mm.quick_start.session import require_files
from recbole_mm.run.comparison import Row
from recbole_mm.run.key import keys_that

TRIALS = 12  # the same effort for every model
JOURNAL = "trials.jsonl"
# what a line of it tells of a record
_TOLD = ("best_valid_score", "best_valid_result", "epochs_run", "stopped_by", "seconds", "error")


@dataclass
class Search:
    """What a search found: its trials in the order of running, and the best of them (None if all failed)."""

    model: str
    dataset: str
    space: dict[str, list[Any]]
    trials: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None


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
) -> Search:
    """Run trials of the space in an order drawn from ``order_seed``; write trials.jsonl and best.yaml.

    Args:
        model: a model.
        dataset: its name; None for the preset's.
        trials: how many points of the space (a yaml of ``key: [values]``); None for all.
        space: None for ``properties/tune/<Model>.yaml``.
        presets: whose budget, split and protocol the trials have, so that they fit the comparison.
        order_seed: decides which points come first.
        out: folder; finished trials in it are taken from there, one that was cut off goes on.
        config_files, config_dict: settings of all trials, the second over the first.
        fresh: run again what is finished.
        command: the command line, written into best.yaml.

    Raises ``WrongUse`` on a space or a point that cannot be used, ``Failure`` if no trial ends.
    """
    name = get_model(model).__name__
    request = Request.read(
        presets, dataset, config_files, config_dict, out, f"results/tune/{name}-{{dataset}}"
    )
    dataset, folder = request.dataset, request.folder
    search = Search(
        model, dataset, read_space(Path(at_home(space) or properties_dir() / f"tune/{name}.yaml"))
    )
    settings = {"keep_checkpoints": "none", **request.settings(Row(name, model))}
    settings |= one_mask(settings)
    for key in sorted(set(search.space) & set(config_dict or {})):
        raise WrongUse(
            f"--{key} is given and is searched; leave it out, or name a space without it (--space)"
        )
    points = ordered(search.space, order_seed)[:trials]
    configs = [Config(model, dataset, None, {**settings, **point}) for point in points]
    require_files(configs[0])
    if rule := rule_without_validation(configs[0]):
        raise WrongUse(f"tune chooses by validation, and {rule} takes no row for it")
    specs = [
        replace(config.spec, label=f"{name} {_words(point)}", key=run_key(config, config["seed"]))
        for point, config in zip(points, configs, strict=True)
    ]
    found, errors = run_all(specs, folder, fresh, test=False)
    for point, spec in zip(points, specs, strict=True):
        at = spec.label, configs[0]["seed"]
        record = found[at][1].record if at in found else {"error": errors[at]}
        search.trials.append({"key": spec.key, "point": point} | {key: record.get(key) for key in _TOLD})
    write_text(folder / JOURNAL, "".join(f"{json.dumps(trial)}\n" for trial in search.trials))
    return _choose(search, configs[0], folder, command)


def _choose(search: Search, config: Config, folder: Path, command: str | None) -> Search:
    """The search with its best trial on validation, written as best.yaml. Raises ``Failure`` if none finished."""
    scored = [trial for trial in search.trials if trial["best_valid_score"] is not None]
    if not scored:
        why = search.trials[0]["error"]
        raise Failure(f"no trial of {config['model']} finished; {folder / JOURNAL} says why: {why}")
    best = max if config["valid_metric_bigger"] else min
    search.best = best(scored, key=lambda trial: trial["best_valid_score"])
    write_text(folder / "best.yaml", best_yaml(search, config["valid_metric"], command))
    return search


def _words(point: Settings) -> str:
    return ", ".join(f"{key}={value}" for key, value in point.items())


def read_space(path: Path) -> dict[str, list[Any]]:
    """``key: [values]`` from a yaml file. Raises ``WrongUse`` naming the file and the key."""
    if not path.is_file():
        there = sorted(each.stem for each in (properties_dir() / "tune").glob("*.yaml"))
        raise WrongUse(f"no search space {path}; give one with --space FILE (there are {', '.join(there)})")
    space = load_user(path)
    for key, values in space.items():
        if not isinstance(values, list) or not values:
            raise WrongUse(f"{path}: '{key}' must be a list of values, got {values!r}")
        if key in keys_that("shared"):
            raise WrongUse(f"{path}: '{key}' is the same for all models of a comparison; it is not searched")
    if not space:
        raise WrongUse(f"{path}: the space is empty; write lines of 'key: [values]'")
    return space


def ordered(space: dict[str, list[Any]], seed: int) -> list[Settings]:
    """Every point of the grid, in an order that ``seed`` decides."""
    points = [dict(zip(space, values, strict=True)) for values in product(*space.values())]
    random.Random(seed).shuffle(points)
    return points


def best_yaml(search: Search, metric: str, command: str | None) -> str:
    """The best values as a preset of their own: ``compare --preset cmc <this file>`` takes them."""
    assert search.best is not None
    body = {"datasets": {search.dataset: {"models": {search.model: search.best["point"]}}}}
    head = [
        f"# {metric} on validation {search.best['best_valid_score']:.4f}, the best of {len(search.trials)} trials; "
        f"training ended by {search.best['stopped_by']}",
        *([f"# found by: {command}"] if command else []),
    ]
    return "\n".join(head) + "\n" + yaml.safe_dump(body, sort_keys=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``recbole-mm tune``; every other ``--key=value`` is a setting of all trials."""
    parser.add_argument(
        "--model", "-m", required=True, help="a model's name, path/to/file.py:Class or dotted name"
    )
    parser.add_argument(
        "--dataset", "-d", help="its name below data_path, or its folder; ml-100k is built in"
    )
    parser.add_argument("--trials", default=str(TRIALS), help=f"how many points, or all (default {TRIALS})")
    parser.add_argument("--space", help="yaml of key: [values] (default: properties/tune/<Model>.yaml)")
    parser.add_argument(
        "--preset", nargs="+", default=[], help=f"budget and split of {', '.join(preset_names())}"
    )
    parser.add_argument("--order-seed", type=int, default=0, help="decides which points come first")
    parser.add_argument("--config_files", default="", help="yaml files, separated by spaces")
    parser.add_argument("--out", help="folder of the results (default: results/tune/<Model>-<dataset>)")
    parser.add_argument("--fresh", action="store_true", help="run again what is finished there")


def main(args: argparse.Namespace) -> int:
    """Search and print the best values as yaml."""
    if args.trials != "all" and not (args.trials.isdigit() and int(args.trials)):
        raise WrongUse(f"--trials: expected a count or all, got '{args.trials}'")
    search = tune(
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
        command=shlex.join(["recbole-mm", *sys.argv[1:]]),
    )
    folder = Path(args.out or f"results/tune/{get_model(args.model).__name__}-{search.dataset}")
    print((folder / "best.yaml").read_text(encoding="utf-8"), end="")
    print(f"wrote {folder}/: trials.jsonl, best.yaml")
    return 0
