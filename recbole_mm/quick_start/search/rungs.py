"""Successive halving: which trials go on, and until which epoch (``--scheduler asha``).

All trials are trained for a quarter of the epochs, the better half of them until half, and the better half of those to
the end (Jamieson and Talwalkar 2016): every rung costs the same, all together half of what all trials cost in full. As
in ASHA (Li et al. 2020, arXiv 1810.05934) nobody waits for a whole rung: a trial goes on as soon as its place in the
better half is certain. Unlike there none goes on before, so that which trials are stopped depends on no clock, and a
search of few trials, the first of which have nobody to be compared with, saves what it should.
"""

from __future__ import annotations

import math


class Rungs:
    """Hands out who goes on, of trials by their numbers.

    Args:
        epochs: of a whole trial.
        grace: epochs before a trial may be stopped; None: a quarter of them.
        count: how many trials there are to be; None: not known yet.
        every: epochs between validations.

    Attributes:
        ends: the epochs at which trials are compared, and the last one.
    """

    def __init__(
        self, epochs: int, grace: int | None = None, count: int | None = None, every: int = 1
    ) -> None:
        least = max(1, math.ceil(epochs / 4) if grace is None else grace)
        halves = [math.ceil(epochs / 2**k) for k in range(1, epochs.bit_length() + 1)]
        compared = {math.ceil(half / every) * every for half in halves if half >= least}
        self.ends = [*sorted(end for end in compared if end < epochs), epochs]
        self.count = count
        self._scores: list[dict[int, float]] = [{} for _ in self.ends]
        self._went_on: list[set[int]] = [set() for _ in self.ends]
        self._over: set[int] = set()
        self._running = 0

    def begin(self) -> int:
        """The epoch until which a new trial is trained."""
        self._running += 1
        return self.ends[0]

    def heard(self, number: int, until: int, score: float | None, over: bool) -> None:
        """A trial has come to ``until``.

        Args:
            number: the trial's.
            until: one of `ends`.
            score: on validation, the more the better; None where it failed.
            over: it has ended and cannot go on.
        """
        self._running -= 1
        self._scores[self.ends.index(until)][number] = -math.inf if score is None else score
        if over:
            self._over.add(number)

    def failed(self, number: int) -> None:
        """A trial that was not begun."""
        self._running += 1
        self.heard(number, self.ends[0], None, True)

    def next(self) -> tuple[int, int] | None:
        """A trial whose place in the better half is certain, and the epoch until which it goes on; else None."""
        if self.count is None:
            return None
        size = self.count
        for rung in range(len(self.ends) - 1):
            kept = math.ceil(size / 2)
            order = sorted(self._scores[rung].items(), key=lambda told: (-told[1], told[0]))
            certain = order[: max(0, kept - (size - len(order)))]
            for number, score in certain:
                if number in self._went_on[rung]:
                    continue
                self._went_on[rung].add(number)
                if number not in self._over:
                    self._running += 1
                    return number, self.ends[rung + 1]
                self._scores[rung + 1][number] = score
            size = kept
        return None

    @property
    def idle(self) -> bool:
        """Whether no trial runs."""
        return not self._running
