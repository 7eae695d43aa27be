"""What survives a kill: finished shards with a journal, and the index of what a store was made from.

Beside a store `text` lie `text.extract/` (this) and `text.report.json`. In the folder:

- `index.parquet`: token, key, row, reason of every item of the store as it is;
- `journal.jsonl`, `<key>.npy`: the finished shards of a run under way;
- `next.parquet`, `values.npy`: a store complete but not yet in place; the next run puts it there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recbole_mm.errors import Failure
from recbole_mm.files import append_line, read_lines, sha256

INDEX, NEXT, VALUES = "index.parquet", "next.parquet", "values.npy"
JOURNAL, LOCK = "journal.jsonl", "lock"


@dataclass(frozen=True)
class Shard:
    """A slice of the items to encode. The key holds all that makes its bytes, batch mates included."""

    key: str
    rows: np.ndarray  # positions in the catalogue, int64 [n]


@dataclass(frozen=True)
class Encoded:
    """What a shard came to: values [n - absent, D] in its order; reasons, and who was cut, by place in the shard."""

    values: np.ndarray
    absent: dict[int, str]
    cut: Sequence[int] = ()


@dataclass(frozen=True)
class Notes:
    """What an `Encoded` says beside its values."""

    absent: dict[int, str]
    cut: Sequence[int]


@dataclass(frozen=True)
class Index:
    """What a store was made from: `rows` [N] are its row numbers, -1 for an absent item."""

    digest: str
    encoder: str
    identity: dict[str, Any]
    tokens: list[str]
    keys: list[str]
    rows: np.ndarray
    reasons: list[str]
    cut: list[bool]  # whether a text was longer than what the encoder reads


def cut_shards(todo: Sequence[int], keys: Sequence[str], size: int, made_by: str) -> list[Shard]:
    """Consecutive slices of the items to do; `made_by` names encoder settings that touch the last digits."""
    shards = []
    for start in range(0, len(todo), size):
        rows = todo[start : start + size]
        text = "\n".join([made_by, *(keys[row] for row in rows)])
        shards.append(Shard(hashlib.sha256(text.encode()).hexdigest()[:32], np.asarray(rows, dtype=np.int64)))
    return shards


class Workplace:
    """The folder of one store's runs; one process at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder; the system lets go of it when the process dies, however it dies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("w") as handle:
            try:
                import fcntl
            except ImportError:  # Windows: no such lock; two runs at once are then the user's to avoid
                yield
                return
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                who = "another extract is at work on this store"
                raise Failure(f"{self.folder}: {who}; wait for it") from error
            yield

    def index(self, digest: str | None) -> Index | None:
        """The index of the store on disk, whose manifest states `digest`; None for another's store."""
        found = _read_index(self.folder / INDEX)
        return found if found is not None and found.digest == digest else None

    def staged(self) -> Index | None:
        """The index of a store that is complete in `values.npy` [n, D] but not yet in place."""
        return _read_index(self.folder / NEXT)

    def stage(self, index: Index) -> None:
        """Says that `values.npy` is whole, and what it is made from."""
        columns = {"token": index.tokens, "key": index.keys, "row": index.rows, "reason": index.reasons}
        columns["cut"] = index.cut
        told = {"digest": index.digest, "encoder": index.encoder, "identity": json.dumps(index.identity)}
        with _whole(self.folder / NEXT) as handle:
            pq.write_table(pa.table(columns, metadata=told), handle)

    def settle(self) -> None:
        """The staged store is in place: its index takes over, the shards have done their work."""
        os.replace(self.folder / NEXT, self.folder / INDEX)
        self.clear()

    def clear(self) -> None:
        """Drops the journal, then the shards."""
        (self.folder / JOURNAL).unlink(missing_ok=True)
        for file in [*self.folder.glob("*.npy"), *self.folder.glob("*.tmp")]:
            file.unlink()

    def record(self, shard: Shard, encoded: Encoded) -> None:
        """Puts a finished shard on disk, then into the journal; both reach the disk before this returns."""
        file = self.folder / f"{shard.key}.npy"
        with _whole(file) as handle:
            np.save(handle, encoded.values, allow_pickle=False)
        entry = {"key": shard.key, "sha256": sha256(file), "absent": sorted(encoded.absent.items())}
        append_line(self.folder / JOURNAL, {**entry, "cut": list(encoded.cut)})

    def finished(self) -> dict[str, Notes]:
        """The notes of each shard that is in the journal and whole on disk, by shard key."""
        done: dict[str, Notes] = {}
        for entry in read_lines(self.folder / JOURNAL):
            file = self.folder / f"{entry['key']}.npy"
            if file.is_file() and sha256(file) == entry["sha256"]:
                absent = {int(place): str(reason) for place, reason in entry["absent"]}
                done[entry["key"]] = Notes(absent, entry.get("cut", []))
        return done

    def values(self, shard: Shard) -> np.ndarray:
        """The rows of a finished shard, memory-mapped where there are any."""
        return np.load(self.folder / f"{shard.key}.npy", allow_pickle=False)


def _read_index(path: Path) -> Index | None:
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError):
        return None  # an index that cannot be read only means that nothing is reused
    told = table.schema.metadata or {}
    digest, encoder = (told.get(name, b"").decode() for name in (b"digest", b"encoder"))
    identity, rows = json.loads(told.get(b"identity", b"{}")), table["row"].to_numpy()
    tokens, keys, reasons = (table[name].to_pylist() for name in ("token", "key", "reason"))
    cut = table["cut"].to_pylist() if "cut" in table.column_names else [False] * len(tokens)
    return Index(digest, encoder, identity, tokens, keys, rows, reasons, cut)


@contextmanager
def _whole(file: Path) -> Iterator[BinaryIO]:
    """A handle to write; what it got is on disk before the file has its name."""
    temporary = file.with_suffix(".tmp")
    with temporary.open("wb") as handle:
        yield handle
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, file)
