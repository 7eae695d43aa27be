"""A softmax over a whole catalogue, domain by domain, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_mm.layer.history import OrderedHistory
from recbole_mm.layer.softmax import blockwise_softmax, checkpointed_softmax, scores_in


class DomainSoftmax(nn.Module):
    """Cross-entropy over the items of each row's domain; others that the row's user took are left out.

    Args:
        history: what users took; its parts are the domains.
        item_domain: ``[I]``; item 0 is padding and in none.
        memory_mib: of scores that are held at once.
    """

    row: Tensor
    domain: Tensor
    size: Tensor

    def __init__(self, history: OrderedHistory, item_domain: Tensor, memory_mib: float):
        super().__init__()
        self.history, self.block = history, scores_in(memory_mib)
        number = torch.cumsum(F.one_hot(item_domain)[1:], dim=0)
        number = torch.cat([number[:1] * 0, number - 1]).gather(1, item_domain.unsqueeze(1)).squeeze(1)
        self.register_buffer("row", number, persistent=False)  # of an item among those of its domain
        self.register_buffer("size", torch.bincount(item_domain[1:]), persistent=False)  # of each domain
        self.register_buffer("domain", item_domain, persistent=False)

    def forward(
        self,
        users: Tensor,
        items: Tensor,
        user_emb: Tensor,
        item_emb: Tensor,
        temperature: float = 1.0,
        score: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """The mean over rows ``(users [B], items [B])``.

        Args:
            users, items: training rows.
            user_emb: ``[B, d]``.
            item_emb: ``[I, d]``.
            temperature: τ.
            score: ``([b, d], [n, d]) -> [b, n]`` where it is no dot product; it holds d times as much in memory.
        """
        total = user_emb.new_zeros(())
        of_rows = self.domain[items]
        for domain in of_rows.unique().tolist():
            rows = (of_rows == domain).nonzero().squeeze(1)
            of_domain = (self.domain[1:] == domain).nonzero().squeeze(1) + 1
            taken = self.history.all_of(domain * self.history.n_users + users[rows])
            row = torch.arange(len(rows), device=items.device).repeat_interleave(taken.size)
            left_out = (row, self.row[taken.ids])
            h, own, target = user_emb[rows], item_emb[of_domain], self.row[items[rows]]
            if score is None:
                loss = blockwise_softmax(h, own, target, self.block, temperature, left_out=left_out)
            else:
                block = self.block // own.shape[1]
                loss = checkpointed_softmax(score, h, own, target, block, temperature, left_out=left_out)
            total = total + loss * len(rows)
        return total / len(items)
