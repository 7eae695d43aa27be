"""Rows that ask whether the features help: the same model on ids alone, shuffled, noise and masked features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from recbole_mm.errors import WrongUse
from recbole_mm.model import get_model
from recbole_mm.model.traits import trait
from recbole_mm.quick_start.preset import Settings
from recbole_mm.report.statistics import Row


def control_rows(rows: Iterable[Row], controls: bool, missing: Sequence[float]) -> list[Row]:
    """For every row whose model reads features: the same on ids alone, shuffled, noise and masked features.

    Raises ``WrongUse`` when controls are asked for and no row reads features.
    """
    kinds: list[tuple[str, Settings, float | None]] = []
    if controls:
        kinds += [
            ("ids only", {"modalities": []}, None),
            ("shuffled features", {"feature_control": "shuffled"}, None),
            ("noise features", {"feature_control": "noise"}, None),
        ]
    kinds += [(f"{share:.0%} masked", {"feature_missing": share}, share) for share in missing if share > 0]
    found = [
        Row(
            label=f"{row.label}, {name}",
            model=row.model,
            settings={**row.settings, **settings},
            of=row.label,
            control=None if share is not None else name,
            missing=share,
        )
        for row in rows
        if reads_features(row)
        for name, settings, share in kinds
    ]
    if kinds and not found:
        raise WrongUse("--controls and --missing need a model that reads features; none of these rows does")
    return found


def reads_features(row: Row) -> bool:
    """Whether the row's model is multimodal and its switches leave it a modality."""
    off = row.settings.get("modalities", True) == [] or row.settings.get("fusion") == "none"
    return trait(get_model(row.model), "multimodal") and not off
