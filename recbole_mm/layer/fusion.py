"""From the vectors of several modalities and an id to one vector, and the weights of modalities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recbole_mm.errors import WrongUse
from recbole_mm.layer.attention import query
from recbole_mm.layer.projection import masked


def gate(width: int) -> nn.Sequential:
    """``σ(W x + b)``, ``[..., d] -> [..., d]``."""
    return nn.Sequential(nn.Linear(width, width), nn.Sigmoid())


def named_weights(names: Sequence[str], given: Mapping[str, float] | None) -> Tensor:
    """``[M]``: what ``given`` says of the modalities; those that it does not name share alike what is left of 1.

    Raises:
        WrongUse: they are more than 1 together.
    """
    known = {name: float(weight) for name, weight in (given or {}).items() if name in names}
    left = 1 - sum(known.values())
    if left < -1e-6:
        raise WrongUse(f"modality_weights: expected at most 1 together, got {known}")
    share = max(left, 0.0) / max(len(names) - len(known), 1)
    return torch.tensor([known.get(name, share) for name in names])


def shares_of_present(present: Tensor, weights: Tensor) -> Tensor:
    """``weights [M]`` of the modalities for each item, over those it has, to sum 1; ``[I, M]``, zeros for none."""
    own = present * weights
    return own / own.sum(dim=1, keepdim=True).clamp(min=1e-12)


def softmax_of_present(present: Tensor, logits: Tensor | None) -> Tensor:
    """A softmax over the modalities that each of ``present [n, M]`` has; zeros for none.

    *Shapes*: logits ``[M]`` for all or ``[n, M]``; None: all alike.
    """
    logits = torch.zeros(present.shape[1], device=present.device) if logits is None else logits
    left_out = ~present & present.any(dim=1, keepdim=True)
    return present * torch.softmax(logits.expand(present.shape).masked_fill(left_out, -torch.inf), dim=1)


class SumFusion(nn.Module):
    """Sum over the present modalities plus the id term: ``E = Σ_m p_m f_m + e`` (CMC, given)."""

    def forward(self, modal: Tensor, present: Tensor, id_emb: Tensor) -> Tensor:
        """``modal [n, M, d]``, ``present [n, M]``, ``id_emb [n, d]`` -> ``[n, d]``."""
        return masked(modal, present).sum(dim=1) + id_emb

    def terms(self, modal: Tensor, present: Tensor, id_emb: Tensor) -> list[Tensor]:
        """What the fused vectors are the sum of: a term for each modality, then the id's."""
        return [*masked(modal, present).unbind(dim=1), id_emb]


class GateFusion(nn.Module):
    """A softmax over the present modalities, decided by their own content (inferred; in the spirit of MGCN's gate).

    ``E = |present| Σ_m w_m f_m + e`` with ``w = softmax over present of qᵀ tanh(W f_m)``: as large as the sum, so the
    id term keeps its share, but an uninformative modality can be turned down item by item.
    """

    def __init__(self, width: int):
        super().__init__()
        self.score = query(width, 1)

    def forward(self, modal: Tensor, present: Tensor, id_emb: Tensor) -> Tensor:
        """``modal [n, M, d]``, ``present [n, M]``, ``id_emb [n, d]`` -> ``[n, d]``."""
        weight, modal, count = self._weighted(modal, present)
        return (weight.unsqueeze(-1) * modal).sum(dim=1) * count + id_emb

    def terms(self, modal: Tensor, present: Tensor, id_emb: Tensor) -> list[Tensor]:
        """As of `SumFusion`."""
        weight, modal, count = self._weighted(modal, present)
        return [*(weight.unsqueeze(-1) * modal * count.unsqueeze(-1)).unbind(dim=1), id_emb]

    def _weighted(self, modal: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights ``[n, M]``, masked vectors, and how many there are ``[n, 1]``."""
        modal = masked(modal, present)
        weight = softmax_of_present(present, self.score(modal).squeeze(-1))
        return weight, modal, present.sum(dim=1, keepdim=True)


class ConcatFusion(nn.Module):
    """Modalities and id side by side (inferred): ``E = [p_1 f_1; …; p_M f_M; e]``.

    A dot product then compares each modality with itself alone, where that of two sums also compares the text of one
    with the image of the other.
    """

    def forward(self, modal: Tensor, present: Tensor, id_emb: Tensor) -> Tensor:
        """``modal [n, M, d]``, ``present [n, M]``, ``id_emb [n, d]`` or a scalar 0 -> ``[n, (M + 1) d]``."""
        ids = id_emb.expand(len(modal), modal.shape[2])
        return torch.cat([masked(modal, present).flatten(1), ids], dim=1)

    def terms(self, modal: Tensor, present: Tensor, id_emb: Tensor) -> list[Tensor]:
        """As of `SumFusion`; each in its own columns."""
        blocks = [*masked(modal, present).unbind(dim=1), id_emb.expand(len(modal), modal.shape[2])]
        empty = torch.zeros_like(blocks[0])
        return [
            torch.cat([block if k == own else empty for k in range(len(blocks))], dim=1)
            for own, block in enumerate(blocks)
        ]


class WeightFusion(nn.Module):
    """One learnable scale per modality, shared by all items (inferred): ``E = Σ_m s_m p_m f_m + e``, s from 1."""

    def __init__(self, modalities: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(modalities))

    def forward(self, modal: Tensor, present: Tensor, id_emb: Tensor) -> Tensor:
        """``modal [n, M, d]``, ``present [n, M]``, ``id_emb [n, d]`` -> ``[n, d]``."""
        return (masked(modal, present) * self.scale.view(1, -1, 1)).sum(dim=1) + id_emb

    def terms(self, modal: Tensor, present: Tensor, id_emb: Tensor) -> list[Tensor]:
        """As of `SumFusion`."""
        return [*(masked(modal, present) * self.scale.view(1, -1, 1)).unbind(dim=1), id_emb]


#: by name, of a width and a number of modalities; ``none``: there are no modalities
FUSIONS: dict[str, Callable[[int, int], Any]] = {
    "sum": lambda width, count: SumFusion(),
    "none": lambda width, count: SumFusion(),
    "concat": lambda width, count: ConcatFusion(),
    "gate": lambda width, count: GateFusion(width),
    "weight": lambda width, count: WeightFusion(count),
}
