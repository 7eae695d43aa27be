"""Graphs of items by their features: each item is linked to the items nearest to it; sparse, never I × I."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import scipy.sparse as sp
import torch
from torch import Tensor

from recbole_mm.layer.feature import FeatureTable
from recbole_mm.layer.fusion import named_weights, shares_of_present
from recbole_mm.layer.graph import FixedGraph, symmetric_weights, to_torch
from recbole_mm.layer.neighbours import nearest_neighbours


def nearest_edges(vectors: Tensor, nodes: Tensor, k: int, approximate: bool) -> tuple[Tensor, Tensor]:
    """Each node's edges to the k nearest by cosine, itself the first of them (as LATTICE and FREEDOM count k).

    Args:
        vectors: ``[n, D]``.
        nodes: their ids, ``[n]``.
        k: with fewer nodes, all of them.
        approximate: as of `nearest_neighbours`.

    Returns:
        (edges ``[2, n · min(k, n)]`` from a node to a near one, their cosines ``[n · min(k, n)]``), a node's one after
        the other.
    """
    near = torch.arange(len(vectors), device=vectors.device).unsqueeze(1)
    cosines = torch.ones(near.shape, device=vectors.device)
    if (others := min(k, len(vectors)) - 1) > 0:
        ids, values = nearest_neighbours(vectors, others, approximate)
        near, cosines = torch.cat([near, ids], dim=1), torch.cat([cosines, values], dim=1)
    edges = torch.stack([nodes.unsqueeze(1).expand_as(near).flatten(), nodes[near.flatten()]])
    return edges, cosines.flatten()


def similarity_graph(features: FeatureTable, name: str, k: int, binary: bool) -> Tensor:
    r"""``D^{-1/2} S D^{-1/2}`` of one modality, S an item's k nearest by cosine (itself among them), D its rows' sums.

    Args:
        features: of the items.
        name: the modality.
        k: edges of an item; an item without this modality has none, and none leads to it.
        binary: S_ij is 1 (FREEDOM), else the cosine, negative ones as 0 (LATTICE, MGCN).

    Returns:
        sparse COO ``[I, I]``, coalesced, not symmetric.
    """
    held, vectors = features.held(name)
    edges, cosines = nearest_edges(vectors, held, k, features.approximate)
    n = len(features.present)
    weights = symmetric_weights(edges, torch.ones_like(cosines) if binary else cosines.clamp(min=0), n)
    return torch.sparse_coo_tensor(edges, weights, (n, n), check_invariants=False).coalesce()


def frozen_graph(features: FeatureTable, k: int, modality_weights: Mapping[str, float] | None) -> FixedGraph:
    """FREEDOM's: the binary graphs of all modalities, weighted by `named_weights` over those that an item has.

    Raises:
        WrongUse: as of `named_weights`.
    """
    weights = named_weights(features.names, modality_weights)
    graphs = [similarity_graph(features, name, k, binary=True) for name in features.names]
    return FixedGraph(mixed_graph(graphs, shares_of_present(features.present, weights)))


def mixed_graph(graphs: Sequence[Tensor], shares: Tensor) -> Tensor:
    """``Σ_m diag(share_m) S^m``: graphs of one modality each, sparse ``[I, I]``, and ``shares [I, M]``."""
    scaled = []
    for graph, share in zip(graphs, shares.unbind(dim=1), strict=True):
        edges = graph.indices()
        scaled.append(
            torch.sparse_coo_tensor(
                edges, graph.values() * share[edges[0]], graph.shape, check_invariants=False
            )
        )
    return torch.stack(scaled).sum(dim=0).coalesce() if len(scaled) > 1 else scaled[0].coalesce()


def greatest_graph(graphs: Sequence[Tensor]) -> Tensor:
    """The largest of the weights of each edge, which are not negative; sparse COO ``[I, I]``, coalesced."""
    matrices = [sp.csr_matrix((g.values().numpy(), g.indices().numpy()), g.shape) for g in graphs]
    return to_torch(reduce(lambda a, b: a.maximum(b), matrices))
