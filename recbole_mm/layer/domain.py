"""A user's vectors in several domains: how they mix, how far apart they are (docs/cross_domain.md)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_mm.layer.loss import symmetric_info_nce


def idle_transfer(model: str, seen: Tensor) -> list[str]:
    """A sentence for a model that transfers between a user's domains where ``seen [U, K]`` has nobody in several."""
    if bool((seen.sum(dim=1) > 1).any()):
        return []
    return [f"{model}: no user has training rows in several domains, so nothing is transferred between them"]


def cross_domain_mix(vectors: Tensor, seen: Tensor, own_share: float) -> Tensor:
    """λ of a domain's own vector, 1 - λ of the mean of the user's other present domains.

    Present without another: its own vector. Absent: the mean over the present ones. Present nowhere: its own vector,
    which then is the id term.

    Args:
        vectors: ``[n, K, d]``.
        seen: bool ``[n, K]``, a training row exists.
        own_share: λ in [0, 1].

    Returns:
        ``[n, K, d]``.
    """
    weight = seen.to(vectors.dtype).unsqueeze(-1)
    total = (vectors * weight).sum(dim=1, keepdim=True)
    others = total - vectors * weight
    n_others = seen.sum(dim=1, keepdim=True).unsqueeze(-1) - weight
    mean_of_others = others / n_others.clamp(min=1)
    share = torch.where(seen.unsqueeze(-1), own_share, 0.0)
    mixed = share * vectors + (1 - share) * mean_of_others
    return torch.where(n_others > 0, mixed, vectors)


def domain_parts(
    vectors: Tensor, seen: Tensor, own_share: float | None, domain: Tensor, item_emb: Tensor
) -> Tensor:
    """What each of the user's domains adds to the cosine of :func:`cross_domain_mix` with an item; ``[n, K]``.

    Args:
        vectors, seen: as there.
        own_share: λ; None where nothing is mixed.
        domain: ``[n]``, that of the item.
        item_emb: unit vectors ``[n, d]``.
    """
    share = torch.eye(seen.shape[1], device=vectors.device).expand(len(seen), -1, -1)
    if own_share is not None:
        share = cross_domain_mix(share, seen, own_share)
    weighted = vectors * share[torch.arange(len(seen)), domain].unsqueeze(-1)
    return (weighted * item_emb.unsqueeze(1)).sum(dim=-1) / weighted.sum(dim=1).norm(dim=-1, keepdim=True)


def _over_pairs(
    vectors: Tensor, seen: Tensor, distance: Callable[[Tensor, Tensor], tuple[Tensor, int]]
) -> Tensor:
    """Mean of ``distance`` over all (user, pair of present domains); 0 without gradient where there is none."""
    total, count = vectors.new_zeros(()), 0
    for a in range(vectors.shape[1]):
        for b in range(a):
            both = seen[:, a] & seen[:, b]
            if bool(both.any()):
                value, n = distance(vectors[both, a], vectors[both, b])
                total, count = total + value, count + n
    return total / max(count, 1)


def mse(vectors: Tensor, seen: Tensor, temperature: float) -> Tensor:
    """‖E^a - E^b‖², summed over the width, mean over users and pairs (given; can shrink by shrinking the norms)."""
    return _over_pairs(vectors, seen, lambda a, b: ((a - b).square().sum(), len(a)))


def mse_norm(vectors: Tensor, seen: Tensor, temperature: float) -> Tensor:
    """:func:`mse` of unit vectors, 2 - 2 cos."""
    return mse(F.normalize(vectors, dim=-1), seen, temperature)


def infonce(vectors: Tensor, seen: Tensor, temperature: float) -> Tensor:
    """A user's vectors of two domains against those of the batch's other users."""
    return _over_pairs(vectors, seen, lambda a, b: (symmetric_info_nce(a, b, temperature) * len(a), len(a)))


DOMAIN_LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "mse": mse,
    "mse_norm": mse_norm,
    "infonce": infonce,
}


def domain_agreement(raw: Tensor, seen: Tensor) -> tuple[float, float]:
    """Mean cosine between a user's vectors in two domains, and their mean norm (a raw MSE can fall by shrinking norms).

    *Shapes*: raw ``[n, K, d]``; seen bool ``[n, K]``.
    """
    unit, domains = F.normalize(raw, dim=-1), range(raw.shape[1])
    pairs = [(a, b) for a in domains for b in range(a)]
    cosines = [(unit[:, a] * unit[:, b]).sum(-1)[seen[:, a] & seen[:, b]] for a, b in pairs]
    return float(torch.cat(cosines).mean()), float(raw.norm(dim=-1)[seen].mean())
