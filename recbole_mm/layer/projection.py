"""Maps from feature width to model width, and the first values of maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def xavier_normal(*parts: nn.Module | None) -> None:
    """Xavier's normal values (Glorot and Bengio 2010) for all matrices of ``parts``; None is passed over."""
    for part in parts:
        for weight in [] if part is None else part.parameters():
            if weight.dim() > 1:
                nn.init.xavier_normal_(weight)


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


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation ``[n, d] -> [n, d]``; a batch of one row, which has no deviation, by the running figures."""

    def forward(self, rows: Tensor) -> Tensor:
        """``[n, d]``."""
        if len(rows) > 1 or not self.training:
            return super().forward(rows)
        return F.batch_norm(
            rows, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


class NormalizedMLP(nn.Sequential):
    """Linear → ReLU → Linear → BatchNorm, ``[n, D] -> [n, d]`` (CPMM's block).

    Its second layer has no bias, which the normalisation would take out again.
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__(
            nn.Linear(in_features, out_features),
            nn.ReLU(),
            nn.Linear(out_features, out_features, bias=False),
            BatchNorm(out_features),
        )

    def forward(self, rows: Tensor, groups: Sequence[int]) -> Tensor:  # type: ignore[override]
        """``[n, d]``; each of the ``groups``, n rows in all, is normalised by itself, as in calls of its own."""
        first, relu, second, norm = self
        hidden = second(relu(first(rows)))
        if len(groups) == 1:
            return norm(hidden)
        return torch.cat([norm(part) for part in hidden.split(list(groups))])


class SkipTower(nn.Module):
    """``z = normalise(P2(P1(x̂)) [+ P3(x)])`` with three blocks P, ``[n, D] -> [n, d]``; x̂ is x with noise (CPMM).

    Args:
        in_features: D.
        out_features: d.
        skip: whether there is P3.
    """

    def __init__(self, in_features: int, out_features: int, skip: bool):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.main = nn.Sequential(
            NormalizedMLP(in_features, out_features), NormalizedMLP(out_features, out_features)
        )
        self.skip = NormalizedMLP(in_features, out_features) if skip else None

    def forward(self, noised: Tensor, clean: Tensor, groups: Sequence[int]) -> Tensor:
        """Unit vectors ``[n, d]`` of ``groups`` of rows, of which none is empty; see `NormalizedMLP`."""
        out = noised
        for block in self.main:
            out = block(out, groups)
        return F.normalize(out if self.skip is None else out + self.skip(clean, groups), dim=-1)


def masked(vectors: Tensor, present: Tensor) -> Tensor:
    """``vectors [..., d]`` where ``present [...]``, exact zeros elsewhere, whatever the absent rows hold (NaN too)."""
    return vectors.masked_fill(~present.unsqueeze(-1), 0.0)
