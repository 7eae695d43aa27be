"""Configuration: RecBole's layers and ours, known keys, checked values, defaults of model families."""

from __future__ import annotations

from recbole_mm.config.config import Config
from recbole_mm.config.data_files import check_dataset
from recbole_mm.config.missing import missing_keys
from recbole_mm.config.requirements import fit_to_dataset

__all__ = ["Config", "check_dataset", "fit_to_dataset", "missing_keys"]
