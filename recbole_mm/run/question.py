"""What an evaluation asked, as values: two runs belong into one table only where it is the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        self.count, self._sum = 0, np.uint64(0)

    def add(self, *columns: np.ndarray) -> None:
        """Take rows; ``columns``: the hashes of the tokens (`hash_tokens`), ``[N]`` each."""
        rows = pd.util.hash_pandas_object(pd.DataFrame(dict(enumerate(columns))), index=False)
        self.count += len(rows)
        self._sum += rows.to_numpy().sum(dtype=np.uint64)

    @property
    def value(self) -> str:
        """The hash of the rows so far."""
        return f"{int(self._sum):016x}"


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


def check_same(label: str, question: Question, first: str, of_first: Question) -> None:
    """Raise ``WrongUse``, naming the parts that differ, unless two lines of a table were asked the same."""
    differ = [part for part in PARTS if question.hashes[part] != of_first.hashes[part]]
    if differ:
        said = ", ".join(f"{part} ({question.counts[part]} and {of_first.counts[part]})" for part in differ)
        raise WrongUse(
            f"one table asks one question, and {label} and {first} differ in {said}; give them the same data, "
            "split, candidates and mask_seen (docs/evaluation.md)"
        )


def same_questions(records: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Check the records of the runs of a table, with their labels; the labels of those that do not say what was asked.

    Raises ``WrongUse`` as `check_same`.
    """
    first: tuple[str, Question] | None = None
    silent = []
    for label, record in records:
        question = Question.read(record)
        if question is None:
            silent.append(label)
        elif first is None:
            first = label, question
        else:
            check_same(label, question, *first)
    return list(dict.fromkeys(silent))
