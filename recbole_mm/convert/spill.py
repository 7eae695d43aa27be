"""Columns of interactions that may be larger than memory: written to a temporary file, read in blocks.

The file has no name in its folder and is gone with its column, also after ``kill -9``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike

BLOCK = 50_000  # rows at a time


class Column(Protocol):
    """An array ``[R]`` or a `SpilledColumn`."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


class SpilledColumn:
    """Numbers ``[R]`` in a temporary file of ``folder``; a slice reads its rows and no others."""

    def __init__(self, folder: Path, dtype: DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self._length = 0
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as the column

    def append(self, values: np.ndarray) -> None:
        """Add rows at the end."""
        self._file.seek(self._length * self.dtype.itemsize)
        self._file.write(np.ascontiguousarray(values, self.dtype).data)
        self._length += len(values)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        start, stop, _ = rows.indices(self._length)
        self._file.seek(start * self.dtype.itemsize)
        return np.frombuffer(self._file.read((stop - start) * self.dtype.itemsize), self.dtype)


class SpilledTexts:
    """Text columns ``[R]`` in a temporary file of ``folder`` (Arrow IPC, LZ4), read back as they were appended."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.schema = pa.schema([(name, pa.string()) for name in names])
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as the texts
        self._writer = pa.ipc.new_stream(
            self._file, self.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")
        )

    def append(self, columns: Sequence[pa.Array]) -> None:
        """Add rows at the end, a batch."""
        self._writer.write_batch(pa.record_batch(list(columns), schema=self.schema))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All batches, once; nothing can be appended any more."""
        self._writer.close()
        self._file.seek(0)
        yield from pa.ipc.open_stream(self._file)


def blocks(rows: int) -> Iterator[slice]:
    """Slices that cover ``rows`` rows, `BLOCK` each."""
    for start in range(0, rows, BLOCK):
        yield slice(start, min(start + BLOCK, rows))


def groups(
    keys: Column, columns: Sequence[Column], keep: np.ndarray, folder: Path | None = None
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """The rows in ``keep``, about `BLOCK` at a time, all rows of a key in one group: their numbers and columns.

    ``keys``: non-negative integers [R] where ``keep`` (bool [R]) is true. Within a group rows keep their order.
    Where there are more rows than one group has, they pass through a temporary file of ``folder`` (by default
    the system's); memory holds one group, or the rows of the most frequent key.
    """
    number = -(-int(keep.sum()) // BLOCK)
    if number == 0:
        return
    if number == 1:
        parts = list(blocks(len(keep)))
        yield np.flatnonzero(keep), [np.concatenate([c[part][keep[part]] for part in parts]) for c in columns]
        return
    sizes = np.zeros(number, np.int64)
    for part in blocks(len(keep)):
        sizes += np.bincount(keys[part][keep[part]] % number, minlength=number)
    ends = np.cumsum(sizes)
    filled = ends - sizes
    record = np.dtype(
        [("row", np.int64), *((str(at), column[:0].dtype) for at, column in enumerate(columns))]
    )
    with tempfile.TemporaryFile(dir=folder) as file:
        for part in blocks(len(keep)):
            kept = np.flatnonzero(keep[part])
            records = np.empty(len(kept), record)
            records["row"] = part.start + kept
            for at, column in enumerate(columns):
                records[str(at)] = column[part][kept]
            group = keys[part][kept] % number
            records = records[np.argsort(group, kind="stable")]
            counts = np.bincount(group, minlength=number)
            for at, found in enumerate(np.split(records, np.cumsum(counts)[:-1])):
                file.seek(filled[at] * record.itemsize)
                file.write(found.data)
            filled += counts
        for end, size in zip(ends.tolist(), sizes.tolist(), strict=True):
            file.seek((end - size) * record.itemsize)
            records = np.frombuffer(file.read(size * record.itemsize), record)
            yield records["row"], [records[str(at)] for at in range(len(columns))]
