from __future__ import annotations

import numpy as np
import pytest

from recbole_mm.evaluator.significance import holm, paired_test

A = np.array([0.5, 0.7, 0.9, 0.4])
B = np.array([0.4, 0.5, 0.6, 0.5])
X = 0.125 / np.sqrt(0.0875 / 3 / 4) / np.sqrt(3)
P_T = 1 - 2 / np.pi * (np.arctan(X) + X / (1 + X**2))  # Student's t with 3 degrees of freedom, in closed form


def test_t_by_hand() -> None:
    # differences .1 .2 .3 -.1: mean .125, sum of squared deviations .0875, s² = .0875 / 3
    found = paired_test(A, B)
    assert found.difference == pytest.approx(0.125)
    assert found.p_t == pytest.approx(P_T)
    assert found.low <= found.difference <= found.high


def test_wilcoxon_by_hand() -> None:
    # eight positive differences without ties: both tails are 1 of 2^8 orders each
    found = paired_test(np.arange(1, 9) / 10, np.zeros(8))
    assert found.p_wilcoxon == pytest.approx(2 / 2**8)


def test_the_first_is_better_when_it_is_higher() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(300)
    found = paired_test(base + 0.05 + rng.normal(0, 0.1, 300), base)
    assert found.difference > 0
    assert found.low > 0
    assert found.p_t < 0.001
    turned = paired_test(base, base + rng.normal(0.05, 0.1, 300))
    assert turned.difference < 0
    assert turned.high < 0


def test_no_difference_is_no_evidence() -> None:
    found = paired_test(A, A)
    assert (found.difference, found.p_t, found.p_wilcoxon) == (0, 1, 1)


def test_holm_by_hand() -> None:
    # sorted .01 .02 .03 .04 times 4 3 2 1: .04 .06 .06 .04 -> never below one before
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
