"""From a configuration to the data set that a run reads: checked first, built last."""

from __future__ import annotations

from typing import Any

from recbole_mm.config import Config, check_dataset, fit_to_dataset
from recbole_mm.data import create_dataset
from recbole_mm.quick_start.embedded import ensure_embedded_stores


def require_files(config: Config) -> None:
    """The data set's files are there and the embedded modalities built; a missing one is one clear line."""
    check_dataset(config)
    ensure_embedded_stores(config)


def load_dataset(config: Config) -> Any:
    """The data set of ``config``, to which those settings are fitted that depend on its size."""
    require_files(config)
    dataset = create_dataset(config)
    fit_to_dataset(config, dataset)
    return dataset
