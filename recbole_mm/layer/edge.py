"""Messages along edges whose weights are learned; a graph with fixed weights is `recbole_mm.layer.graph.FixedGraph`."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from recbole_mm.layer.softmax import grouped_softmax


class Edges(nn.Module):
    """Edges from senders to receivers, in the order of the receivers; no part of the state dict.

    Products and sums along them are each other's derivatives, so no ``[e, d]`` is ever made, on the way back neither.

    Args:
        receivers, senders: ``[e]``.
        n_receivers, n_senders: R and S.
    """

    receiver: Tensor
    sender: Tensor
    start: Tensor
    back: Tensor
    back_start: Tensor

    def __init__(self, receivers: Tensor, senders: Tensor, n_receivers: int, n_senders: int):
        super().__init__()
        order = receivers.argsort(stable=True)
        receivers, senders = receivers[order], senders[order]
        buffers = {
            "receiver": receivers,
            "sender": senders,
            "start": _starts(receivers, n_receivers),
            "back": senders.argsort(stable=True),  # the edges in the order of the senders
            "back_start": _starts(senders, n_senders),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def scores(self, receivers: Tensor, senders: Tensor) -> Tensor:
        """The products ``[e]`` of ``receivers [R, d]`` and ``senders [S, d]`` along the edges."""
        found: Tensor = _Products.apply(self, receivers, senders)
        return found

    def sums(self, weights: Tensor, senders: Tensor) -> Tensor:
        """``Σ w x`` over each receiver's edges, ``[R, d]``, of ``weights [e]`` and ``senders [S, d]``."""
        found: Tensor = _Sums.apply(self, weights, senders)
        return found

    def softmax(self, scores: Tensor, kept: Tensor) -> Tensor:
        """Of ``scores [e]`` over the ``kept [e]`` edges of each receiver; 0 elsewhere."""
        return grouped_softmax(scores.masked_fill(~kept, -torch.inf), self.receiver, len(self.start) - 1)

    def mean_weights(self) -> Tensor:
        """``[e]``, with which :meth:`sums` are means."""
        return 1.0 / self.start.diff()[self.receiver]

    def _products(self, receivers: Tensor, senders: Tensor) -> Tensor:
        wide = _wide(receivers.dtype)
        with torch.autocast(receivers.device.type, enabled=False):
            zeros = receivers.new_zeros(len(self.sender), dtype=wide)
            matrix = _by_rows(self.start, self.sender, zeros, len(senders))
            found = torch.sparse.sampled_addmm(matrix, receivers.to(wide), senders.to(wide).T, beta=0.0)
        return found.values().to(receivers.dtype)

    def _to_receivers(self, weights: Tensor, senders: Tensor) -> Tensor:
        return _sums(self.start, self.sender, weights, senders)

    def _to_senders(self, weights: Tensor, receivers: Tensor) -> Tensor:
        return _sums(self.back_start, self.receiver[self.back], weights[self.back], receivers)


def _starts(nodes: Tensor, n: int) -> Tensor:
    count = torch.bincount(nodes, minlength=n)
    return torch.cat([count.new_zeros(1), count.cumsum(0)])


def _wide(dtype: torch.dtype) -> torch.dtype:
    """Sparse products know no half precision on every device."""
    return torch.promote_types(dtype, torch.float32)


def _by_rows(start: Tensor, column: Tensor, weights: Tensor, n_columns: int) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        shape = len(start) - 1, n_columns
        return torch.sparse_csr_tensor(start, column, weights, shape, check_invariants=False)


def _sums(start: Tensor, column: Tensor, weights: Tensor, vectors: Tensor) -> Tensor:
    wide = _wide(vectors.dtype)
    with torch.autocast(vectors.device.type, enabled=False):
        matrix = _by_rows(start, column, weights.to(wide), len(vectors))
        return (matrix @ vectors.to(wide).contiguous()).to(vectors.dtype)


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, edges: Edges, receivers: Tensor, senders: Tensor) -> Tensor:
        ctx.edges = edges
        ctx.save_for_backward(receivers, senders)
        return edges._products(receivers, senders)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor]:
        receivers, senders = ctx.saved_tensors
        return None, ctx.edges._to_receivers(gradient, senders), ctx.edges._to_senders(gradient, receivers)


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, edges: Edges, weights: Tensor, senders: Tensor) -> Tensor:
        ctx.edges = edges
        ctx.save_for_backward(weights, senders)
        return edges._to_receivers(weights, senders)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor]:
        weights, senders = ctx.saved_tensors
        return None, ctx.edges._products(gradient, senders), ctx.edges._to_senders(weights, gradient)
