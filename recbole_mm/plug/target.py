"""Where a model holds its items and users: which embeddings, from which row on. No model's code is asked or changed.

Known, in this order:

- what a model of ours says of itself by the trait ``id_rows``;
- one table for several fields, as RecBole's context models have it: by the offset of the item's or the user's field;
- an embedding whose name holds the word (``item_embedding``, ``user_mlp_embedding``) with a row for each id, and up to
  two more (BERT4Rec has one for the mask);
- in knowledge models that have no other, the table of entities, whose first rows are the items.

Weights of one number an id are biases and no vectors of theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from recbole.utils import ModelType
from torch import nn

from recbole_mm.model.traits import trait

#: words of a name that say that its rows are no vectors of the ids themselves
_OTHERS = frozenset(["bias", "neigh", "lambda", "taste"])
#: names that do not tell: FPMC's item by user, next and last item, and user by item
_NAMED = {"item": ("IU_emb", "LI_emb", "IL_emb"), "user": ("UI_emb", "h_user")}
#: RecBole's models with one table for the sequence's items and for the scored ones, looked up apart: by `[B, L]` and
#: by `[B]` or whole (tests/plug/test_at.py)
SEPARABLE = frozenset(
    [
        *(
            "BERT4Rec",
            "CORE",
            "FDSA",
            "FEARec",
            "GRU4Rec",
            "GRU4RecF",
            "LightSANs",
            "NARM",
            "SASRec",
            "SASRecF",
        ),
        *("SINE", "SRGNN", "STAMP"),
    ]
)
#: models that hold such a table by inheritance and score without it
_UNUSED = frozenset(["LR"])


@dataclass(frozen=True)
class Target:
    """An embedding of a model, by name, whose rows from ``start`` on are those of all items or users."""

    name: str
    embedding: nn.Embedding
    start: int
    entities: bool = False


def tables_of(model: Any, dataset: Any, kind: str) -> list[Target]:
    """The embeddings of a model for ``item`` or ``user`` (``kind``), in the model's order; [] where it has none."""
    if not isinstance(model, nn.Module) or type(model).__name__ in _UNUSED:
        return []
    found = {
        name: each
        for name, each in model.named_modules()
        if isinstance(each, nn.Embedding)
        and each.embedding_dim > 1
        and type(each).forward is nn.Embedding.forward
    }
    said = trait(model, "id_rows")()
    if said:
        return list(_said(said, found, dataset, kind))
    return [*_of_fields(model, found, dataset, kind), *_by_name(found, dataset, kind)]


def no_table(model: Any, kind: str) -> str:
    """Why `tables_of` found none."""
    name = type(model).__name__
    if getattr(model, "type", None) in (ModelType.TRADITIONAL, ModelType.DECISIONTREE):
        return "it learns no vectors"
    if name in _UNUSED:
        return "it scores by one number an id, and reads no vector"
    for parameter, blocks in trait(model, "id_rows")().items():
        for block, size in blocks:
            if block == kind and size > 1:
                return (
                    f"{parameter} has {size} rows for each {kind}, one for each domain, and a store has one"
                )
    return f"it holds no embedding with a row for each {kind}"


def _said(said: dict[str, Any], found: dict[str, nn.Embedding], dataset: Any, kind: str) -> Iterator[Target]:
    sizes = {"user": dataset.user_num, "item": dataset.item_num}
    for parameter, blocks in said.items():
        name, _, last = parameter.rpartition(".")
        if last != "weight" or name not in found or _words(name) & _OTHERS:
            continue
        start = 0
        for block, size in blocks:
            if (block, size) == (kind, 1):
                yield Target(name, found[name], start)
            start += size * sizes.get(block, 1)


def _of_fields(model: nn.Module, found: dict[str, nn.Embedding], dataset: Any, kind: str) -> Iterator[Target]:
    """The tables of fields: RecBole names the fields, counts their tokens and adds them up beside each table."""
    field = {"user": dataset.uid_field, "item": dataset.iid_field}[kind]
    first_row: dict[int, int] = {}  # rows of a table -> the field's first
    for owner in model.modules():
        names, sizes = (getattr(owner, f"token_field_{what}", None) for what in ("names", "dims"))
        if not names or not sizes:
            continue
        layouts = names.keys() if isinstance(names, dict) else [None]
        for key in layouts:
            listed, counts = (names, sizes) if key is None else (names[key], sizes[key])
            if field in listed:
                first_row[sum(counts)] = sum(counts[: listed.index(field)])
    for name, each in found.items():
        if "token_embedding" in name and each.num_embeddings in first_row:
            yield Target(name, each, first_row[each.num_embeddings])


def _by_name(found: dict[str, nn.Embedding], dataset: Any, kind: str) -> list[Target]:
    n = {"user": dataset.user_num, "item": dataset.item_num}[kind]
    entities = getattr(dataset, "entity_num", None) or 0

    def named(name: str) -> bool:
        words = _words(name)
        return (kind in words and not words & _OTHERS) or name in _NAMED[kind]

    targets = [
        Target(name, each, 0, each.num_embeddings == entities)
        for name, each in found.items()
        if named(name) and (each.num_embeddings - n in (0, 1, 2) or each.num_embeddings == entities)
    ]
    if not targets and kind == "item" and entities:
        targets = [
            Target(name, each, 0, True)
            for name, each in found.items()
            if "entity" in _words(name) and each.num_embeddings == entities
        ]
    return targets


def _words(name: str) -> set[str]:
    """The words in the last part of a name that is none of a list's."""
    parts = [part for part in name.split(".") if not part.isdecimal()]
    return {word.removesuffix("s") for word in re.split(r"_|\W", parts[-1].lower())} - {""}
