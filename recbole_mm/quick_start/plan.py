"""The runs of a comparison, every row configured and checked before the first one starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_mm.config import Config
from recbole_mm.errors import WrongUse
from recbole_mm.quick_start.dataset import require_files
from recbole_mm.quick_start.fingerprint import run_key
from recbole_mm.quick_start.preset import Preset, Settings
from recbole_mm.report.statistics import Row
from recbole_mm.run.key import KEYS
from recbole_mm.run.metric import evaluation_of

# in none of these may two rows differ, wherever the settings come from
_EQUAL = {
    part: tuple(name for name, key in KEYS.items() if key.shared == part)
    for part in ("budget", "split", "protocol")
}


@dataclass
class Step:
    """One run to come: a row under one seed, and the name of its result."""

    row: Row
    seed: int
    settings: Settings
    key: str


def plan(
    preset: Preset,
    rows: Sequence[Row],
    dataset: str,
    seeds: Sequence[int],
    columns: Sequence[str],
    files: Settings,
    overrides: Settings,
    folder: Path,
) -> tuple[list[Step], dict[str, Any]]:
    """Configure every row before anything runs; (the runs, seed by seed, and what all rows share).

    Raises ``WrongUse`` on the first row that cannot be configured, or whose budget or evaluation is another.
    """
    steps: list[Step] = []
    shared: dict[str, tuple[str, Settings, Config]] = {}
    evaluation = evaluation_of(columns, preset.common(dataset, files, overrides))
    for row in rows:
        settings = {
            "checkpoint_dir": str(folder / "checkpoints"),
            **preset.settings(row, dataset, files, overrides),
            **evaluation,
        }
        config = Config(row.model, dataset, None, {**settings, "seed": seeds[0]})
        require_files(config)
        row.settings = settings
        steps += [Step(row, seed, settings, run_key(config, seed)) for seed in seeds]
        mine = {key: config[key] for keys in _EQUAL.values() for key in keys}
        first = shared.setdefault("of", (row.label, mine, config))
        for key in mine:
            if mine[key] != first[1][key]:
                raise WrongUse(
                    f"{row.label} would run with {key}: {mine[key]}, {first[0]} with {first[1][key]}; "
                    f"give one value for all (--{key}=...)"
                )
    config = shared["of"][2]
    common = {part: {key: config[key] for key in keys} for part, keys in _EQUAL.items()}
    return sorted(steps, key=lambda step: seeds.index(step.seed)), common
