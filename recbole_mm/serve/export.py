"""A trained model as files for other programs: vectors, an index, the item tower, weights."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from recbole_mm.errors import Failure, WrongUse
from recbole_mm.serialize import KIND, to_plain
from recbole_mm.serve.index import build_index, search_unseen, write_index
from recbole_mm.serve.rank import SEEN, Ranker
from recbole_mm.serve.token import Tokens
from recbole_mm.serve.tower import write_tower
from recbole_mm.serve.vectors import Vectors

FORMAT = 1
#: users whose lists are compared with the model's, and the length of those
TRIED, K = 200, 10
BLOCK = 1 << 14


def export_run(ranker: Ranker, tokens: Tokens, folder: str | Path, about: dict[str, Any]) -> dict[str, Any]:
    """Write ``folder``, which appears when it is whole; returns its manifest.

    What a model cannot give stands in the manifest under ``left_out``, with the reason.

    Args:
        ranker: of the model.
        tokens: of its data.
        folder: not there yet, or empty.
        about: what the manifest says of the run.

    Raises:
        WrongUse: something is in the folder, or a library is missing.
    """
    target = Path(folder).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise WrongUse(f"{target}: something is there already; name another folder, or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    place = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    manifest: dict[str, Any] = {"format": FORMAT, **about}
    left_out: dict[str, str] = {}
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "vectors": lambda: _vectors(ranker, tokens, place),
        "item_tower": lambda: _tower(ranker, place),
        "weights": lambda: _weights(ranker.model, place),
    }
    try:
        for name, step in steps.items():
            try:
                manifest[name] = step()
            except (WrongUse, Failure) as error:
                if "pip install" in str(error):
                    raise
                left_out[name] = str(error)
        manifest["left_out"] = left_out
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        (place / "manifest.json").write_text(text + "\n", encoding="utf-8")
        if target.exists():
            target.rmdir()
        os.replace(place, target)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return manifest


def _vectors(ranker: Ranker, tokens: Tokens, place: Path) -> dict[str, Any]:
    """Items (the candidates of the run), users, and an index of either kind for each domain that has a vector."""
    vectors, part = Vectors(ranker), ranker.train
    ids = np.flatnonzero(ranker.pool)
    items = np.ascontiguousarray(vectors.items[ids], dtype=np.float32)
    np.save(place / "items.npy", items)
    columns: dict[str, Any] = {"item": [str(tokens.items[i]) for i in ids]}
    of_item = None if part.item_domain is None else np.asarray(part.item_domain)[ids]
    if of_item is not None:
        columns["domain"] = [tokens.domains[d] if d >= 0 else None for d in of_item.tolist()]
    if tokens.titles is not None:
        columns["title"] = tokens.titles[ids]
    columns["vector"] = _lists(items)
    pq.write_table(pa.table(columns), place / "items.parquet")
    _write_users(vectors, tokens, place)

    domains = ranker.domains(None)
    if domains is None and vectors.domains > 1:
        domains = list(range(vectors.domains))
    indexes: dict[str, Any] = {}
    for number in [-1] if domains is None else domains:
        rows = None if domains is None else np.flatnonzero(of_item == number)
        name = "" if domains is None else tokens.domains[number]
        stem = "index" if domains is None else f"index-{number}-{re.sub(r'[^0-9A-Za-z_.-]+', '_', name)}"
        for kind in ("flat", "hnsw"):
            index = build_index(items if rows is None else items[rows], rows, kind)
            write_index(index, place / f"{stem}.{kind}.faiss")
            indexes.setdefault(name, {})[kind] = {
                "file": f"{stem}.{kind}.faiss", **_tried(index, ranker, vectors, ids, number),
            }  # fmt: skip
    return {
        "items": len(ids),
        "users": part.user_num - 1,
        "width": items.shape[1],
        "user_vectors": "one" if vectors.domains == 1 else tokens.domains,
        "similarity": "inner product",
        "indexes": indexes[""] if domains is None else indexes,
    }


def _write_users(vectors: Vectors, tokens: Tokens, place: Path) -> None:
    """Block by block: ``[U, d]``, or with a vector for each domain ``[U, K, d]``."""
    number, width = len(tokens.users) - 1, vectors.items.shape[1]
    shape = (number, width) if vectors.domains == 1 else (number, vectors.domains, width)
    file = np.lib.format.open_memmap(place / "users.npy", "w+", np.float32, shape)
    writer = None
    for start, found in _blocks(vectors, number):
        file[start : start + len(found)] = found.reshape(len(found), *shape[1:])
        names = [str(token) for token in tokens.users[1 + start : 1 + start + len(found)]]
        table = pa.table({"user": names, "vector": _lists(found.reshape(len(found), -1))})
        writer = writer or pq.ParquetWriter(place / "users.parquet", table.schema)
        writer.write_table(table)
    file.flush()
    if writer is not None:
        writer.close()


def _blocks(vectors: Vectors, users: int) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, users, BLOCK):
        ids = np.arange(1 + start, 1 + min(start + BLOCK, users))
        yield start, vectors.of_users(ids).astype(np.float32)


def _lists(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _tried(index: Any, ranker: Ranker, vectors: Vectors, ids: np.ndarray, domain: int) -> dict[str, Any]:
    """How many of the model's own lists of some users are found with the index, and the share of their items."""
    part = ranker.train
    users = np.sort(np.random.default_rng(1).permutation(np.arange(1, part.user_num))[:TRIED])
    row_of = np.full(part.item_num, -2)
    row_of[ids] = np.arange(len(ids))
    seen: list[list[int]] = [[] for _ in users]
    place = {int(user): n for n, user in enumerate(users)}
    for phase in SEEN["train+valid"]:
        of_user, items = part.pairs[phase]
        some = np.isin(of_user, users)
        for user, item in zip(of_user[some].tolist(), items[some].tolist(), strict=True):
            seen[place[user]].append(row_of[item])
    given = vectors.of_users(users)[:, 0 if vectors.domains == 1 else domain]
    found, values = search_unseen(index, given, K, [np.array(each, dtype=np.int64) for each in seen])
    equal = hits = total = 0
    wanted = list(ranker.lists(users, K, domain=None if domain < 0 else domain))
    items = row_of[np.maximum(np.concatenate([each.items for each in wanted]), 0)]
    scores = np.concatenate([each.scores for each in wanted])
    for own, value, theirs, score in zip(found, values, items, scores, strict=True):
        real = theirs >= 0
        equal += bool(_same(own[: real.sum()], value[: real.sum()], theirs[real], score[real]))
        hits += int(np.isin(theirs[real], own).sum())
        total += int(real.sum())
    return {"tried_users": len(users), "equal_lists": equal, f"recall@{K}": round(hits / max(total, 1), 4)}


def _same(found: np.ndarray, values: np.ndarray, wanted: np.ndarray, scores: np.ndarray) -> bool:
    """Whether two lists are one, apart from the order of items whose scores are the same but for rounding."""
    if len(found) != len(wanted):
        return False
    away = np.abs(values - scores)
    near = 1e-5 * max(float(np.abs(scores).max(initial=0)), 1e-12)
    return bool(((found == wanted) | (away <= near)).all())


def _tower(ranker: Ranker, place: Path) -> dict[str, Any]:
    file = place / "item_tower.onnx"
    try:
        return {"file": file.name, **write_tower(ranker.model, ranker.train, file)}
    except (WrongUse, Failure):
        file.unlink(missing_ok=True)
        raise


def _weights(model: Any, place: Path) -> dict[str, Any]:
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise WrongUse('weights need safetensors: pip install "recbole_mm[export]"') from error
    # what EASE and ItemKNN learn is no parameter
    beside = to_plain(model.other_parameter() or {}, "other_parameter")
    held = [*model.state_dict().items(), *(pair for name in beside for pair in _named(name, beside[name]))]
    state = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in held
        if isinstance(value, torch.Tensor) and value.layout == torch.strided
    }
    save_file(state, place / "weights.safetensors")
    return {"file": "weights.safetensors", "tensors": len(state)}


def _named(name: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a value of `to_plain` with their names; of a sparse matrix its rows, columns, values and shape."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for number, each in enumerate(value):
            yield from _named(f"{name}.{number}", each)
    elif isinstance(value, Mapping):
        kind = value.get(KIND)
        if kind == "sparse":
            value = {**value, "shape": torch.tensor(value["shape"])}
        for key, each in value.items():
            yield from _named(name if kind in ("array", "module") else f"{name}.{key}", each)
