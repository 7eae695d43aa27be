"""Presets: the rows of a published table, their switches, and settings chosen on validation.

The format stands at the head of ``properties/preset/default.yaml``, which every comparison starts from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_mm.config.properties import load_internal, load_user
from recbole_mm.errors import WrongUse, suggest
from recbole_mm.files import properties_dir
from recbole_mm.model import get_model, is_recbole
from recbole_mm.run.comparison import Row
from recbole_mm.run.key import keys_that

Settings = dict[str, Any]

_KEYS: dict[str, type | tuple[type, ...]] = {
    "description": str,
    "dataset": str,
    "seeds": (int, list),
    "metrics": list,
    "reference": str,
    "config": dict,
    "models": dict,
    "rows": list,
    "published": dict,
    "datasets": dict,
}
_ROW_KEYS: dict[str, type | tuple[type, ...]] = {
    "label": str,
    "model": str,
    "baseline": bool,
    "settings": dict,
    "published": dict,
    "against": (str, list),
}
_DATASET_KEYS: dict[str, type | tuple[type, ...]] = {"config": dict, "models": dict, "rows": dict}
_PUBLISHED_KEYS: dict[str, type | tuple[type, ...]] = {"source": str, "columns": dict}
# levels of names above a single setting, which is replaced as a whole
_DEPTH = {"config": 1, "models": 2, "rows": 2, "published": 2}


@dataclass
class Preset:
    """A preset as read, layers already merged."""

    name: str | None = None
    dataset: str | None = None
    seeds: int | list[int] = 3
    metrics: list[str] = field(default_factory=list)
    reference: str | None = None
    config: Settings = field(default_factory=dict)
    models: dict[str, Settings] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    published_columns: dict[str, list[str]] = field(default_factory=dict)
    published_source: str | None = None
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)

    def common(self, dataset: str, files: Settings, overrides: Settings) -> Settings:
        """Settings that every row starts from."""
        return {**self._config(dataset), **files, **overrides}

    def settings(self, row: Row, dataset: str, files: Settings, overrides: Settings) -> Settings:
        """All settings of a row; its own switches come last, since they make it what it is."""
        layers = [
            self._config(dataset),
            self.models.get(row.model, {}),
            self._of(dataset, "models").get(row.model, {}),
            files,
            self._of(dataset, "rows").get(row.of or row.label, {}),
            overrides,
            row.settings,
        ]
        return {key: value for layer in layers for key, value in layer.items()}

    def _config(self, dataset: str) -> Settings:
        """`config` but for what the data set says of itself, such as a fixed split; `datasets.X.config` over it."""
        said = load_internal(properties_dir() / f"dataset/{dataset}.yaml")
        own = {key: value for key, value in self.config.items() if key not in said}
        return {**own, **self._of(dataset, "config")}

    def _of(self, dataset: str, section: str) -> dict[str, Any]:
        return self.datasets.get(dataset, {}).get(section) or {}


def preset_names() -> list[str]:
    """The presets that ship with the package."""
    return sorted(
        path.stem for path in (properties_dir() / "preset").glob("*.yaml") if path.stem != "default"
    )


def load_preset(names: Sequence[str] = ()) -> Preset:
    """The default preset with the named ones (names or yaml files) over it, later ones winning key by key.

    Raises ``WrongUse`` on an unknown preset, an unknown key, a value of the wrong type.
    """
    merged: Settings = {}
    for path in [_find("default"), *(_find(name) for name in names)]:
        merged = _merge(merged, _checked(path))
    published = merged.get("published", {})
    columns = {k: [v] if isinstance(v, str) else list(v) for k, v in published.get("columns", {}).items()}
    return Preset(
        name=Path(names[0]).stem if names else None,
        dataset=merged.get("dataset"),
        seeds=merged.get("seeds", 3),
        metrics=[str(metric).lower() for metric in merged.get("metrics", [])],
        reference=merged.get("reference"),
        config=merged.get("config", {}),
        models=merged.get("models", {}),
        rows=merged.get("rows", []),
        published_columns=columns,
        published_source=published.get("source"),
        datasets=merged.get("datasets", {}),
    )


def rows_of(preset: Preset, models: Sequence[str] | None = None) -> list[Row]:
    """The rows of the table: those of the preset, or the named ones (labels of the preset or models).

    Raises ``WrongUse`` when there is none, one label stands for two rows, or holds a comma.
    """
    entries = [{"label": entry["model"], **entry} for entry in preset.rows]
    known = [entry["label"] for entry in entries]
    for label in known:
        if "," in label:
            raise WrongUse(f"row '{label}': a comma separates rows in --models; give it a label without one")
    for entry in entries:
        for label in _labels(entry):
            if label not in known or label == entry["label"]:
                raise WrongUse(
                    f"row '{entry['label']}': against: {label} is no other row{suggest(label, known)}"
                )
    if models:
        by_label = {entry["label"]: entry for entry in entries}
        entries = [by_label.get(name, {"label": _short(name), "model": name}) for name in models]
    if not entries:
        raise WrongUse(
            "nothing to compare; name models (--models BPR,CMC) or a preset: " + ", ".join(preset_names())
        )
    labels = [entry["label"] for entry in entries]
    for label in labels:
        if labels.count(label) > 1:
            raise WrongUse(f"two rows are called '{label}'; give one of them another label")
    return [
        Row(
            label=entry["label"],
            model=entry["model"],
            settings=dict(entry.get("settings") or {}),
            baseline=bool(entry.get("baseline", is_recbole(get_model(entry["model"])))),
            published={k: float(v) for k, v in (entry.get("published") or {}).items()},
            against=_labels(entry),
        )
        for entry in entries
    ]


def _labels(entry: Settings) -> list[str]:
    against = entry.get("against") or []
    return [against] if isinstance(against, str) else [str(label) for label in against]


def _short(model: str) -> str:
    """``path/to/file.py:Class`` and ``package.module.Class`` as ``Class``."""
    return (
        model.split(":")[-1]
        if ":" in model
        else Path(model).stem
        if model.endswith(".py")
        else model.split(".")[-1]
    )


def _find(name: str) -> Path:
    folder = properties_dir() / "preset"
    if (folder / f"{name}.yaml").is_file() and not name.endswith((".yaml", ".yml")):
        return folder / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    raise WrongUse(f"no preset '{name}'{suggest(name, preset_names())}")


def _checked(path: Path) -> dict[str, Any]:
    """Read one preset file and check every key and type of it."""
    values = _of_search(load_user(path))
    _check(values, _KEYS, f"{path}")
    values = {key: value for key, value in values.items() if value is not None}
    for k, row in enumerate(values.get("rows", [])):
        where = f"{path}: row {k + 1}"
        if not isinstance(row, dict) or "model" not in row:
            raise WrongUse(f"{where}: expected a mapping with `model`")
        _check(row, _ROW_KEYS, where)
        _no_shared(row.get("settings") or {}, where)
    _check(values.get("published", {}), _PUBLISHED_KEYS, f"{path}: published")
    _check_settings(values.get("models", {}), f"{path}: models")
    for name, section in values.get("datasets", {}).items():
        where = f"{path}: datasets.{name}"
        if not isinstance(section, dict):
            raise WrongUse(f"{where}: expected a mapping")
        _check(section, _DATASET_KEYS, where)
        for part in ("models", "rows"):
            _check_settings(section.get(part) or {}, f"{where}.{part}")
    return values


def _of_search(values: dict[str, Any]) -> dict[str, Any]:
    """The best values that a search found (``model``, ``dataset``, keys), as settings of that model alone."""
    if not {"model", "dataset"} <= values.keys() or values.keys() & (_KEYS.keys() - {"dataset"}):
        return values
    given = {key: value for key, value in values.items() if key not in ("model", "dataset")}
    return {"datasets": {str(values["dataset"]): {"models": {values["model"]: given}}}}


def _check(values: dict[str, Any], known: dict[str, type | tuple[type, ...]], where: str) -> None:
    for key, value in values.items():
        if key not in known:
            raise WrongUse(f"{where}: unknown key '{key}'{suggest(key, known)}")
        if value is not None and not isinstance(value, known[key]):
            wanted = known[key] if isinstance(known[key], tuple) else (known[key],)
            names = " or ".join(kind.__name__ for kind in wanted)  # type: ignore[union-attr]
            raise WrongUse(f"{where}: '{key}' must be {names}, got {value!r}")


def _check_settings(sections: dict[str, Any], where: str) -> None:
    for name, settings in sections.items():
        if not isinstance(settings, dict):
            raise WrongUse(f"{where}.{name}: expected a mapping of settings, got {settings!r}")
        _no_shared(settings, f"{where}.{name}")


def _no_shared(settings: Settings, where: str) -> None:
    for key in settings:
        if key in keys_that("shared"):
            raise WrongUse(f"{where}: '{key}' is the same for all rows; put it under `config`")


def _merge(below: Settings, above: Settings, depth: int = 0) -> Settings:
    """``above`` over ``below``, key by key down to ``depth``; known sections down to single settings."""
    merged = dict(below)
    for key, value in above.items():
        down = depth - 1 if depth else _DEPTH.get(key, 0)
        old = merged.get(key)
        if key == "datasets" and not depth:
            merged[key] = {
                **(old or {}),
                **{name: _merge((old or {}).get(name, {}), v) for name, v in value.items()},
            }
        elif down and isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge(old, value, down)
        else:
            merged[key] = value
    return merged
