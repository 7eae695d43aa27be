"""The runs of a comparison, every row configured and checked before the first one starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_mm.config import Config
from recbole_mm.config.known import unknown_keys
from recbole_mm.config.properties import load_user
from recbole_mm.errors import WrongUse
from recbole_mm.files import at_home, dataset_folder
from recbole_mm.model import get_model
from recbole_mm.quick_start.fingerprint import run_key
from recbole_mm.quick_start.preset import Preset, Settings, load_preset
from recbole_mm.quick_start.session import require_files
from recbole_mm.run.comparison import RUNS, Plan, Row
from recbole_mm.run.key import KEYS
from recbole_mm.run.metric import evaluation_of
from recbole_mm.run.spec import RunSpec

# in none of these may two rows differ, wherever the settings come from; the caption of the table says them
_EQUAL = {
    part: tuple(name for name, key in KEYS.items() if key.shared == part)
    for part in ("budget", "split", "protocol")
}


@dataclass(frozen=True)
class Request:
    """What a comparison or a search is asked with: the layers of settings, and where the results go."""

    preset: Preset
    dataset: str
    files: Settings
    overrides: Settings
    folder: Path

    @classmethod
    def read(
        cls,
        presets: Sequence[str],
        dataset: str | None,
        config_files: Sequence[str],
        config_dict: Settings | None,
        out: str | Path | None,
        default: str,
    ) -> Request:
        """Read presets and files; without ``out`` the folder is ``default`` with ``{preset}`` and ``{dataset}``.

        Raises ``WrongUse`` on a malformed file, no data set, or runs that shall lie elsewhere.
        """
        # what a search found is of one model, so it is no setting of all rows
        searched = [str(path) for path in config_files if {"model", "dataset"} <= load_user(path).keys()]
        preset = load_preset([*presets, *searched])
        dataset = dataset or preset.dataset
        if not dataset:
            raise WrongUse("name a data set: --dataset ml-100k")
        files = {
            key: value
            for path in config_files
            if str(path) not in searched
            for key, value in load_user(path).items()
        }
        overrides = dict(config_dict or {})
        dataset, root = dataset_folder(dataset, (files | overrides).get("data_path"))
        overrides |= {"data_path": root} if root else {}
        if "checkpoint_dir" in files | overrides:
            raise WrongUse(
                "--checkpoint_dir: the runs lie in the folder of the results; name that with --out"
            )
        return cls(preset, dataset, files, overrides, results_folder(out, default, preset.name, dataset))

    @property
    def shared(self) -> Settings:
        """What every row is given."""
        return self.preset.common(self.dataset, self.files, self.overrides)

    def settings(self, row: Row) -> Settings:
        """All settings of a row."""
        given = self.preset.settings(row, self.dataset, self.files, self.overrides)
        return {**given, "checkpoint_dir": str(self.folder / RUNS)}


def results_folder(out: str | Path | None, default: str, preset: str | None, dataset: str) -> Path:
    """``out``, or where that is None ``default`` with its ``{preset}`` and ``{dataset}`` filled in."""
    return Path(at_home(out) or default.format(preset=preset or "compare", dataset=dataset))


def plan_runs(
    request: Request,
    rows: Sequence[Row],
    seeds: Sequence[int],
    columns: Sequence[str],
    kept: Sequence[Row] = (),
    reference: str | None = None,
) -> tuple[Plan, list[RunSpec]]:
    """Configure every row before anything runs; (the plan, its runs, seed by seed).

    ``kept``: rows of an earlier plan, whose settings stand; ``reference``: its, before that of the preset.

    Raises ``WrongUse`` on the first row that cannot be configured, or whose budget or evaluation is another.
    """
    preset, dataset = request.preset, request.dataset
    evaluation = evaluation_of(columns, request.shared)
    evaluation |= one_mask({**request.shared, **evaluation})
    where = {"checkpoint_dir": str(request.folder / RUNS)}
    full = [replace(row, settings={**row.settings, **where}) for row in kept]
    foreign = _foreign_keys([*kept, *rows], request.shared)
    _say_overruled(rows, {**request.files, **request.overrides})
    for row in rows:
        others = foreign[row.model] - row.settings.keys()
        known = {key: value for key, value in request.settings(row).items() if key not in others}
        full.append(replace(row, settings={**known, **evaluation}))
    first: tuple[str, Config] | None = None
    runs = []
    for row in full:
        config = Config(row.model, dataset, None, {**row.settings, "seed": seeds[0]})
        require_files(config)
        first = first or (row.label, config)
        _same(row.label, config, *first)
        runs += [
            replace(config.spec, seed=seed, label=row.label, key=run_key(config, seed)) for seed in seeds
        ]
    assert first is not None
    labels = [row.label for row in full]
    plan = Plan(
        rows=full,
        columns=list(columns),
        dataset=dataset,
        seeds=list(seeds),
        preset=preset.name,
        reference=next((each for each in (reference, preset.reference) if each in labels), None),
        published_columns=preset.published_columns,
        published_source=preset.published_source,
        common=_common(first[1]),
    )
    return plan, sorted(runs, key=lambda run: seeds.index(run.seed))  # type: ignore[arg-type]


def one_mask(given: Settings) -> Settings:
    """The same masking for all models unless another is given: RecBole's own depends on the type of the model."""
    if (
        "mask_seen" in given
        or "mmrec" in (given.get("protocol") or ())
        or given.get("evaluator") == "recbole"
    ):
        return {}
    return {"mask_seen": "train+valid"}


def _foreign_keys(rows: Sequence[Row], shared: Settings) -> dict[str, set[str]]:
    """Of each model, the keys given to all rows that only the models of other rows know.

    Raises ``WrongUse`` on a key that is known to none.
    """
    unknown = {row.model: unknown_keys(shared, (), get_model(row.model)) for row in rows}
    foreign: dict[str, set[str]] = {model: set() for model in unknown}
    for key in shared:
        without = [model for model, keys in unknown.items() if key in keys]
        if len(without) == len(unknown) and shared.get("strict_config", True) is not False:
            raise WrongUse(f"unknown key '{key}', to every model here{max(unknown[m][key] for m in without)}")
        if 0 < len(without) < len(unknown):
            knowing = ", ".join(row.label for row in rows if row.model not in without)
            getLogger("recbole_mm.run").info("%s: only %s reads it", key, knowing)
            for model in without:
                foreign[model].add(key)
    return foreign


def _say_overruled(rows: Sequence[Row], given: Settings) -> None:
    """Which of the person's settings do not reach a row because they are what it is.

    Raises ``WrongUse`` on one that reaches none.
    """
    for key, value in given.items():
        own = [row.label for row in rows if row.settings.get(key, value) != value]
        if len(own) == len(rows):
            raise WrongUse(
                f"{key}: {value} would reach no row: each has its own {key}; see --models, --preset"
            )
        if own:
            getLogger("recbole_mm.run").warning(
                "%s: %s does not reach %s: own value", key, value, ", ".join(own)
            )


def _same(label: str, config: Config, first: str, of_first: Config) -> None:
    for key in (key for keys in _EQUAL.values() for key in keys):
        own, others = _asked(config, key), _asked(of_first, key)
        if own != others:
            raise WrongUse(
                f"{label} would run with {key}: {own}, {first} with {others}; "
                f"give one value for all (--{key}=...)"
            )


def _asked(config: Config, key: str) -> Any:
    """The value of a key as far as it has an effect: files or ``split`` make the parts, whatever ``eval_args`` say."""
    if key == "eval_args" and (config["split"] or config["benchmark_filename"]):
        return {"mode": config[key]["mode"]}
    return config[key]


def _common(config: Config) -> dict[str, Any]:
    return {part: {key: config[key] for key in keys} for part, keys in _EQUAL.items()}
