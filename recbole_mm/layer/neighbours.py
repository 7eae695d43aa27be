"""The vectors nearest to each, by cosine: exact in blocks, or approximate by HNSW."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recbole_mm.errors import WrongUse
from recbole_mm.layer.graph import BLOCK_BYTES
from recbole_mm.layer.topk import top_k


def nearest_neighbours(vectors: Tensor, k: int, approximate: bool = False) -> tuple[Tensor, Tensor]:
    """The k nearest other vectors of each, by cosine, the nearest first; never an N × N matrix.

    Exact: products of blocks of at most ``BLOCK_BYTES``, beside one copy of the vectors, at unit length.

    Args:
        vectors: ``[N, D]`` float, finite; a vector of zeros has cosine 0 to all.
        k: below N.
        approximate: by HNSW (faiss), where a product of all pairs takes too long.

    Returns:
        (ids ``[N, k]`` int64, cosines ``[N, k]`` float32).

    Raises:
        WrongUse: k is not below N, or faiss is not installed.
    """
    if not 0 < k < len(vectors):
        raise WrongUse(f"nearest_neighbours: k is {k}, and there are {len(vectors)} vectors; take 1 to N - 1")
    unit = torch.nn.functional.normalize(vectors.float(), dim=1)
    return _hnsw(unit, k) if approximate else _exact(unit, k)


def _exact(unit: Tensor, k: int) -> tuple[Tensor, Tensor]:
    n, device = len(unit), unit.device
    ids = torch.empty(n, k, dtype=torch.long, device=device)
    cosines = torch.empty(n, k, device=device)
    scores = torch.empty(min(n, max(1, BLOCK_BYTES // (4 * n))), n, device=device)
    for own in torch.arange(n, device=device).split(len(scores)):
        block = torch.matmul(unit[own[0] : own[-1] + 1], unit.t(), out=scores[: len(own)])
        block[own - own[0], own] = -torch.inf
        cosines[own], ids[own] = top_k(block, k)
    return ids, cosines


def _hnsw(unit: Tensor, k: int) -> tuple[Tensor, Tensor]:
    try:
        import faiss
    except ImportError as error:
        raise WrongUse("neighbour_search: hnsw needs faiss: pip install 'recbole_mm[faiss]'") from error
    vectors = unit.cpu().numpy()
    index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 80, max(64, 4 * k)
    index.add(vectors)
    found, ids = index.search(vectors, k + 1)
    own = ids == np.arange(len(ids))[:, None]
    own[~own.any(axis=1), -1] = True  # its copies hid it: the last of them goes
    kept = (len(ids), k)
    return tuple(torch.from_numpy(each[~own].reshape(kept)).to(unit.device) for each in (ids, found))  # type: ignore[return-value]
