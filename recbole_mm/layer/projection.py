"""Maps from feature width to model width."""

from __future__ import annotations

from torch import Tensor, nn


class Projector(nn.Module):
    """Linear → GELU → Linear → LayerNorm, ``[..., D] -> [..., d]`` (CMC's f_m; layers inferred).

    ``first`` (the linear map from D) and ``rest`` can be called apart: the mean of features is then taken behind
    ``first``, at width d.

    Args:
        in_features: D.
        out_features: d, also the hidden width.
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.first = nn.Linear(in_features, out_features)
        self.rest = nn.Sequential(
            nn.GELU(), nn.Linear(out_features, out_features), nn.LayerNorm(out_features)
        )

    def forward(self, features: Tensor) -> Tensor:
        """``[..., D] -> [..., d]``."""
        return self.rest(self.first(features))


def masked(vectors: Tensor, present: Tensor) -> Tensor:
    """``vectors [..., d]`` where ``present [...]``, exact zeros elsewhere, whatever the absent rows hold (NaN too)."""
    return vectors.masked_fill(~present.unsqueeze(-1), 0.0)
