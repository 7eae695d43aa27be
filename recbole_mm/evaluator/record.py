"""What a pass over the queries leaves behind, from which every number is made."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recbole_mm.evaluator.rank import BatchRanks
from recbole_mm.evaluator.sampled import ListRanks
from recbole_mm.run.metric import METRICS

Array = np.ndarray


@dataclass
class Record:
    """Q queries, P positives (ascending by query, no pair twice).

    position    [P] 0-based place in the list of length max K, -1 outside; None if no full ranking was asked for
    mean_rank   [P] rank among the candidates, ties averaged; candidates [Q] their number (both None without an AUC)
    lists       [Q, K] recommended items, -1 where a list ends (None without an item metric)
    sampled     ranks of the lists of each ``sampled-N``
    pooled      pooled AUC (None unless asked for)
    """

    user: Array
    domain: Array | None
    n_pos: Array
    pos_query: Array
    pos_item: Array
    pos_score: Array
    items: int
    position: Array | None = None
    mean_rank: Array | None = None
    candidates: Array | None = None
    lists: Array | None = None
    sampled: dict[str, ListRanks] = field(default_factory=dict)
    pooled: float | None = None

    @property
    def queries(self) -> int:
        """Q."""
        return len(self.user)

    def make_room(self, wanted: Wanted) -> None:
        """Make the arrays that ``store`` fills batch by batch."""
        if wanted.ranking:
            self.position = np.empty(len(self.pos_query), np.int64)
        if wanted.query_auc:
            self.mean_rank = np.empty(len(self.pos_query))
            self.candidates = np.empty(self.queries, np.int64)
        if wanted.lists:
            self.lists = np.full((self.queries, wanted.k), -1, np.int64)

    def store(self, ranks: BatchRanks, queries: slice, positives: slice) -> None:
        """Put the ranks of one batch where they belong; the arrays must be there."""
        if self.position is not None:
            self.position[positives] = ranks.position
        if self.mean_rank is not None and self.candidates is not None:
            self.mean_rank[positives], self.candidates[queries] = ranks.mean_rank, ranks.candidates
        if self.lists is not None and ranks.columns is not None:
            self.lists[queries, : ranks.columns.shape[1]] = ranks.columns


@dataclass(frozen=True)
class Wanted:
    """What a run asks for; ``ranking`` says whether a protocol of it ranks all candidates."""

    metrics: list[str]
    topk: list[int]
    ranking: bool

    def reading(self, reads: str) -> list[str]:
        """The metrics made of this (see `recbole_mm.run.metric.Metric`)."""
        return [name for name in self.metrics if METRICS[name].reads == reads]

    @property
    def query_auc(self) -> bool:
        """Whether ranks among all candidates are needed."""
        return self.ranking and bool(self.reading("rank"))

    @property
    def pooled_auc(self) -> bool:
        """Whether all scores are needed."""
        return self.ranking and bool(self.reading("scores"))

    @property
    def lists(self) -> bool:
        """Whether the lists themselves are needed."""
        return self.ranking and bool(self.reading("lists"))

    @property
    def k(self) -> int:
        """The longest list."""
        return max(self.topk)
