"""What an evaluation gives: the metrics, the groups, and one row for every query."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property

import pandas as pd

from recbole_mm.run.question import Question


class EvalResult:
    """``metrics``: RecBole's keys, rounded; ``groups``: None unless ``eval_groups`` asks; ``queries``: unrounded.

    The tables and the question are made when they are first read: a validation needs only the metrics.
    ``protocol`` is the protocols' names, the primary one first; ``notes`` says what a reader must know.
    """

    def __init__(
        self,
        metrics: OrderedDict[str, float],
        protocol: list[str],
        queries: Callable[[], pd.DataFrame] = pd.DataFrame,
        groups: Callable[[], pd.DataFrame] | None = None,
        notes: list[str] | None = None,
        question: Callable[[], Question] | None = None,
    ) -> None:
        self.metrics, self.protocol, self.notes = metrics, protocol, notes or []
        self._queries, self._groups, self._question = queries, groups, question

    @cached_property
    def queries(self) -> pd.DataFrame:
        """User (token), domain where there are several, n_positives, the metrics of each query."""
        return self._queries()

    @cached_property
    def groups(self) -> pd.DataFrame | None:
        """group, value, n_queries, n_positives, the metrics of each group."""
        return None if self._groups is None else self._groups()

    @cached_property
    def question(self) -> Question | None:
        """What was asked; None of a validation by drawn lists."""
        return None if self._question is None else self._question()
