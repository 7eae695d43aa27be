"""Successive halving, against a naive one and in any order."""

from __future__ import annotations

import math
import random

import pytest

from recbole_mm.quick_start.search.rungs import Rungs


@pytest.mark.parametrize(
    ("epochs", "grace", "every", "ends"),
    [
        (24, None, 1, [6, 12, 24]),
        (9, None, 1, [3, 5, 9]),
        (6, None, 1, [2, 3, 6]),
        (3, None, 1, [1, 2, 3]),
        (2, None, 1, [1, 2]),
        (1, None, 1, [1]),
        (24, 3, 1, [3, 6, 12, 24]),
        (24, 4, 1, [6, 12, 24]),
        (24, 20, 1, [24]),
        (100, None, 10, [30, 50, 100]),  # validated every tenth epoch alone
    ],
)
def test_where_trials_are_compared(epochs: int, grace: int | None, every: int, ends: list[int]) -> None:
    assert Rungs(epochs, grace, 12, every).ends == ends


def halved(curves: list[list[float]], ends: list[int]) -> dict[int, int]:
    """How many epochs each trial gets if everybody waits for a whole rung."""
    alive, trained = list(range(len(curves))), {}
    for end in ends:
        trained |= dict.fromkeys(alive, end)
        best = sorted(alive, key=lambda n: (-curves[n][end - 1], n))
        alive = best[: math.ceil(len(best) / 2)]
    return trained


def run(
    curves: list[list[float]], rungs: Rungs, slots: int, rng: random.Random, lengths: list[int]
) -> dict[int, int]:
    """In ``slots`` slots whose trials end in any order; ``lengths``: where early stopping ends each."""
    running, trained, left = [], {}, list(range(len(curves)))
    while True:
        while len(running) < slots:
            if (job := rungs.next()) is None and left:
                job = left.pop(0), rungs.begin()
            if job is None:
                break
            running.append(job)
        if not running:
            assert rungs.idle and not left
            return trained
        number, until = running.pop(rng.randrange(len(running)))
        came = min(until, lengths[number])
        trained[number] = came
        rungs.heard(number, until, curves[number][came - 1], came < until or until == rungs.ends[-1])


@pytest.mark.parametrize("count", [1, 2, 5, 12])
@pytest.mark.parametrize("slots", [1, 2, 4])
def test_who_goes_on_depends_on_no_order(count: int, slots: int) -> None:
    rng = random.Random(count * slots)
    for _ in range(20):
        curves = [[round(rng.random(), 1) for _ in range(9)] for _ in range(count)]  # with ties
        rungs = Rungs(9, count=count)
        trained = run(curves, rungs, slots, rng, [9] * count)
        assert trained == halved(curves, rungs.ends)


@pytest.mark.parametrize("epochs", range(3, 30))
def test_at_least_two_fifths_of_the_epochs_are_saved(epochs: int) -> None:
    curves = [[float(number)] * epochs for number in range(12)]
    trained = run(curves, Rungs(epochs, count=12), 2, random.Random(0), [epochs] * 12)
    assert sum(trained.values()) <= 0.6 * 12 * epochs and trained[11] == epochs


def test_one_that_has_ended_keeps_its_place_and_one_that_failed_has_none() -> None:
    rungs = Rungs(8, count=4)
    for number in range(3):
        assert rungs.begin() == 2
        rungs.heard(number, 2, [0.9, 0.5, None][number], over=number != 1)
    assert rungs.next() is None  # the fourth may be better than the second
    rungs.failed(3)
    assert rungs.next() == (1, 4) and rungs.next() is None and not rungs.idle
    rungs.heard(1, 4, 0.6, over=False)
    assert rungs.next() is None and rungs.idle  # the first, which has ended, is the better one


def test_nobody_goes_on_before_the_number_of_trials_is_known() -> None:
    rungs = Rungs(8)
    rungs.begin()
    rungs.heard(0, 2, 0.5, over=False)
    assert rungs.next() is None
    rungs.count = 1
    assert rungs.next() == (0, 4)
