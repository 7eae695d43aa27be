"""What was asked of a model, by tokens: the hashes that stand in the record of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from recbole_mm.evaluator.query import EvalTask
from recbole_mm.run.question import PARTS, Digest, Question, hash_tokens

Array = np.ndarray


class Asked:
    """Gathers a question from internal ids of a data set."""

    def __init__(self, dataset: Any) -> None:
        self._user = hash_tokens(dataset.field2id_token[dataset.uid_field])
        self._item = hash_tokens(dataset.field2id_token[dataset.iid_field])
        self._domain = hash_tokens([*dataset.domain_names, ""])  # -1: no domain
        self._digests = {part: Digest() for part in PARTS}

    def queries(self, users: Array, domains: Array | None = None) -> None:
        """Take queries [Q]."""
        domains = np.full(len(users), -1) if domains is None else domains
        self._digests["queries"].add(self._user[users], self._domain[domains])

    def pairs(self, part: str, users: Array, items: Array, *others: Array) -> None:
        """Take pairs of query and item [N], and ids of more items that belong to them."""
        self._digests[part].add(self._user[users], self._item[items], *(self._item[each] for each in others))

    def lists(self, users: Array, row: Array, item: Array, positive: Array) -> None:
        """Take lists: users [B]; row and item of what is ranked [n]; which of those are the positives."""
        negative = np.delete(np.arange(len(row)), positive)
        self.queries(users)
        self.pairs("positives", users[row[positive]], item[positive])
        self.pairs("candidates", users[row[negative]], item[negative])

    def items(self, items: Array, domain: int = -1) -> None:
        """Take candidates of all queries of a domain."""
        self._digests["candidates"].add(self._item[items], np.repeat(self._domain[[domain]], len(items)))

    @property
    def question(self) -> Question:
        """All that was taken."""
        return Question.of(self._digests)


def full_question(dataset: Any, task: EvalTask, negatives: Mapping[str, Array], ranked: bool) -> Question:
    """The question of a full-ranking loader.

    Args:
        dataset: the loader's.
        task: its queries.
        negatives: drawn item ids [P, N] of each sampled protocol, -1 where there is none.
        ranked: whether a protocol ranks all candidates.
    """
    asked = Asked(dataset)
    asked.queries(task.user, task.domain)
    user = task.user[task.pos_query]
    asked.pairs("positives", user, task.pos_item)
    for name in sorted(negatives):
        drawn = negatives[name]
        row, column = np.nonzero(drawn >= 0)
        asked.pairs("candidates", user[row], drawn[row, column], task.pos_item[row])
    if ranked:
        for domain, items in (task.columns or {-1: np.arange(1, task.items)}).items():
            asked.items(items, domain)
        for query, item in _masked(task):
            asked.pairs("masked", task.user[query], item)
    return asked.question


def _masked(task: EvalTask) -> Iterator[tuple[Array, Array]]:
    """(query, item) of what is masked and no positive, once each, batch by batch."""
    positive = np.unique(task.pos_query * task.items + task.pos_item)
    for index, batch in enumerate(task.batches):
        columns = task.columns.get(batch.domain, np.arange(task.items))
        row, column = np.divmod(np.unique(task.mask_of(index)), len(columns))
        key = (row + batch.start) * task.items + columns[column]
        yield np.divmod(np.setdiff1d(key, positive, assume_unique=True), task.items)


def rows_question(dataset: Any, users: Array, items: Array, labels: Array) -> Question:
    """The question of labelled rows [N]: those of label 1 are the positives, the others the candidates."""
    asked = Asked(dataset)
    asked.queries(np.unique(users))
    for part, rows in (("positives", labels > 0), ("candidates", labels <= 0)):
        asked.pairs(part, users[rows], items[rows])
    return asked.question
