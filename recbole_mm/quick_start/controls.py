"""Rows that ask whether the features help: the same model on ids alone, shuffled, noise and masked features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from recbole_mm.config.properties import load_internal
from recbole_mm.errors import WrongUse
from recbole_mm.files import properties_dir
from recbole_mm.model import get_model
from recbole_mm.model.traits import trait
from recbole_mm.plug import KINDS
from recbole_mm.quick_start.preset import Settings
from recbole_mm.run.comparison import Row

#: the controls by the name of the option: what the row is called, and its switch
CONTROLS: dict[str, tuple[str, Settings]] = {
    "ids": ("ids only", {"modalities": []}),
    "shuffled": ("shuffled features", {"feature_control": "shuffled"}),
    "noise": ("noise features", {"feature_control": "noise"}),
}
#: what puts vectors into a model
_SOURCES = (*KINDS, "pretrain")
_PLUG = frozenset([*_SOURCES, "pretrained_use", "pretrained_mode", "pretrained_at", "freeze"])


def control_rows(
    rows: Iterable[Row],
    controls: Sequence[str],
    missing: Sequence[float],
    settings_of: Callable[[Row], Mapping[str, Any]] = lambda row: row.settings,
) -> list[Row]:
    """For every row whose model reads features: the same under ``controls`` (names of :data:`CONTROLS`) and with
    ``missing`` shares of the features masked.

    What knows items by their features alone, by ``settings_of`` its row, has no row on ids alone.

    Raises ``WrongUse`` for an unknown control, one or a share that is given twice, and when controls are asked for and
    no row reads features.
    """
    for option, given in (("--controls", controls), ("--missing", missing)):
        if twice := [each for each in given if given.count(each) > 1]:
            raise WrongUse(f"{option}: {twice[0]} is given twice")
    if unknown := [name for name in controls if name not in CONTROLS]:
        raise WrongUse(f"--controls: no control '{unknown[0]}'; there are {', '.join(CONTROLS)}")
    kinds: list[tuple[str, Settings, float | None]] = [(*CONTROLS[name], None) for name in controls]
    kinds += [
        (f"{100 * share:g}% masked", {"feature_missing": share}, share) for share in missing if share > 0
    ]
    added = [
        Row(
            label=f"{row.label}, {name}",
            model=row.model,
            settings=_controlled(row, settings),
            of=row.label,
            control=None if share is not None else name,
            missing=share,
        )
        for row in rows
        if reads_features(row)
        for name, settings, share in kinds
        if not ("modalities" in settings and _needs_features(row, settings_of(row)))
    ]
    if kinds and not added:
        raise WrongUse("--controls and --missing need a model that reads features; none of these rows does")
    return added


def _controlled(row: Row, control: Settings) -> Settings:
    """The row's settings under a control, which for ids only are those without vectors of any kind."""
    if "modalities" not in control or not plugged(row):
        return {**row.settings, **control}
    kept = {key: value for key, value in row.settings.items() if key not in _PLUG}
    return {
        **kept,
        **dict.fromkeys(_SOURCES),
        **(control if trait(get_model(row.model), "multimodal") else {}),
    }


def _needs_features(row: Row, settings: Mapping[str, Any]) -> bool:
    """Whether nothing is left of the row's model without features."""
    model = get_model(row.model)
    file = properties_dir() / f"model/{model.__name__}.yaml"
    known = {**(load_internal(file) if file.is_file() else {}), **settings}
    return trait(model, "needs_features") or _has(known, trait(model, "features_alone"))


def plugged(row: Row) -> bool:
    """Whether vectors are put into the row's model (``pretrained_items``, ``pretrain``)."""
    return any(row.settings.get(key) for key in _SOURCES)


def reads_features(row: Row) -> bool:
    """Whether vectors are plugged into the row's model, or it is multimodal and its switches leave it a modality."""
    if plugged(row):
        return True
    model, none = get_model(row.model), row.settings.get("modalities", True) == []
    return trait(model, "multimodal") and not (none or _has(row.settings, trait(model, "features_off")))


def _has(settings: Mapping[str, Any], switches: Mapping[str, Any]) -> bool:
    """Whether all of ``switches``, if there are any, are among the settings."""
    return bool(switches) and switches.items() <= settings.items()
