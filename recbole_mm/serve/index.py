"""Search for the items with the largest dot products: a faiss index, exact or a graph (HNSW)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recbole_mm.errors import WrongUse

#: links of a node, and how many nodes are looked at when one is added and when one is searched
LINKS, ADDING, SEARCHING = 32, 200, 128


def build_index(vectors: np.ndarray, rows: np.ndarray | None, kind: str) -> Any:
    """An index by inner product.

    Args:
        vectors: float32 ``[n, d]``.
        rows: ``[n]``, the numbers under which they are found; None: 0 … n - 1.
        kind: ``flat`` (exact) or ``hnsw`` (Malkov and Yashunin 2018, arXiv 1603.09320).
    """
    faiss = _faiss()
    width, product = vectors.shape[1], faiss.METRIC_INNER_PRODUCT
    if kind == "flat":
        index = faiss.IndexFlatIP(width)
    else:
        index = faiss.IndexHNSWFlat(width, LINKS, product)
        index.hnsw.efConstruction, index.hnsw.efSearch = ADDING, SEARCHING
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if rows is None:
        index.add(vectors)
        return index
    named = faiss.IndexIDMap(index)
    named.add_with_ids(vectors, rows)
    return named


def write_index(index: Any, path: Path) -> None:
    """Write it for ``faiss.read_index``."""
    _faiss().write_index(index, str(path))


def search_unseen(
    index: Any, vectors: np.ndarray, k: int, seen: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` best rows for each of ``vectors [n, d]`` that are not among its ``seen``, -1 where there are no more.

    So many more are fetched as the longest of ``seen`` holds.

    Returns:
        rows and scores, ``[n, k]``.
    """
    fetched = min(index.ntotal, k + max(map(len, seen), default=0))
    scores, rows = index.search(np.ascontiguousarray(vectors, dtype=np.float32), fetched)
    found = np.full((len(vectors), k), -1, dtype=np.int64)
    values = np.full(found.shape, -np.inf, dtype=np.float32)
    for n, own in enumerate(seen):
        kept = np.flatnonzero((rows[n] >= 0) & ~np.isin(rows[n], own))[:k]
        found[n, : len(kept)], values[n, : len(kept)] = rows[n, kept], scores[n, kept]
    return found, values


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise WrongUse('an index needs faiss: pip install "recbole_mm[export]"') from error
    return faiss
