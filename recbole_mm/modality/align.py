"""From item tokens to store rows, and an explicit mask of presence.

A data set numbers its items after filtering; a store has its own order. Tokens are the only link.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recbole_mm.errors import WrongUse


@dataclass(frozen=True)
class Alignment:
    """Where the items of a data set are in a store.

    Attributes:
        rows: int64 ``[I]``, the store row of each item id, −1 where it has none.
        present: bool ``[I]``.
    """

    rows: np.ndarray
    present: np.ndarray


def align(store_tokens: Sequence[str] | np.ndarray, item_tokens: Sequence[str] | np.ndarray) -> Alignment:
    """Find every item's row in a store.

    Args:
        store_tokens: ``[N]`` text, unique; the order of the store's rows.
        item_tokens: ``[I]`` text, the token of each item id; id 0 is padding and always absent.

    Raises:
        WrongUse: a token occurs twice in ``store_tokens``.
    """
    index = pd.Index(np.asarray(store_tokens, dtype=object), dtype=object)
    if not index.is_unique:
        raise WrongUse(f"token {index[index.duplicated()][0]!r} occurs twice in the store; build it again")
    rows = index.get_indexer(pd.Index(np.asarray(item_tokens, dtype=object), dtype=object)).astype(np.int64)
    rows[:1] = -1
    return Alignment(rows=rows, present=rows >= 0)


def check_coverage(
    name: str,
    alignment: Alignment,
    min_coverage: float,
    item_tokens: Sequence[str] | np.ndarray,
    store_tokens: Sequence[str] | np.ndarray,
) -> None:
    """Refuse a store that covers less than the share ``min_coverage`` (0 to 1) of the items.

    Raises:
        WrongUse: too few items are covered; the message shows a token of each side.
    """
    if isinstance(min_coverage, bool) or not 0 <= min_coverage <= 1:
        raise WrongUse(f"min_coverage is {min_coverage!r}; give a share between 0 and 1")
    n_items = len(alignment.present) - 1
    covered = int(alignment.present.sum())
    if n_items == 0 or covered >= min_coverage * n_items:
        return
    of_data, of_store = _example(np.asarray(item_tokens, object), np.asarray(store_tokens, object), alignment)
    share = f"{covered:,} of {n_items:,} items ({100 * covered / n_items:.1f} %)"
    raise WrongUse(
        f"modality '{name}' covers {share}, less than min_coverage {min_coverage:g}; an item of the data set is "
        f"{of_data!r}, one of the store {of_store!r}: build the store with the same ids, or lower min_coverage"
    )


def _example(item_tokens: np.ndarray, store_tokens: np.ndarray, alignment: Alignment) -> tuple[str, str]:
    """A missing item and the store token that may mean it, or else the first."""
    missing = item_tokens[np.flatnonzero(~alignment.present)[1:]]
    return alike(missing, store_tokens) or (missing[0], store_tokens[0])


def alike(tokens: np.ndarray, others: np.ndarray) -> tuple[str, str] | None:
    """The first of ``tokens`` that may mean one of ``others``, and that: equal but for zeros, case, spaces, ``.0``."""
    plain = pd.Index(_plain(others))
    position = pd.Series(np.arange(len(plain)), index=plain).groupby(level=0).first()
    hits = position.reindex(_plain(tokens)).to_numpy()
    found = np.flatnonzero(~np.isnan(hits.astype(float)))
    return (tokens[found[0]], others[int(hits[found[0]])]) if len(found) else None


def _plain(tokens: np.ndarray) -> pd.Series:
    text = pd.Series(tokens.astype(str)).str.strip().str.lower()
    return text.str.replace(r"^0+(?=.)|\.0$", "", regex=True)
