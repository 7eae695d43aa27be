"""From what a person writes to ids and back: tokens of users, items and domains, the titles of items."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from heapq import nlargest
from typing import Any

import numpy as np

from recbole_mm.data.title import item_titles
from recbole_mm.errors import WrongUse, suggest

#: tokens among which the nearest is looked for one by one; of more, those that begin and end most alike
_SEARCHED = 2_000


class Tokens:
    """The tokens of a data set.

    Attributes:
        users, items: ``[U]``, ``[I]`` object arrays, id 0 is ``[PAD]``.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        self._config, self._dataset = config, dataset
        self.users: np.ndarray = dataset.field2id_token[dataset.uid_field]
        self.items: np.ndarray = dataset.field2id_token[dataset.iid_field]
        self.domains: list[str] = list(dataset.domain_names)

    def user_ids(self, tokens: Sequence[str]) -> np.ndarray:
        """Ids ``[n]``. Raises ``WrongUse``: a token is unknown, with the nearest known."""
        return self._ids("user", self._dataset.uid_field, tokens)

    def item_ids(self, tokens: Sequence[str]) -> np.ndarray:
        """As `user_ids`."""
        return self._ids("item", self._dataset.iid_field, tokens)

    def domain(self, name: str) -> int:
        """Number of a domain. Raises ``WrongUse``: there is none of that name."""
        if name not in self.domains:
            hint = suggest(name, self.domains) if self.domains else "; the data have one domain"
            raise WrongUse(f"no domain {name!r}{hint}")
        return self.domains.index(name)

    @cached_property
    def titles(self) -> np.ndarray | None:
        """``[I]`` titles, "" where an item has none; None where the data have none at all."""
        titles = np.array(self.titles_of(self.items.tolist()), dtype=object)
        return titles if (titles != "").any() else None

    def titles_of(self, tokens: Sequence[str]) -> list[str]:
        """Titles of any items that the files of the data set name, whether or not the run loaded them."""
        return [self._found_titles.get(str(token), "") for token in tokens]

    @cached_property
    def _found_titles(self) -> dict[str, str]:
        return item_titles(self._config)

    def _ids(self, kind: str, field: str, tokens: Sequence[str]) -> np.ndarray:
        known = self._dataset.field2token_id[field]
        unknown = [token for token in tokens if token not in known or known[token] == 0]
        if unknown:
            more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
            names = self._dataset.field2id_token[field][1:].tolist()
            raise WrongUse(
                f"no {kind} {unknown[0]!r}{more} in the data of the run{nearest(unknown[0], names)}"
            )
        return np.array([known[token] for token in tokens], dtype=np.int64)


def nearest(token: str, known: Sequence[str]) -> str:
    """``; did you mean …?``, or nothing where no known token is near; ``domain:token`` is near to ``token``."""
    own = [name for name in known if name.endswith(f":{token}")]
    if own:
        return f"; did you mean {' or '.join(repr(name) for name in own[:3])}?"
    if len(known) > _SEARCHED:
        known = nlargest(
            _SEARCHED, known, key=lambda name: _alike(token, name) + _alike(token[::-1], name[::-1])
        )
    return suggest(token, known, listed=False)


def _alike(one: str, other: str) -> int:
    """How many letters both begin with."""
    return next(
        (k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
