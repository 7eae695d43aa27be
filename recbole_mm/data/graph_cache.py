"""Graphs of users or items kept on disk, each under a key of all that made it."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recbole_mm.files import replacing
from recbole_mm.layer import graph
from recbole_mm.layer.graph import co_interaction_graph

#: below ``checkpoint_dir``
FOLDER = "graphs"


def co_interactions(part: Any, kind: str, k: int | None, min_common: int) -> Any:
    """:func:`~recbole_mm.layer.graph.co_interaction_graph` of the users or items (``kind``) of a training part.

    It is in internal ids, so their tokens belong to its key, as do the pairs that make it (of a pre-training those of
    positive label) and the code.
    """
    fields = {"user": part.uid_field, "item": part.iid_field}
    users, items = (part.inter_feat[field].numpy() for field in fields.values())
    nodes, others = (users, items) if kind == "user" else (items, users)
    tokens = part.field2id_token[fields[kind]]
    distinct = np.unique(nodes.astype(np.int64) * (others.max(initial=0) + 1) + others)
    made_of = {
        "graph": "co_interaction_graph",
        "kind": kind,
        "k": k,
        "min_common": min_common,
        "pairs": hashlib.sha256(distinct.tobytes()).hexdigest(),
        "ids": hashlib.sha256("\n".join(map(str, tokens)).encode()).hexdigest(),
    }
    folder = Path(part.config["checkpoint_dir"]) / FOLDER
    return cached(folder, made_of, lambda: co_interaction_graph(nodes, others, len(tokens), k, min_common))


def cached(folder: Path, made_of: Mapping[str, Any], build: Callable[[], Any]) -> Any:
    """A sparse matrix from ``folder`` where it is there under the key of ``made_of``, else built and written there.

    The code of ``layer/graph.py`` belongs to each key. Files appear whole or not at all; one that cannot be read is
    built again, with a warning.
    """
    code = hashlib.sha256(Path(graph.__file__).read_bytes()).hexdigest()
    key = hashlib.sha256(json.dumps({**made_of, "code": code}, sort_keys=True).encode()).hexdigest()
    file = folder / f"{key[:32]}.npz"
    if file.is_file():
        try:
            return sp.load_npz(file).tocsr()
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            getLogger("recbole_mm.data").warning("%s cannot be read (%s) and is built again", file, error)
    matrix = build()
    with replacing(file) as temporary, temporary.open("wb") as stream:
        sp.save_npz(stream, matrix)
    return matrix
