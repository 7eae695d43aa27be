"""Names of reviews: text of an interaction has a store of its own, beside those of the items.

The store lies at ``<modality_path>/<dataset>.reviews/text`` and is so never taken for one of the items; a row's token
is :func:`review_key`.
"""

from __future__ import annotations

from pathlib import Path

SEPARATOR = "\x1f"


def review_key(user: str, item: str) -> str:
    """The token of a review: user and item token joined by U+001F, which no atomic file holds."""
    return f"{user}{SEPARATOR}{item}"


def reviews_folder(modality_path: str | Path, dataset: str) -> Path:
    """The folder of a data set's review stores."""
    return Path(modality_path) / f"{dataset}.reviews"
