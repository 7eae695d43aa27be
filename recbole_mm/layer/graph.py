"""Graphs as sparse matrices: who meets whom in the interactions, and which vectors are near each other."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

#: bytes of one block of scores or of counts
BLOCK_BYTES = 256 << 20


def to_torch(matrix: Any) -> Tensor:
    """A scipy matrix as a coalesced sparse COO tensor, float32."""
    coo = matrix.tocoo()
    index = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    values = torch.from_numpy(coo.data.astype(np.float32))
    return torch.sparse_coo_tensor(index, values, coo.shape, check_invariants=False).coalesce()


class FixedGraph(nn.Module):
    """A sparse matrix ``[n, m]`` that does not learn, for products with vectors; no part of the state dict.

    Kept by rows, and its transposed for the way back: on a CPU four times as fast as COO.

    Args:
        matrix: sparse COO.
        symmetric: that it is its own transposed.
    """

    by_row: Tensor
    by_column: Tensor | None

    def __init__(self, matrix: Tensor, symmetric: bool = False):
        super().__init__()
        self.register_buffer("by_row", _by_row(matrix), persistent=False)
        self.register_buffer("by_column", None if symmetric else _by_row(matrix.t()), persistent=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """``[m, d] -> [n, d]``, in float32 under autocast too, which has no sparse product."""
        turned = self.by_row if self.by_column is None else self.by_column
        product: Tensor = _Product.apply(self.by_row, turned, vectors.float())
        return product


def _by_row(matrix: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return matrix.coalesce().to_sparse_csr()


class _Product(torch.autograd.Function):
    """Sparse by dense, whose way back is a product too: torch's own would turn the matrix round at each step."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, turned: Tensor, vectors: Tensor) -> Tensor:
        ctx.turned = turned
        with torch.autocast(vectors.device.type, enabled=False):
            return matrix @ vectors

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.turned @ gradient.contiguous()


def last_layer(graph: FixedGraph, vectors: Tensor, n_layers: int) -> Tensor:
    """``vectors [n, d]`` after n_layers products with ``graph [n, n]``."""
    for _ in range(n_layers):
        vectors = graph(vectors)
    return vectors


def mean_of_layers(graph: FixedGraph, vectors: Tensor, n_layers: int) -> Tensor:
    """LightGCN's sum: the mean of ``vectors [n, d]`` and of their first n_layers products with ``graph [n, n]``."""
    total = layer = vectors
    for _ in range(n_layers):
        layer = graph(layer)
        total = total + layer
    return total / (n_layers + 1)


def symmetric_weights(edges: Tensor, weights: Tensor, n_nodes: int) -> Tensor:
    """``w_ij / √(d_i d_j)`` with d the sums of the rows, ``[e]``; 0 where a d is. Gradients flow to ``weights``."""
    degree = weights.new_zeros(n_nodes).index_add(0, edges[0], weights)
    scale = torch.where(degree > 0, degree.clamp(min=1e-12).rsqrt(), 0.0)
    return weights * scale[edges[0]] * scale[edges[1]]


def mean_of_neighbours(edges: Tensor, n_nodes: int) -> FixedGraph:
    """``D^{-1} A``, ``[n_nodes, n_nodes]``: rows that add up to 1, or of zeros.

    Args:
        edges: ``[2, e]``, distinct, from a receiver (the row) to a sender.
        n_nodes: number of nodes.
    """
    weights = 1.0 / torch.bincount(edges[0], minlength=n_nodes)[edges[0]]
    return FixedGraph(torch.sparse_coo_tensor(edges, weights, (n_nodes, n_nodes), check_invariants=False))


def symmetrically_normalized(adjacency: Any) -> Any:
    """``D^{-1/2} A D^{-1/2}`` of a symmetric scipy matrix; a node without an edge keeps a row of zeros."""
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    scale = np.divide(1.0, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    return sp.diags(scale) @ adjacency @ sp.diags(scale)


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
    return to_torch(symmetrically_normalized(adjacency))


def incidence(nodes: np.ndarray, others: np.ndarray, n_nodes: int) -> Any:
    """CSR ``[n_nodes, O]`` float32 of ones where a node has met one of the others; a pair given twice counts once."""
    shape = n_nodes, int(others.max(initial=0)) + 1
    matrix = sp.csr_matrix((np.ones(len(nodes), dtype=np.float32), (nodes, others)), shape=shape)
    matrix.data[:] = 1.0
    return matrix


def co_interaction_graph(
    nodes: np.ndarray, others: np.ndarray, n_nodes: int, k: int | None = 20, min_common: int = 1
) -> Any:
    r"""Nodes that have others in common, such as items bought by the same users; symmetrically normalised.

    .. math:: w_{ij} = \frac{\ln n_{ij} + 1}{\ln \sqrt{deg_i\, deg_j} + 1} \quad \text{where } n_{ij} \ge min\_common

    with n_ij the number of others in common and deg_i that of i's others (PMGT, Liu et al. 2021; that deg counts
    others, and not edges, is inferred). Each node keeps its k heaviest edges, of equal ones those to lower ids, and an
    edge that one of its ends keeps stays, in both directions.

    Args:
        nodes, others: ``[t]`` the interactions, **of the training part**; a pair given twice counts once.
        n_nodes: number of nodes; one without an edge keeps a row of zeros.
        k: edges that a node keeps; None for all.
        min_common: the least n_ij of an edge.

    Returns:
        scipy CSR ``[n_nodes, n_nodes]`` float32.
    """
    met = incidence(nodes, others, n_nodes)
    degree = np.asarray(met.sum(axis=1)).ravel().astype(np.float64)
    log_degree = np.log(np.maximum(degree, 1.0)) / 2
    kept = [_heaviest(_weights(counts, first, min_common, log_degree), k) for first, counts in _common(met)]
    graph = sp.vstack(kept, format="csr")
    return symmetrically_normalized(graph.maximum(graph.T)).tocsr().astype(np.float32)


def common_shares(nodes: np.ndarray, others: np.ndarray, n_nodes: int, k: int) -> Any:
    """Each node's k nodes with the most others in common (of equal ones the lower ids), and the softmax of how many.

    Args:
        nodes, others, n_nodes: as of :func:`co_interaction_graph`.
        k: as many as there are, up to these.

    Returns:
        scipy CSR ``[n_nodes, n_nodes]`` float32; rows add up to 1, or are empty.
    """
    kept = []
    for first, counts in _common(incidence(nodes, others, n_nodes)):
        other = counts.row + first != counts.col
        cells = counts.data[other], (counts.row[other], counts.col[other])
        kept.append(_heaviest(sp.csr_matrix(cells, shape=counts.shape), k))
    graph = sp.vstack(kept, format="csr")
    row = np.repeat(np.arange(n_nodes), np.diff(graph.indptr))
    power = np.exp(graph.data - graph.max(axis=1).toarray().ravel()[row])
    graph.data = (power / np.bincount(row, power, n_nodes)[row]).astype(np.float32)
    return graph


def _common(met: Any) -> Iterator[tuple[int, Any]]:
    """First node of a block, and its counts n_ij ``[b, n_nodes]``; the block is small even if they were dense."""
    step, turned = max(1, BLOCK_BYTES // (12 * met.shape[0])), met.T.tocsr()
    for first in range(0, met.shape[0], step):
        yield first, (met[first : first + step] @ turned).tocoo()


def _weights(counts: Any, first: int, min_common: int, log_degree: np.ndarray) -> Any:
    row, column, common = counts.row, counts.col, counts.data
    kept = (row + first != column) & (common >= min_common)
    row, column, common = row[kept], column[kept], common[kept]
    weight = (np.log(common) + 1) / (log_degree[row + first] + log_degree[column] + 1)
    return sp.csr_matrix((weight, (row, column)), shape=counts.shape)


def _heaviest(matrix: Any, k: int | None) -> Any:
    """The k largest values of each row of a CSR matrix, of equal ones those of the lower columns."""
    if k is None:
        return matrix
    coo = matrix.tocoo()
    order = np.lexsort((coo.col, -coo.data, coo.row))
    row = coo.row[order]
    start = np.searchsorted(row, np.arange(matrix.shape[0]))
    chosen = order[np.arange(len(row)) - start[row] < k]
    return sp.csr_matrix((coo.data[chosen], (coo.row[chosen], coo.col[chosen])), shape=matrix.shape)
