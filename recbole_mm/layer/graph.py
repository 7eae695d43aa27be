"""Graphs as sparse matrices."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor


def normalized_adjacency(rows: np.ndarray, columns: np.ndarray, n_nodes: int, self_loops: bool) -> Tensor:
    """``D^{-1/2} (A [+ I]) D^{-1/2}`` of an undirected graph (Kipf and Welling, arXiv 1609.02907).

    Args:
        rows, columns: edges, ``[n]``, each in one direction; an edge given twice counts once.
        n_nodes: number of nodes; one without an edge keeps a row of zeros unless it has its self loop.
        self_loops: add I, and count it in the degrees.

    Returns:
        sparse COO tensor ``[n_nodes, n_nodes]``, coalesced.
    """
    ends = np.concatenate([rows, columns]), np.concatenate([columns, rows])
    adjacency = sp.csr_matrix((np.ones(len(ends[0]), dtype=np.float32), ends), shape=(n_nodes, n_nodes))
    adjacency.data[:] = 1.0
    if self_loops:
        adjacency = adjacency + sp.identity(n_nodes, dtype=np.float32, format="csr")
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    scale = np.divide(1.0, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    coo = (sp.diags(scale) @ adjacency @ sp.diags(scale)).tocoo()
    index = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    values = torch.from_numpy(coo.data.astype(np.float32))
    return torch.sparse_coo_tensor(index, values, (n_nodes, n_nodes), check_invariants=False).coalesce()
