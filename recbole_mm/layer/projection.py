"""Maps from feature width to model width."""

from __future__ import annotations

from torch import Tensor, nn


class Projector(nn.Sequential):
    """Linear → GELU → Linear → LayerNorm, ``[..., D] -> [..., d]`` (CMC's f_m; layers inferred).

    Args:
        in_features: D.
        out_features: d, also the hidden width.
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__(
            nn.Linear(in_features, out_features),
            nn.GELU(),
            nn.Linear(out_features, out_features),
            nn.LayerNorm(out_features),
        )


def masked(vectors: Tensor, present: Tensor) -> Tensor:
    """``vectors [..., d]`` where ``present [...]``, exact zeros elsewhere, whatever the absent rows hold (NaN too)."""
    return vectors.masked_fill(~present.unsqueeze(-1), 0.0)
