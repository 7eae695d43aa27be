"""The files of a store: their names, the manifest and its checks, hashes.

Text of an interaction has a store of its own, beside those of the items, at ``<modality_path>/<dataset>.reviews/text``,
so that it is never taken for one of the items; a row's token is :func:`review_key`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from recbole_mm.errors import WrongUse

SCHEMA_VERSION = 1
DTYPES: dict[str, np.dtype[Any]] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
MANIFEST, VALUES, TOKENS = "manifest.json", "values.npy", "tokens.txt"
SEPARATOR = "\x1f"


def read_manifest(path: Path) -> dict[str, Any]:
    """The checked manifest of the store in folder ``path``."""
    file = path / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise WrongUse(f"{path}: not a modality store, it has no {MANIFEST}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise damaged(file, f"not JSON ({error})") from error
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise WrongUse(
            f"{file}: written by a newer recbole_mm (schema {version}, this one reads {SCHEMA_VERSION}); "
            "update recbole_mm"
        )
    try:
        sound = (
            version == SCHEMA_VERSION
            and all(isinstance(manifest[key], str) for key in ("modality", "encoder"))
            and all(type(manifest[key]) is int and manifest[key] > 0 for key in ("width", "rows"))
            and manifest["dtype"] in DTYPES
            and all(type(manifest["files"][file]["bytes"]) is int for file in (VALUES, TOKENS))
            and all(isinstance(manifest["files"][file]["blake2b"], str) for file in (VALUES, TOKENS))
        )
    except (KeyError, TypeError):
        sound = False
    if not sound:
        raise damaged(file, "not the manifest of a modality store")
    return manifest


def damaged(file: Path, what: str) -> WrongUse:
    """The error for a file of a store that is not what was written, to be raised."""
    return WrongUse(f"{file}: {what}; build the store again")


def hash_file(file: Path) -> str:
    """blake2b-256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=32)).hexdigest()


def review_key(user: str, item: str) -> str:
    """The token of a review: user and item token joined by U+001F, which no atomic file holds."""
    return f"{user}{SEPARATOR}{item}"


def reviews_folder(modality_path: str | Path, dataset: str) -> Path:
    """The folder of a data set's review stores."""
    return Path(modality_path) / f"{dataset}.reviews"
