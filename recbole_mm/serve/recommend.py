"""Lists of items for people: as a table of tokens, titles and scores, or as a parquet file for all users."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recbole_mm.errors import WrongUse
from recbole_mm.files import remove_litter, replacing
from recbole_mm.serve.new_items import NewItems, read_tokens, stores_of
from recbole_mm.serve.rank import SEEN, Lists, Ranker, check_length
from recbole_mm.serve.token import Tokens

#: rows of a row group
GROUP_ROWS = 1 << 18


class Recommender:
    """What a trained model recommends.

    Args:
        config, model, parts: as of `Ranker`.
    """

    def __init__(self, config: Any, model: Any, parts: Sequence[Any]) -> None:
        self.ranker, self.dataset = Ranker(config, model, parts), parts[0]
        self.tokens = Tokens(config, self.dataset)

    def recommend(
        self,
        users: Sequence[str] | None = None,
        k: int = 10,
        *,
        history: Sequence[str] | None = None,
        mask_seen: str = "train+valid",
        domain: str | None = None,
        items: str | Path | Sequence[str] | None = None,
        stores: str | Path | None = None,
    ) -> pd.DataFrame:
        """The ``k`` best items for ``users`` (tokens), or for someone who took ``history``.

        Args:
            users: tokens.
            k: length of a list; it is shorter where there are fewer candidates.
            history: item tokens in the order in which they were taken, by someone who is not in the data.
            mask_seen: the seen items that are left out: ``train+valid``, ``train`` or ``none``. Those of the test are
                candidates, as in the evaluation.
            domain: rank its items alone; None: as the run was evaluated, of several domains a list for each.
            items: new items beside the candidates of the run: tokens, a file with one a line, or a store's folder.
            stores: folder of the stores with the new items' vectors; None: those that the run was trained on.

        Returns:
            columns ``user`` (not of a history), ``domain`` (where there are several), ``rank``, ``item``, ``title``
            (where the data have titles), ``score``.

        Raises:
            WrongUse: an unknown token, or the model cannot do it; one line.
        """
        new, number = self._new(items, stores, domain), self._checked(k, mask_seen, domain)
        if history is not None:
            if new is not None:
                raise WrongUse("new items are ranked for users of the data, not for a history")
            if not len(history):
                raise WrongUse("history: it names no item; give those that were taken, in order")
            found = self.ranker.of_history(self.tokens.item_ids(history), k, mask_seen, number)
            return self._frame(found, None, None)
        ids = self.tokens.user_ids([str(user) for user in users or ()])
        # once each: a user who is named twice is asked for once
        distinct = ids[np.sort(np.unique(ids, return_index=True)[1])]
        frame = self._frame(self.ranker.lists(distinct, k, mask_seen, number, new), self.tokens.users, new)
        if frame.empty or "domain" not in frame:
            return frame
        place = pd.Series(np.arange(len(distinct)), index=self.tokens.users[distinct])
        order = np.argsort(place[frame["user"]].to_numpy(), kind="stable")
        return frame.iloc[order].reset_index(drop=True)

    def write_all(
        self,
        path: str | Path,
        k: int = 10,
        *,
        mask_seen: str = "train+valid",
        domain: str | None = None,
        items: str | Path | Sequence[str] | None = None,
        stores: str | Path | None = None,
    ) -> int:
        """Lists for all users as parquet, in row groups: memory does not grow with users; returns the rows.

        The file appears when it is whole. Arguments and columns are those of :meth:`recommend`.
        """
        new, number = self._new(items, stores, domain), self._checked(k, mask_seen, domain)
        lists = self.ranker.lists(np.arange(1, self.dataset.user_num), k, mask_seen, number, new)
        names = self._names(new)
        remove_litter(path)
        rows = 0
        with replacing(path) as temporary:
            writer = None
            try:
                for group in _groups(lists, GROUP_ROWS):
                    table = self._table(group, self.tokens.users, names)
                    writer = writer or pq.ParquetWriter(temporary, table.schema)
                    writer.write_table(table)
                    rows += len(table)
            finally:
                if writer is not None:
                    writer.close()
        return rows

    def _checked(self, k: int, mask_seen: str, domain: str | None) -> int | None:
        if mask_seen not in SEEN:
            raise WrongUse(f"mask_seen: expected one of {', '.join(SEEN)}, got {mask_seen!r}")
        check_length(k)
        return None if domain is None else self.tokens.domain(domain)

    def _new(
        self, items: str | Path | Sequence[str] | None, stores: str | Path | None, domain: str | None
    ) -> NewItems | None:
        if items is None:
            return None
        tokens = read_tokens(items) if isinstance(items, (str, Path)) else list(items)
        known, pool = self.dataset.field2token_id[self.dataset.iid_field], self.ranker.pool
        # a line of `.item` without an interaction is in the data and yet no candidate: it is new as well
        tokens = [token for token in tokens if not pool[known.get(token, 0)]]
        if not tokens:
            return None
        if self.tokens.domains and domain is None:
            raise WrongUse(f"new items need a domain to belong to: one of {', '.join(self.tokens.domains)}")
        number = self.tokens.domain(domain) if domain is not None else -1
        found = stores_of(self.dataset, stores)
        return NewItems(self.ranker.model, self.dataset, tokens, found, number)

    def _names(self, new: NewItems | None) -> tuple[pa.Array, pa.Array | None]:
        """Tokens and titles of all items, the new ones behind them."""
        more = [] if new is None else new.tokens
        titles = self.tokens.titles
        return pa.array([*map(str, self.tokens.items), *more]), (
            None if titles is None else pa.array([*titles, *self.tokens.titles_of(more)])
        )

    def _frame(self, lists: Iterable[Lists], users: np.ndarray | None, new: NewItems | None) -> pd.DataFrame:
        groups = list(lists)
        if not groups:
            return pd.DataFrame({"rank": [], "item": [], "score": []})
        return self._table(groups, users, self._names(new)).to_pandas()

    def _table(
        self, group: Sequence[Lists], users: np.ndarray | None, names: tuple[pa.Array, pa.Array | None]
    ) -> pa.Table:
        """The rows of some lists; a list's empty places are none."""
        items = np.concatenate([each.items.ravel() for each in group])
        kept = items >= 0
        sizes = [each.items.shape for each in group]
        columns: dict[str, Any] = {}
        if users is not None:
            of_row = np.concatenate(
                [np.repeat(each.users, n) for each, (_, n) in zip(group, sizes, strict=True)]
            )
            columns["user"] = pa.array(users[of_row[kept]].astype(str))
        if self.tokens.domains and group[0].domain >= 0:
            number = np.repeat([each.domain for each in group], [b * n for b, n in sizes])[kept]
            columns["domain"] = pa.array(self.tokens.domains).take(pa.array(number))
        rank = np.concatenate([np.tile(np.arange(1, n + 1, dtype=np.int32), b) for b, n in sizes])
        chosen = pa.array(items[kept])
        columns |= {"rank": rank[kept], "item": names[0].take(chosen)}
        if names[1] is not None:
            columns["title"] = names[1].take(chosen)
        columns["score"] = np.concatenate([each.scores.ravel() for each in group])[kept].astype(np.float32)
        return pa.table(columns)


def _groups(lists: Iterable[Lists], rows: int) -> Iterator[list[Lists]]:
    """Lists that have about ``rows`` rows together."""
    group: list[Lists] = []
    held = 0
    for each in lists:
        group.append(each)
        held += each.items.size
        if held >= rows:
            yield group
            group, held = [], 0
    if group:
        yield group
