"""A Transformer over sequences of unequal length: no token is attended to that is not there, and few are padded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: padded tokens that go through the layers at once: 512 MiB of 2,048 hidden features each, twice
TOKENS_AT_ONCE = 1 << 16
#: the padding allowed where a small batch goes through a causal model: more buckets would be more calls
SMALL_BATCH_PADDING = 0.25


@dataclass(frozen=True)
class Tokens:
    """The tokens of n sequences, one sequence after the other.

    Attributes:
        rows: ``[t]``, each token's row in a table of contents.
        places: ``[t]``, where it stands in its sequence.
        size: ``[n]``, tokens of each sequence; 0 for an empty one.
    """

    rows: Tensor
    places: Tensor
    size: Tensor

    @classmethod
    def of_parts(cls, rows: Tensor, places: Tensor, size: Tensor, present: Tensor) -> Tokens:
        """Sequences of things that consist of T tokens each, of which those that are ``present`` are taken.

        Args:
            rows: ``[t]``, the thing; its tokens are rows ``row * T … row * T + T - 1`` of the table of contents.
            places: ``[t]``, the place of the thing, shared by its tokens.
            size: ``[n]``, things of each sequence.
            present: bool ``[t, T]``.
        """
        kinds = present.shape[1]
        tokens = rows.unsqueeze(1) * kinds + torch.arange(kinds, device=rows.device)
        of_thing = present.sum(dim=1)
        sequence = torch.arange(len(size), device=rows.device).repeat_interleave(size)
        return cls(
            tokens[present],
            places.repeat_interleave(of_thing),
            torch.zeros_like(size).index_add_(0, sequence, of_thing),
        )

    def __add__(self, other: Tokens) -> Tokens:
        """The sequences of both, over one table of contents."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Tokens(*(torch.cat(pair) for pair in pairs))


def length_buckets(size: Tensor, padding: float = 0.1, tokens: int = TOKENS_AT_ONCE) -> list[Tensor]:
    """Numbers of the sequences to be padded together, each of ``size [n]``, once; empty ones are in no bucket.

    Args:
        size: ``[n]``.
        padding: the largest share of a bucket's cells that are padding.
        tokens: cells of a bucket (one sequence may have more).
    """
    order = torch.argsort(size, descending=True, stable=True)
    counts = torch.bincount(size).tolist() if len(size) else []
    buckets, begin, rows, real, longest = [], 0, 0, 0, 0
    for length in range(len(counts) - 1, -1, -1):
        count = counts[length] if length else 0
        full = rows and real + count * length < (1 - padding) * (rows + count) * longest
        if rows and (full or not length):
            buckets += order[begin : begin + rows].split(max(1, tokens // longest))
            begin, rows, real = begin + rows, 0, 0
        if count:
            longest = longest if rows else length
            rows, real = rows + count, real + count * length
    return buckets


class SequenceEncoder(nn.Module):
    """Transformer layers and a mean over the tokens that are there (Vaswani et al. 2017, arXiv 1706.03762).

    A token is ``LayerNorm(content + place)``; the layers are PyTorch's, with its fused attention.

    Args:
        width: d.
        layers, heads, inner: of the Transformer; ``inner`` is the width of the feed-forward part.
        places: how many places there are.
        dropout: of tokens and of what each layer adds.
        attention_dropout: of the attention's weights; PyTorch's fused attention on a CPU has none.
        norm_first: normalise before each part of a layer, not behind it.
    """

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        inner: int,
        places: int,
        dropout: float,
        attention_dropout: float,
        norm_first: bool,
    ):
        super().__init__()
        self.place = nn.Embedding(places, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        # not nn.TransformerEncoder: it copies one layer, first weights and all
        stack = [
            nn.TransformerEncoderLayer(
                width, heads, inner, dropout, "gelu", batch_first=True, norm_first=norm_first
            )
            for _ in range(layers)
        ]
        for layer in stack:
            layer.self_attn.dropout = attention_dropout
        self.layers = nn.ModuleList(stack)
        self.last_norm = nn.LayerNorm(width) if norm_first else nn.Identity()

    def forward(self, contents: Tensor, tokens: Tokens) -> Tensor:
        """The vector ``[n, d]`` of each sequence, over ``contents [m, d]``; zeros for an empty one."""
        start = tokens.size.cumsum(0) - tokens.size
        pooled, rows = [contents.new_zeros(0, contents.shape[1])], [start[:0]]
        for bucket in length_buckets(tokens.size):
            size = tokens.size[bucket].unsqueeze(1)
            column = torch.arange(int(size.max()), device=size.device)
            there = column < size
            cells = (start[bucket].unsqueeze(1) + column).clamp(max=len(tokens.rows) - 1)
            pooled.append(self._encode(contents, tokens.rows[cells], tokens.places[cells], there))
            rows.append(bucket)
        return contents.new_zeros(len(start), contents.shape[1]).index_copy(
            0, torch.cat(rows), torch.cat(pooled)
        )

    def _encode(self, contents: Tensor, rows: Tensor, places: Tensor, there: Tensor) -> Tensor:
        """``rows, places, there [b, l]`` -> ``[b, d]``."""
        # an embedding's backward is dense; that of indexing sorts
        hidden = nn.functional.embedding(rows, contents) + self.place(places)
        return self._layers(hidden, there, None if bool(there.all()) else ~there)

    def single(self, contents: Tensor, there: Tensor) -> Tensor:
        """The vectors ``[n, d]`` of things of T tokens each, at place 0: ``contents [n, T, d]``, ``there [n, T]``."""
        return self._layers(contents + self.place.weight[0], there, ~there)

    def _layers(self, hidden: Tensor, there: Tensor, padded: Tensor | None) -> Tensor:
        hidden = self.dropout(self.norm(hidden))
        for layer in self.layers:
            hidden = layer(hidden, src_key_padding_mask=padded)
        hidden = self.last_norm(hidden).masked_fill(~there.unsqueeze(-1), 0.0)
        return hidden.sum(dim=1) / there.sum(dim=1, keepdim=True)
