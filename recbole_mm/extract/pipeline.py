"""Items through an encoder into a store: resumable, incremental, with a report of what is absent.

Promises. A run that was killed and run again gives the bytes of a run that was not (same machine, same
settings): shards and batches are cut from the list of items to do, never from what happened before. Rows
whose key is unchanged are copied bit for bit. A row that is encoded again beside other batch mates can
differ from a run from nothing in the last digits of float32 (matrix products of another shape).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from tqdm import tqdm

from recbole_mm.errors import Failure, WrongUse
from recbole_mm.extract.encoder import Encoder
from recbole_mm.extract.engine import Engine, LocalEngine
from recbole_mm.extract.items import Items
from recbole_mm.extract.report import Report
from recbole_mm.extract.shards import VALUES, Encoded, Index, Shard, Workplace, cut_shards
from recbole_mm.modality import ModalityStore


def extract(
    items: Items,
    encoder: Encoder,
    store: Path,
    *,
    modality: str,
    engine: Engine | None = None,
    dtype: str = "float16",
    overwrite: bool = False,
) -> Report:
    """Encodes what is new or changed and puts the store at `store`; items carry keys (`with_keys`).

    Beside the store it leaves `<store>.report.json` and the folder `<store>.extract` (see `shards`).
    """
    started = perf_counter()
    report_file = store.with_name(f"{store.name}.report.json")
    place = Workplace(store.with_name(f"{store.name}.extract"))
    with place.locked():
        _put_in_place(place, store, modality)
        index = place.index(_stated(store))
        if store.exists() and index is None and not overwrite:
            raise WrongUse(f"{store}: a store that extract did not write; --overwrite replaces it")
        digest = _digest(items, encoder, modality, dtype)
        changed = index is None or index.digest != digest
        if changed:
            plan = _plan(items, encoder, index, store, dtype)
            finished, encoded = _encode(place, items, plan, encoder, engine or LocalEngine(), modality, dtype)
            absent = dict(plan.absent)
            for shard in plan.shards:
                absent.update({int(shard.rows[at]): why for at, why in finished[shard.key].items()})
            _assemble(place, items, plan, absent, finished, encoder, dtype, digest)
            _put_in_place(place, store, modality)
            resumed, reused = len(plan.todo) - encoded, len(plan.reused)
        else:
            assert index is not None
            place.clear()
            absent = {row: reason for row, reason in enumerate(index.reasons) if reason}
            encoded, resumed, reused = 0, 0, len(items.tokens) - len(absent)
        told: dict[str, Any] = {"store": str(store), "modality": modality, "encoder": encoder.name}
        told |= {"width": encoder.width, "identity": dict(encoder.identity), "changed": changed}
        told |= {"encoded": encoded, "resumed": resumed, "reused": reused}
        report = Report.of(items.tokens, absent, seconds=perf_counter() - started, **told)
        if changed or not report_file.is_file():
            report.write(report_file)
        return report


@dataclass(frozen=True)
class Plan:
    """What a run is to do: the items left over from absent ones and from rows that still hold."""

    absent: dict[int, str]
    reused: dict[int, np.ndarray]  # position -> row [D] of the store as it is
    todo: list[int]
    shards: list[Shard]


def _plan(items: Items, encoder: Encoder, index: Index | None, store: Path, dtype: str) -> Plan:
    absent, reused = dict(items.absent), {}
    if index is not None:
        old = ModalityStore.open(store)
        told = zip(index.keys, index.rows, index.reasons, strict=True) if old.dtype == np.dtype(dtype) else ()
        known = {key: (row, why) for key, row, why in told if key}
        for position, key in enumerate(items.keys):
            row, why = known.get(key, (-1, ""))
            if position not in absent and row >= 0:
                reused[position] = old.values[row]
            elif why:
                absent.setdefault(position, why)
    todo = [row for row in range(len(items.tokens)) if row not in absent and row not in reused]
    made_by = f"{encoder.batch_size} {dtype}"
    return Plan(absent, reused, todo, cut_shards(todo, items.keys, encoder.shard_size, made_by))


def _encode(
    place: Workplace, items: Items, plan: Plan, encoder: Encoder, engine: Engine, modality: str, dtype: str
) -> tuple[dict[str, dict[int, str]], int]:
    """Encodes the shards that no run before has finished; absent items by shard key, and the number of items done."""
    finished = place.finished()
    left = [shard for shard in plan.shards if shard.key not in finished]
    encoded = sum(len(shard.rows) for shard in left)
    if left:
        raws = [[items.raws[row] for row in shard.rows] for shard in left]
        todo, title = len(plan.todo), f"{modality} ({encoder.name})"
        with tqdm(total=todo, initial=todo - encoded, unit="item", desc=title, disable=None) as bar:
            for number, result in engine(encoder, raws, bar.update):
                result = _narrowed(result, dtype)
                place.record(left[number], result)
                finished[left[number].key] = result.absent
    return finished, encoded


def _digest(items: Items, encoder: Encoder, modality: str, dtype: str) -> str:
    """One hash of all that a store is made from."""
    digest = hashlib.sha256(f"{modality} {dtype} {encoder.name}\n".encode())
    digest.update(json.dumps(encoder.identity, sort_keys=True).encode())
    for row, (token, key) in enumerate(zip(items.tokens, items.keys, strict=True)):
        digest.update(f"\n{token}\0{key}\0{items.absent.get(row, '')}".encode())
    return digest.hexdigest()


def _stated(store: Path) -> str | None:
    """The digest of the items that a store was made from, as its manifest states it."""
    return ModalityStore.open(store).manifest.get("metadata", {}).get("items") if store.exists() else None


def _put_in_place(place: Workplace, store: Path, modality: str) -> None:
    """Writes a store that is complete in the workplace; after a kill, at any point, it is written again."""
    index = place.staged()
    if index is None:
        return
    if _stated(store) != index.digest:
        tokens = [token for token, row in zip(index.tokens, index.rows, strict=True) if row >= 0]
        origin: dict[str, Any] = {"modality": modality, "encoder": index.encoder}
        origin |= {"source": "recbole-mm extract", "overwrite": True}
        told = {"items": index.digest, "identity": index.identity}
        values = np.load(place.folder / VALUES, mmap_mode="r", allow_pickle=False)
        ModalityStore.write(store, values, tokens, metadata=told, **origin)
        del values
    place.settle()


def _narrowed(result: Encoded, dtype: str) -> Encoded:
    """The rows in the type of the store; what that type cannot hold is absent."""
    with np.errstate(over="ignore", under="ignore"):
        values = result.values.astype(dtype)
    fits = np.isfinite(values).all(axis=1) & values.any(axis=1)
    places = [at for at in range(len(values) + len(result.absent)) if at not in result.absent]
    lost = {places[at]: f"values do not fit {dtype}" for at in np.flatnonzero(~fits)}
    return Encoded(values[fits], {**result.absent, **lost})


def _assemble(
    place: Workplace,
    items: Items,
    plan: Plan,
    absent: Mapping[int, str],
    finished: Mapping[str, Mapping[int, str]],
    encoder: Encoder,
    dtype: str,
    digest: str,
) -> None:
    """Writes all rows in the order of the catalogue [n, D] through a memory map, and stages them."""
    count = len(items.tokens)
    rows = [row for row in range(count) if row not in absent]
    if not rows:
        why = Counter(absent.values()).most_common(1)[0][0] if absent else "there is none"
        raise Failure(f"none of the {count} items could be encoded: {why}; see the items file")
    position = np.full(count, -1, dtype=np.int64)
    position[rows] = np.arange(len(rows))
    shape = (len(rows), encoder.width)
    values: Any = np.lib.format.open_memmap(place.folder / VALUES, "w+", np.dtype(dtype), shape)
    for row, vector in plan.reused.items():
        values[position[row]] = vector
    for shard in plan.shards:
        kept = np.delete(shard.rows, sorted(finished[shard.key]))
        values[position[kept]] = place.values(shard)
    values.flush()
    reasons = [absent.get(row, "") for row in range(count)]
    identity = dict(encoder.identity)
    place.stage(Index(digest, encoder.name, identity, items.tokens, items.keys, position, reasons))
