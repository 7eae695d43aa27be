"""Scores of pairs by RecBole's context models, the fields of users and items embedded once and not once a pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from recbole.model.abstract_recommender import ContextRecommender
from recbole.model.layers import FMFirstOrderLinear
from torch import Tensor

#: embedded fields ``[n, F, d]``, sparse and dense; None where there are none
Fields = list[Tensor | None]


class FieldsAreRead(Exception):
    """A model looks at the fields of its pairs by itself."""


class _Embedded:
    """In the place of an interaction whose fields are embedded already."""

    def _refuse(self, *_: Any) -> NoReturn:
        raise FieldsAreRead

    __getitem__ = __getattr__ = __contains__ = __iter__ = __len__ = _refuse


class ContextPairs:
    """Queries against items by ``predict`` of a model that gets its fields from ``embed_input_fields``.

    The model's code stays as it is: for the time of a call the instance is given what is embedded already. An
    embedded field depends on its own value alone, and `FMFirstOrderLinear` is a sum over fields, so
    first(u, i) = first(u, 0) + first(0, i) - first(0, 0).

    Args:
        model: see `serves`.
        first: the row of any query.
        items: the fields of all items ``[I]``.
        pairs: how many pairs the model gets at once.
    """

    @staticmethod
    def serves(model: Any) -> bool:
        """Whether a model embeds its fields as RecBole's; `FieldsAreRead` tells of one that reads more."""
        own = getattr(type(model), "embed_input_fields", None)
        return isinstance(model, ContextRecommender) and own is ContextRecommender.embed_input_fields

    def __init__(self, model: Any, first: Any, items: Any, pairs: int) -> None:
        self.model, self.pairs = model, pairs
        self._linear = [part for part in model.modules() if type(part) is FMFirstOrderLinear]
        self._first_item = items[slice(0, 1)]
        of_item = set(items.columns)
        sparse = [*model.token_seq_field_names, *model.token_field_names]
        dense = [*model.float_seq_field_names, *model.float_field_names]
        #: which of the embedded fields are the query's, and the item's
        self._columns = [
            [_where([(name in of_item) == side for name in names]) for side in (False, True)]
            for names in (sparse, dense)
        ]
        parts = [self._embed(first, items[slice(a, a + pairs)]) for a in range(0, len(items), pairs)]
        self._items: Fields = [_joined(part[0][k] for part in parts) for k in range(2)]
        zero = self._embed(first, self._first_item)[1]
        self._item_linear = [
            torch.cat([part[1][k] for part in parts]) - zero[k] for k in range(len(self._linear))
        ]

    def _embed(self, queries: Any, items: Any) -> tuple[Fields, list[Tensor]]:
        """Embedded fields and first-order parts ``[n, o]`` of rows; one query with some items or the other way."""
        rows = queries.repeat(len(items)) if len(queries) == 1 else queries
        rows.update(items.repeat(len(queries)) if len(items) == 1 else items)
        return list(self.model.embed_input_fields(rows)), [part(rows) for part in self._linear]

    def __call__(self, queries: Any, ids: Tensor) -> Tensor:
        """Scores ``[B, n]`` of rows ``[B]`` for items ``ids [n]``.

        Raises:
            FieldsAreRead: this model cannot be scored so.
        """
        fields, linear = self._embed(queries[slice(None)], self._first_item)
        step, columns = max(1, self.pairs // len(ids)), []
        for b in range(0, len(ids), self.pairs):
            part = ids[b : b + self.pairs]
            items = [None if table is None else table[part] for table in self._items]
            item_linear = [table[part] for table in self._item_linear]
            scores = []
            for a in range(0, len(queries), step):
                some = slice(a, a + step)
                sparse, dense = (self._pairs(k, fields[k], items[k], some) for k in range(2))
                firsts = [
                    (u[some].unsqueeze(1) + i).flatten(0, 1) for u, i in zip(linear, item_linear, strict=True)
                ]
                with self._given(sparse, dense, firsts):
                    scores.append(self.model.predict(_Embedded()).view(-1, len(part)))
            columns.append(torch.cat(scores))
        return torch.cat(columns, dim=1)

    def _pairs(self, kind: int, users: Tensor | None, items: Tensor | None, some: slice) -> Tensor | None:
        """Embedded fields ``[b * n, F, d]`` of ``some`` of the queries with ``items [n]``."""
        if users is None or items is None:
            return None
        of_query, of_item = self._columns[kind]
        users = users[some]
        pairs = users.new_empty(len(users), len(items), *users.shape[1:])
        pairs[:, :, of_query] = users[:, of_query].unsqueeze(1)
        pairs[:, :, of_item] = items[:, of_item]
        return pairs.flatten(0, 1)

    @contextmanager
    def _given(self, sparse: Tensor | None, dense: Tensor | None, firsts: list[Tensor]) -> Iterator[None]:
        """While open, these are what the model's instance gets of any interaction."""
        model, names = self.model, ["embed_input_fields"]
        model.embed_input_fields = lambda _: (sparse, dense)
        if (
            dense is None
            and type(model).concat_embed_input_fields is ContextRecommender.concat_embed_input_fields
        ):
            names.append("concat_embed_input_fields")  # it would copy the one tensor
            model.concat_embed_input_fields = lambda _: sparse
        for part, first in zip(self._linear, firsts, strict=True):
            part.forward = _constant(first)
        try:
            yield
        finally:
            for name in names:  # the methods of the classes are there again
                delattr(model, name)
            for part in self._linear:
                del part.forward


def _constant(value: Tensor) -> Callable[[Any], Tensor]:
    return lambda _: value


def _joined(parts: Iterator[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


def _where(chosen: list[bool]) -> slice | list[int]:
    """The places that are chosen; as a slice, which copies faster, where they lie together."""
    places = [k for k, one in enumerate(chosen) if one]
    together = places and places[-1] - places[0] == len(places) - 1
    return slice(places[0], places[-1] + 1) if together else places
