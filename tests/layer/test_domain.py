"""Mixing and distance of a user's domains, user by user."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from recbole_mm.layer.domain import DOMAIN_LOSSES, cross_domain_mix, idle_transfer

SEEN = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]], dtype=torch.bool)


@pytest.fixture
def vectors() -> torch.Tensor:
    return torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(1), requires_grad=True)


def test_mix_follows_the_protocol(vectors: torch.Tensor) -> None:
    mixed = cross_domain_mix(vectors, SEEN, 0.8)
    for u in range(4):
        present = [d for d in range(3) if SEEN[u, d]]
        for d in range(3):
            others = [vectors[u, o] for o in present if o != d]
            if d in present:
                own = vectors[u, d]
                expected = own if not others else 0.8 * own + 0.2 * torch.stack(others).mean(0)
            else:
                expected = torch.stack(others).mean(0) if others else vectors[u, d]
            torch.testing.assert_close(mixed[u, d], expected)


def test_a_transfer_without_an_overlap_is_said() -> None:
    assert idle_transfer("X", SEEN) == []
    assert idle_transfer("X", SEEN[2:]) == [
        "X: no user has training rows in several domains, so nothing is transferred between them"
    ]


@pytest.mark.parametrize("name", ["mse", "mse_norm"])
def test_distance_is_the_mean_over_users_and_pairs(vectors: torch.Tensor, name: str) -> None:
    terms = []
    for u in range(4):
        for a in range(3):
            for b in range(a):
                if SEEN[u, a] and SEEN[u, b]:
                    x, y = vectors[u, a], vectors[u, b]
                    if name == "mse_norm":
                        x, y = F.normalize(x, dim=0), F.normalize(y, dim=0)
                    terms.append((x - y).square().sum())
    torch.testing.assert_close(DOMAIN_LOSSES[name](vectors, SEEN, 0.2), torch.stack(terms).mean())


@pytest.mark.parametrize("name", list(DOMAIN_LOSSES))
def test_no_pair_gives_zero_not_nan(vectors: torch.Tensor, name: str) -> None:
    loss = DOMAIN_LOSSES[name](vectors, SEEN & torch.tensor([True, False, False]), 0.2)
    assert loss.item() == 0.0 and not loss.requires_grad


def test_raw_mse_falls_with_the_norm_but_the_normalised_does_not(vectors: torch.Tensor) -> None:
    shrunk = vectors / 10
    assert DOMAIN_LOSSES["mse"](shrunk, SEEN, 0.2) < 0.02 * DOMAIN_LOSSES["mse"](vectors, SEEN, 0.2)
    torch.testing.assert_close(
        DOMAIN_LOSSES["mse_norm"](shrunk, SEEN, 0.2), DOMAIN_LOSSES["mse_norm"](vectors, SEEN, 0.2)
    )
