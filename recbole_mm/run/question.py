"""What an evaluation asked, as values: only runs that were asked the same make one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from recbole_mm.errors import WrongUse

#: of what a question is made
PARTS = ("queries", "positives", "candidates", "masked")


class Digest:
    """A hash of rows of tokens that their order does not change: what is hashed row by row is summed.

    Attributes:
        count: rows so far.
        value: 16 hexadecimal digits.
    """

    def __init__(self) -> None:
        self.count, self._sum = 0, 0

    def add(self, *columns: np.ndarray) -> None:
        """Take rows; ``columns``: the hashes of the tokens (`hash_tokens`), ``[N]`` each."""
        rows = pd.util.hash_pandas_object(pd.DataFrame(dict(enumerate(columns))), index=False)
        self.count += len(rows)
        self._sum = (self._sum + int(rows.to_numpy().sum(dtype=np.uint64))) % 2**64

    @property
    def value(self) -> str:
        """The hash of the rows so far."""
        return f"{self._sum:016x}"


def hash_tokens(tokens: Any) -> np.ndarray:
    """uint64 ``[N]``, the same for a token wherever and whenever it is hashed."""
    return pd.util.hash_array(np.asarray(tokens, dtype=object).astype(str).astype(object))


@dataclass(frozen=True)
class Question:
    """Number and hash of each of ``PARTS``, by tokens, so that the numbering of a data set does not matter.

    queries     user and domain of each
    positives   query and item
    candidates  items, or domain and item, that are ranked; query and item where they were drawn
    masked      query and item that is a candidate to others and not ranked here
    """

    counts: Mapping[str, int]
    hashes: Mapping[str, str]

    @classmethod
    def of(cls, digests: Mapping[str, Digest]) -> Question:
        """From a digest of each part."""
        return cls(
            {part: digests[part].count for part in PARTS}, {part: digests[part].value for part in PARTS}
        )

    def as_dict(self) -> dict[str, Any]:
        """As numbers and text."""
        return asdict(self)

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Question | None:
        """That of a run's record; None where it holds none."""
        return cls(**record["question"]) if record.get("question") else None


class OtherQuestion(WrongUse):
    """Two lines of a table were not asked the same."""


class OneQuestion:
    """Holds all runs of a table to the question of the first that says what it was asked."""

    def __init__(self) -> None:
        self._first: tuple[str, Question] | None = None

    def check(self, label: str, question: Question | None) -> None:
        """Take the question of a run.

        Raises:
            OtherQuestion: it differs from that of the first; the message names the parts.
        """
        if question is None:
            return
        self._first = self._first or (label, question)
        first, of_first = self._first
        differ = [part for part in PARTS if question.hashes[part] != of_first.hashes[part]]
        if differ:
            counts = [f"{part} ({question.counts[part]} and {of_first.counts[part]})" for part in differ]
            raise OtherQuestion(
                f"one table asks one question, and {label} and {first} differ in {', '.join(counts)}; give them the "
                "same data, split, candidates and mask_seen (docs/evaluation.md)"
            )
