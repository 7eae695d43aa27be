"""Vectors and tokens from the files people have: npy, a list of ids, parquet. Nothing here unpickles."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from recbole_mm.errors import WrongUse, suggest

SEPARATORS = {".csv": ",", ".tsv": "\t", ".item": "\t"}
MAX_CELL = 1 << 24  # characters


def read_array(path: str | Path) -> np.ndarray:
    """A ``.npy`` file, memory-mapped; files that need pickle are refused."""
    path = _existing(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        reason = str(error).lower() if isinstance(error, ValueError) else ""
        if "empty file" in reason:  # older numpy cannot map an array without rows
            raise WrongUse(f"{path}: empty; it must hold at least one row") from error
        if "pickle" in reason or "object" in reason:
            raise WrongUse(
                f"{path}: no plain npy file, it holds Python objects or another format; "
                "save it again with numpy.save as float16 or float32"
            ) from error
        raise WrongUse(f"{path}: not readable as npy, perhaps truncated ({error})") from error
    if not isinstance(array, np.ndarray):
        raise WrongUse(f"{path}: an npz archive; save its array with numpy.save as npy")
    if array.size == 0:
        raise WrongUse(f"{path}: empty; it must hold at least one row")
    return array


def read_tokens(path: str | Path, column: str | None = None) -> list[str]:
    """Item tokens as text: one a line, or a column of ``.csv``, ``.tsv``, ``.item`` (``name:type`` headers).

    Line k (for a table: row k after the header) belongs to row k of the values.
    """
    path = _existing(path)
    try:
        if path.suffix in SEPARATORS:
            return _read_token_column(path, column)
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise WrongUse(f"{path}: not UTF-8 ({error}); save it as UTF-8") from error
    if column is not None:
        raise WrongUse(f"{path}: a column ({column}) can be named for {', '.join(SEPARATORS)} files only")
    return text.removesuffix("\n").split("\n") if text else []


def read_parquet(
    path: str | Path, token_column: str, vector_columns: Sequence[str]
) -> tuple[np.ndarray, np.ndarray | list[str], np.ndarray]:
    """Values ``[N, D]``, tokens ``[N]`` and presence ``[N]`` from a parquet file.

    Args:
        path: the file.
        token_column: column of item tokens; text, so that leading zeros survive.
        vector_columns: one column of equally long lists (a null is an absent item), or several
            numeric columns, one for each dimension.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = _existing(path)
    try:
        names = pq.read_schema(path).names
        for column in (token_column, *vector_columns):
            _check_column(path, column, names)
        table = pq.read_table(path, columns=list(dict.fromkeys((token_column, *vector_columns))))
    except pa.ArrowException as error:
        raise WrongUse(f"{path}: not readable as parquet ({str(error).partition(chr(10))[0]})") from error
    tokens = table[token_column].combine_chunks().to_numpy(zero_copy_only=False)
    first = table[vector_columns[0]].type
    if len(vector_columns) == 1 and hasattr(first, "value_type"):
        values, present = _stack_lists(path, table[vector_columns[0]].combine_chunks(), vector_columns[0])
        return values, tokens, present
    for column in vector_columns:
        kind, nulls = table[column].type, table[column].null_count
        if not pa.types.is_floating(kind):
            raise WrongUse(f"{path}: column '{column}' is {kind}; give lists of floats or floats")
        if nulls:
            raise WrongUse(f"{path}: column '{column}' has {nulls} nulls; fill or drop them")
    values = np.column_stack([table[column].to_numpy() for column in vector_columns])
    return values, tokens, np.ones(len(values), dtype=bool)


def _stack_lists(path: Path, lists: object, column: str) -> tuple[np.ndarray, np.ndarray]:
    import pyarrow as pa
    import pyarrow.compute as pc

    assert isinstance(lists, pa.Array)
    if not pa.types.is_floating(lists.type.value_type):
        raise WrongUse(f"{path}: column '{column}' is {lists.type}; give lists of floats")
    present = pc.is_valid(lists).to_numpy(zero_copy_only=False)
    lengths = pc.list_value_length(lists).drop_null().to_numpy()
    if len(lengths) == 0 or lengths[0] == 0:
        raise WrongUse(f"{path}: column '{column}' holds no vector")
    if (lengths != lengths[0]).any():
        position = int((lengths != lengths[0]).argmax())
        row = int(np.flatnonzero(present)[position])
        sizes = f"{lengths[position]} numbers, others {lengths[0]}"
        raise WrongUse(f"{path}: row {row} of '{column}' has {sizes}")
    flat = lists.drop_null().flatten()
    if flat.null_count:
        position = int(pc.index(pc.is_null(flat), True).as_py()) // int(lengths[0])
        row = int(np.flatnonzero(present)[position])
        raise WrongUse(f"{path}: row {row} of '{column}' has a null inside its vector; mend or drop it")
    values = np.zeros((len(present), int(lengths[0])), dtype=flat.type.to_pandas_dtype())
    values[present] = flat.to_numpy(zero_copy_only=False).reshape(-1, int(lengths[0]))
    return values, present


def csv_rows(lines: Iterable[str], path: Path, separator: str) -> Iterator[tuple[int, int, list[str]]]:
    """The rows of a CSV, each as its first line, its last line and its cells (none for a blank line).

    ``lines``: of the file ``path``, with their line breaks as they stand there.

    Raises:
        WrongUse: with the line, text behind a closed quote, a quote that is not closed.
    """
    before, limit = 0, csv.field_size_limit(MAX_CELL)
    try:
        reader = csv.reader(lines, delimiter=separator, strict=True)
        for cells in reader:
            yield before + 1, reader.line_num, cells
            before = reader.line_num
    except csv.Error as error:
        wrong = f"a quote that is not closed within {MAX_CELL} characters"
        wrong = "text behind a closed quote" if "expected after" in str(error) else wrong
        remedy = 'a cell that starts with a quote is written "…", each quote within doubled'
        raise WrongUse(f"{path}, line {before + 1}: {wrong}; {remedy}") from error
    finally:
        csv.field_size_limit(limit)


def _read_token_column(path: Path, column: str | None) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv_rows(stream, path, SEPARATORS[path.suffix])
        header = next(rows, (0, 0, []))[2]
        names = [name.split(":")[0] if path.suffix == ".item" else name for name in header]
        position = _position(path, column, names)
        tokens = []
        for line, _, row in rows:
            cells = row or [""]  # a blank line
            if len(cells) != len(names):
                raise WrongUse(
                    f"{path}, line {line}: {len(cells)} fields, the header has {len(names)}; every row has all "
                    "fields, and one that holds the separator is quoted"
                )
            tokens.append(cells[position])
    return tokens


def _position(path: Path, column: str | None, names: Sequence[str]) -> int:
    """Where the column of the ids is; it need not be named if it is the only one."""
    if column is None:
        if len(names) != 1:
            raise WrongUse(f"{path}: name the column of the ids (--ids-column), one of {', '.join(names)}")
        column = names[0]
    _check_column(path, column, names)
    if names.count(column) > 1:
        raise WrongUse(f"{path}: column '{column}' is there twice; rename one")
    return names.index(column)


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        near = [each.name for each in path.parent.glob("*")]
        raise WrongUse(f"{path}: no such file{suggest(path.name, near, listed=False)}")
    return path


def _check_column(path: Path, column: str, names: Sequence[str]) -> None:
    if column not in names:
        raise WrongUse(f"{path}: no column '{column}'{suggest(column, names)}")
