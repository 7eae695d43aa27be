"""Vectors on disk and their alignment to item ids; knows neither RecBole nor torch."""

from recbole_mm.modality.align import Alignment, align, check_coverage
from recbole_mm.modality.format import SEPARATOR, review_key, reviews_folder
from recbole_mm.modality.store import ModalityStore, find_stores, resolve_stores

__all__ = [
    "SEPARATOR",
    "Alignment",
    "ModalityStore",
    "align",
    "check_coverage",
    "find_stores",
    "resolve_stores",
    "review_key",
    "reviews_folder",
]
