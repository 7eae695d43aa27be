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
from recbole_mm.extract.shards import VALUES, Encoded, Index, Notes, Shard, Workplace, cut_shards
from recbole_mm.files import check_target
from recbole_mm.modality import ModalityStore
from recbole_mm.modality.format import MANIFEST

FOREIGN = "a store that extract did not write; --overwrite replaces it"


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

    Beside the store it leaves `<store>.report.json` and the folder `<store>.extract` (see `shards`). `overwrite`
    replaces a store of another origin or a damaged one, and tries again what could not be encoded.
    """
    started = perf_counter()
    report_file = store.with_name(f"{store.name}.report.json")
    check_target("the report", report_file)
    place = Workplace(store.with_name(f"{store.name}.extract"))
    with place.locked():
        _put_in_place(place, store, modality, overwrite)
        index = _known(place, store, overwrite)
        digest = _digest(items, encoder, modality, dtype)
        retry = overwrite and not getattr(encoder, "whole", False)
        if index is None or index.digest != digest or (retry and _failed(index)):
            plan = _plan(items, encoder, index, store, dtype, retry)
            finished, encoded = _encode(place, items, plan, encoder, engine or LocalEngine(), modality, dtype)
            index = _assemble(place, items, plan, finished, encoder, dtype, digest)
            _put_in_place(place, store, modality, overwrite)
            changed, resumed, reused = True, len(plan.todo) - encoded, len(plan.reused)
        else:
            place.clear()
            changed, encoded, resumed, reused = False, 0, 0, sum(not reason for reason in index.reasons)
        absent = {row: reason for row, reason in enumerate(index.reasons) if reason}
        told: dict[str, Any] = {"store": str(store), "modality": modality, "encoder": encoder.name}
        told |= {"width": encoder.width, "identity": dict(encoder.identity), "changed": changed}
        told |= {"encoded": encoded, "resumed": resumed, "reused": reused}
        told |= {"cut": sum(index.cut), "digest": digest}
        report = Report.of(items.tokens, absent, seconds=perf_counter() - started, **told)
        if changed or not report.is_written(report_file):
            report.write(report_file)
        return report


@dataclass(frozen=True)
class Plan:
    """What a run is to do: the items left over from absent ones and from rows that still hold."""

    absent: dict[int, str]
    reused: dict[int, np.ndarray]  # position -> row [D] of the store as it is
    cut: set[int]  # of those, the texts that were longer than what the encoder reads
    todo: list[int]
    shards: list[Shard]


def _plan(items: Items, encoder: Encoder, index: Index | None, store: Path, dtype: str, retry: bool) -> Plan:
    absent, reused, cut = dict(items.absent), {}, set()
    if index is not None:
        old = ModalityStore.open(store)
        told = zip(index.keys, index.rows, index.reasons, index.cut, strict=True)
        known = {key: rest for key, *rest in told if key} if old.dtype == np.dtype(dtype) else {}
        for position, key in enumerate(items.keys):
            row, why, was_cut = known.get(key, (-1, "", False))
            if position not in absent and row >= 0:
                reused[position] = old.values[row]
                cut |= {position} if was_cut else set()
            elif why and not retry:
                absent.setdefault(position, why)
    todo = [row for row in range(len(items.tokens)) if row not in absent and row not in reused]
    made_by = f"{encoder.batch_size} {dtype}"
    return Plan(absent, reused, cut, todo, cut_shards(todo, items.keys, encoder.shard_size, made_by))


def _encode(
    place: Workplace, items: Items, plan: Plan, encoder: Encoder, engine: Engine, modality: str, dtype: str
) -> tuple[dict[str, Notes], int]:
    """Encodes the shards that no run before has finished; notes by shard key, and the number of items done."""
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
                finished[left[number].key] = Notes(result.absent, result.cut)
    return finished, encoded


def _digest(items: Items, encoder: Encoder, modality: str, dtype: str) -> str:
    """One hash of all that a store is made from."""
    digest = hashlib.sha256(f"{modality} {dtype} {encoder.name}\n".encode())
    digest.update(json.dumps(encoder.identity, sort_keys=True).encode())
    for row, (token, key) in enumerate(zip(items.tokens, items.keys, strict=True)):
        digest.update(f"\n{token}\0{key}\0{items.absent.get(row, '')}".encode())
    return digest.hexdigest()


def _failed(index: Index) -> bool:
    """Whether an item with a content could not be encoded, which may be no fault of its own."""
    return any(key and reason for key, reason in zip(index.keys, index.reasons, strict=True))


def _opened(store: Path, overwrite: bool) -> ModalityStore | None:
    """The store that is there; None where there is none, or a damaged one that may be replaced."""
    try:
        return ModalityStore.open(store) if store.exists() else None
    except WrongUse as error:
        _refuse_damaged(store, error, overwrite)
        return None


def _refuse_damaged(store: Path, error: WrongUse, overwrite: bool) -> None:
    if not (store / MANIFEST).is_file():  # then it may be anything
        raise error
    if not overwrite:
        raise WrongUse(f"{error}; --overwrite replaces it") from error


def _stated(store: ModalityStore | None) -> str | None:
    """The digest of the items that a store was made from, as its manifest states it."""
    return (store.manifest.get("metadata") or {}).get("items") if store is not None else None


def _known(place: Workplace, store: Path, overwrite: bool) -> Index | None:
    """The index of the store, whose content is as it was written; None where nothing there is to be reused."""
    there = _opened(store, overwrite)
    index = place.index(_stated(there))
    if there is None or index is None:
        if there is not None and not overwrite:
            raise WrongUse(f"{store}: {FOREIGN}")
        return None
    try:
        there.verify()
    except WrongUse as error:
        _refuse_damaged(store, error, overwrite)
        return None
    return index


def _put_in_place(place: Workplace, store: Path, modality: str, overwrite: bool) -> None:
    """Writes a store that is complete in the workplace; after a kill, at any point, it is written again."""
    index = place.staged()
    if index is None:
        return
    there = _opened(store, overwrite)
    stated = _stated(there)
    ours = there is None or stated == index.digest or place.index(stated) is not None
    if not (ours or overwrite):
        raise WrongUse(f"{store}: {FOREIGN}")
    if there is None or stated != index.digest or not _holds(there, index):
        tokens = [token for token, row in zip(index.tokens, index.rows, strict=True) if row >= 0]
        origin: dict[str, Any] = {"modality": modality, "encoder": index.encoder}
        origin |= {"source": "recbole-mm extract", "overwrite": True}
        told = {"items": index.digest, "identity": index.identity}
        values = np.load(place.folder / VALUES, mmap_mode="r", allow_pickle=False)
        ModalityStore.write(store, values, tokens, metadata=told, **origin)
        del values
    place.settle()


def _holds(store: ModalityStore, index: Index) -> bool:
    """Whether a store is what was staged: made from the same items, as many of them could be encoded, undamaged."""
    if store.rows != int((index.rows >= 0).sum()):
        return False
    try:
        store.verify()
    except WrongUse:
        return False
    return True


def _narrowed(result: Encoded, dtype: str) -> Encoded:
    """The rows in the type of the store; what that type cannot hold is absent."""
    with np.errstate(over="ignore", under="ignore"):
        values = result.values.astype(dtype)
    fits = np.isfinite(values).all(axis=1) & values.any(axis=1)
    places = [at for at in range(len(values) + len(result.absent)) if at not in result.absent]
    lost = {places[at]: f"values do not fit {dtype}" for at in np.flatnonzero(~fits)}
    absent = {**result.absent, **lost}
    return Encoded(values[fits], absent, [at for at in result.cut if at not in absent])


def _assemble(
    place: Workplace,
    items: Items,
    plan: Plan,
    finished: Mapping[str, Notes],
    encoder: Encoder,
    dtype: str,
    digest: str,
) -> Index:
    """Writes all rows in the order of the catalogue [n, D] through a memory map, and stages them."""
    absent, cut = dict(plan.absent), set(plan.cut)
    for shard in plan.shards:
        notes = finished[shard.key]
        absent.update({int(shard.rows[at]): why for at, why in notes.absent.items()})
        cut.update(int(shard.rows[at]) for at in notes.cut)
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
        kept = np.delete(shard.rows, sorted(finished[shard.key].absent))
        values[position[kept]] = place.values(shard)
    values.flush()
    reasons, were_cut = [absent.get(row, "") for row in range(count)], [row in cut for row in range(count)]
    made = dict(encoder.identity)
    index = Index(digest, encoder.name, made, items.tokens, items.keys, position, reasons, were_cut)
    place.stage(index)
    return index
