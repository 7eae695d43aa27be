"""Messages along edges whose weights are learned; a graph with fixed weights is `recbole_mm.layer.graph.FixedGraph`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Edges(nn.Module):
    """Edges from senders to receivers, in the order of the receivers; no part of the state dict.

    What would take ``[e, d]`` is never kept: sums are made bag by bag, scores are computed again on the way back.

    Args:
        receivers, senders: ``[e]``.
        n_receivers: R.
    """

    receiver: Tensor
    sender: Tensor
    start: Tensor

    def __init__(self, receivers: Tensor, senders: Tensor, n_receivers: int):
        super().__init__()
        order = receivers.argsort(stable=True)
        count = torch.bincount(receivers, minlength=n_receivers)
        buffers = {"receiver": receivers[order], "sender": senders[order], "start": count.cumsum(0) - count}
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def scores(self, receivers: Tensor, senders: Tensor) -> Tensor:
        """The products ``[e]`` of ``receivers [R, d]`` and ``senders [S, d]`` along the edges."""

        def products(own: Tensor, others: Tensor) -> Tensor:
            return (own[self.receiver] * others[self.sender]).sum(dim=1)

        found: Tensor = checkpoint(
            products, receivers, senders, use_reentrant=False, preserve_rng_state=False
        )
        return found

    def softmax(self, scores: Tensor, kept: Tensor) -> Tensor:
        """Of ``scores [e]`` over the ``kept [e]`` edges of each receiver; 0 elsewhere."""
        # the largest of each receiver goes, so that no exponential is too large
        top = scores.new_full((len(self.start),), -torch.inf)
        top = top.scatter_reduce(0, self.receiver, scores.detach().masked_fill(~kept, -torch.inf), "amax")
        shifted = (scores - top[self.receiver]).masked_fill(~kept, -torch.inf).exp()
        total = shifted.new_zeros(len(top)).index_add(0, self.receiver, shifted)
        return shifted / total.clamp(min=1e-12)[self.receiver]

    def sums(self, weights: Tensor, senders: Tensor) -> Tensor:
        """``Σ w x`` over each receiver's edges, ``[R, d]``, of ``weights [e]`` and ``senders [S, d]``."""
        return F.embedding_bag(self.sender, senders, self.start, mode="sum", per_sample_weights=weights)

    def mean_weights(self) -> Tensor:
        """``[e]``, with which :meth:`sums` are means."""
        return 1.0 / torch.bincount(self.receiver, minlength=len(self.start))[self.receiver]
