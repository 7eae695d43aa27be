"""Checks vectors and tokens, row by row named in errors, and writes them as a store in one step.

Rows in errors are counted from 0, as in numpy.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_mm.errors import WrongUse
from recbole_mm.modality.format import DTYPES, MANIFEST, SCHEMA_VERSION, TOKENS, VALUES, hash_file

CHUNK_BYTES = 1 << 24
_NAME = re.compile(r"\w[\w.-]*")


def write_store(
    path: Path,
    values: np.ndarray,
    tokens: Sequence[str] | np.ndarray,
    description: Mapping[str, str | None],
    metadata: Mapping[str, Any] | None,
    present: np.ndarray | None,
    dtype: str | None,
    overwrite: bool,
) -> None:
    """Write ``values`` and ``tokens`` to folder ``path``, complete or not at all.

    Args:
        path: the store's folder; must not exist, or be a store and ``overwrite`` be true.
        values: ``[N, D]`` floats, possibly memory-mapped: read in chunks. float64 becomes float32.
        tokens: ``[N]`` text, one for each row, unique.
        description: modality, encoder and source, for the manifest.
        metadata: anything else for the manifest, JSON values.
        present: bool ``[N]``; rows that are false are left out, whatever they hold.
        dtype: float16 or float32; by default that of ``values``.
        overwrite: replace a store that is there.

    Raises:
        WrongUse: row counts that differ, a repeated, empty or non-text token, NaN or infinity, a wrong
            dtype, values beyond the range of the dtype, nothing to store, a folder in the way.
    """
    if not _NAME.fullmatch(name := str(description["modality"])):
        raise WrongUse(f"modality: {name!r} is no name; write it with letters, digits, _ and -, such as text")
    values = _checked_values(values)
    tokens = np.asarray(tokens, dtype=object)
    if tokens.ndim != 1 or len(tokens) != len(values):
        counts = f"{len(values)} rows of values but {tokens.size} tokens"
        raise WrongUse(f"{path}: {counts}; row k must belong to token k")
    kept = _kept_rows(present, len(values), path)
    _check_tokens(tokens[kept], kept, path)
    target = _target_dtype(values.dtype, dtype, path)
    _check_place(path, overwrite)
    try:
        extra = json.loads(json.dumps(dict(metadata or {})))
    except (TypeError, ValueError) as error:
        raise WrongUse(f"{path}: metadata must be JSON values ({error})") from error

    with _swapped_in(path) as partial:
        zero_rows = _write_values(partial / VALUES, values, tokens, kept, target, path)
        (partial / TOKENS).write_bytes(("\n".join(tokens[kept]) + "\n").encode("utf-8"))
        manifest = {
            "schema_version": SCHEMA_VERSION,
            **description,
            "rows": len(kept),
            "width": int(values.shape[1]),
            "dtype": target.name,
            "zero_rows": zero_rows,
            "files": {
                file: {"bytes": (partial / file).stat().st_size, "blake2b": hash_file(partial / file)}
                for file in (VALUES, TOKENS)
            },
            "metadata": extra,
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _checked_values(values: np.ndarray) -> np.ndarray:
    values = np.asanyarray(values)
    if values.dtype.kind != "f" or values.dtype.itemsize > 8:
        raise WrongUse(f"values are {values.dtype}; give float16, float32 or float64 (stored as float32)")
    if values.ndim != 2 or 0 in values.shape:
        raise WrongUse(f"values have shape {list(values.shape)}; give [rows, width], both at least 1")
    return values


def _kept_rows(present: np.ndarray | None, rows: int, path: Path) -> np.ndarray:
    if present is None:
        return np.arange(rows)
    present = np.asarray(present)
    if present.dtype != np.bool_ or present.shape != (rows,):
        found = f"{present.dtype} {list(present.shape)}"
        raise WrongUse(f"{path}: the presence mask is {found}; give bool [{rows}], one for each row")
    if not present.any():
        raise WrongUse(f"{path}: nothing to store, no row is present; check the values and the mask")
    return np.flatnonzero(present)


def _check_tokens(tokens: np.ndarray, kept: np.ndarray, path: Path) -> None:
    for position, token in enumerate(tokens):
        where = f"{path}: token of row {kept[position]}"
        if not isinstance(token, str):
            kind = f"{type(token).__name__} {token!r}"
            raise WrongUse(f"{where} is {kind}; give text, so that leading zeros survive")
        if not token or "\n" in token:
            what = "has a line break" if token else "is empty"
            raise WrongUse(f"{where} {what} ({token!r}); rename or leave it out")
        if not token.isascii() and any("\ud800" <= letter <= "\udfff" for letter in token):
            raise WrongUse(f"{where} ({token!r}) is not valid text; rename it")
    repeated = pd.Index(tokens, dtype=object).duplicated()
    if repeated.any():
        second = int(repeated.argmax())
        first = int((tokens == tokens[second]).argmax())
        place = f"row {kept[second]} repeats token {tokens[second]!r} of row {kept[first]}"
        raise WrongUse(f"{path}: {place}; keep one row for each item")


def _target_dtype(given: np.dtype[Any], asked: str | None, path: Path) -> np.dtype[Any]:
    if asked is None:
        asked = "float16" if given.itemsize == 2 else "float32"
    if asked not in DTYPES:
        raise WrongUse(f"{path}: dtype {asked!r} is not one of {', '.join(DTYPES)}")
    return DTYPES[asked]


def _check_place(path: Path, overwrite: bool) -> None:
    if not path.exists():
        return
    if not (path / MANIFEST).is_file():
        raise WrongUse(f"{path}: exists and is no modality store; choose another folder")
    if not overwrite:
        raise WrongUse(f"{path}: a store is there already; add overwrite (--overwrite) to replace it")


def _write_values(
    file: Path, values: np.ndarray, tokens: np.ndarray, kept: np.ndarray, target: np.dtype[Any], path: Path
) -> int:
    """Write the kept rows as npy, chunk by chunk; returns how many are all zero."""
    zero_rows = 0
    per_chunk = max(1, CHUNK_BYTES // (values.shape[1] * 8))
    with file.open("wb") as stream:
        description = {"descr": target.str, "fortran_order": False, "shape": (len(kept), values.shape[1])}
        np.lib.format.write_array_header_1_0(stream, description)
        for start in range(0, len(kept), per_chunk):
            rows = kept[start : start + per_chunk]
            one_run = rows[-1] - rows[0] == len(rows) - 1
            chunk = np.asarray(values[rows[0] : rows[-1] + 1] if one_run else values[rows])
            with np.errstate(over="ignore"):
                narrow = chunk.astype(target)
            finite = np.isfinite(narrow).all(axis=1)
            if not finite.all():
                # a value that was finite and no longer is, is named only where no other row is worse
                bad = int(np.isfinite(chunk).all(axis=1).argmin())
                bad = bad if not np.isfinite(chunk[bad]).all() else int(finite.argmin())
                raise WrongUse(f"{path}: {_fault(chunk[bad], rows[bad], tokens[rows[bad]], target)}")
            zero_rows += int((~narrow.any(axis=1)).sum())
            stream.write(np.ascontiguousarray(narrow).data)
    return zero_rows


def _fault(vector: np.ndarray, row: int, token: str, target: np.dtype[Any]) -> str:
    if not np.isfinite(vector).all():
        remedy = "mend the vector or leave the row out (a presence mask)"
        return f"NaN or infinity in row {row} (token {token!r}); {remedy}"
    remedy = "store as float32" if target.itemsize == 2 else "scale the values"
    return f"row {row} (token {token!r}) reaches {np.abs(vector).max():g}, beyond {target.name}; {remedy}"


@contextmanager
def _swapped_in(path: Path) -> Iterator[Path]:
    """A folder to fill, named ``path`` at the end; an older store is moved aside first and put back if that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, aside = (path.with_name(f".{path.name}.{os.getpid()}.{end}") for end in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        yield partial
        if path.exists():
            os.replace(path, aside)
        try:
            os.replace(partial, path)
        except OSError:
            if aside.exists():
                os.replace(aside, path)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
