"""Which side features a model reads: float fields only where ``numerical_features`` names them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from recbole_mm.config.header import Header, is_loaded
from recbole_mm.errors import WrongUse, suggest

#: models of sequences that embed ``selected_features``
SELECTING = ("FDSA", "GRU4RecF", "SASRecF")
#: models of sequences that embed all fields of users and items
EMBEDDING_ALL = ("DIN", "DIEN")
_KINDS = ("class", "genre", "genres", "category", "categories", "category_id", "brand", "tags", "type")
_IDS = {"user": "USER_ID_FIELD", "item": "ITEM_ID_FIELD"}


def numbers_to_read(
    model: str, header: Header, get: Callable[[str], Any], wanted: Sequence[str], given: bool
) -> list[str]:
    """The value of ``numerical_features``: what it names, and the float fields that the model is to read.

    Args:
        model: its name.
        header: fields of the atomic files.
        get: the value of a key.
        wanted: item fields that the model was told to read.
        given: a person gave ``numerical_features``.

    Raises:
        WrongUse: a name is none of a float field, or a person left out one that the model was told to read.
    """
    named = list(get("numerical_features") or ())
    kinds = {name: kind for suffix in ("inter", "user", "item") for name, kind in header.of(suffix).items()}
    numbers = [name for name, kind in kinds.items() if kind.startswith("float")]
    for name in named:
        if name not in kinds:
            raise WrongUse(f"numerical_features: no field '{name}' in {header.name}{suggest(name, numbers)}")
        if name not in numbers:
            raise WrongUse(
                f"numerical_features: '{name}' is a {kinds[name]} field, which {model} reads without it; "
                f"float fields are {', '.join(numbers) or 'none'}"
            )
    left = [name for name in wanted if name in numbers and name not in named]
    if left and given:
        raise WrongUse(
            f"selected_features: '{left[0]}' is a {kinds[left[0]]} field, which {model} reads only where "
            f"numerical_features names it: numerical_features: [{', '.join([*named, *left])}]"
        )
    return named + left


def unread(header: Header, get: Callable[[str], Any], numbers: Sequence[str]) -> list[str]:
    """The float fields of users and items that are loaded and that a model of all fields does not read."""
    found = []
    for suffix in _IDS:
        floats = [name for name, kind in header.of(suffix).items() if kind.startswith("float")]
        found += [name for name in floats if is_loaded(name, suffix, get) and name not in numbers]
    return found


def columns_of(header: Header, get: Callable[[str], Any], names: Sequence[str]) -> dict[str, list[str]]:
    """By file the columns that hold ``names``, with the id of the file."""
    columns = {}
    for suffix in ("inter", *_IDS):
        own = [name for name in names if name in header.of(suffix)]
        if own:
            columns[suffix] = [*([get(_IDS[suffix])] if suffix in _IDS else []), *own]
    return columns


def kind_field(model: str, header: Header, get: Callable[[str], Any]) -> str:
    """The field that says of what kind an item is. Raises ``WrongUse`` where items have no token field."""
    have = header.of("item")
    fields = [name for name, kind in have.items() if name != get(_IDS["item"]) and kind.startswith("token")]
    if not fields:
        file = header.file("item")
        lack = f"{file} has no token field beside the id" if have else f"there is no {file}"
        raise WrongUse(f"{model} needs a feature of items, and {lack}")
    named = [name for name in _KINDS if name in fields]
    # a text of many words is a poor kind: single tokens first
    return (named or sorted(fields, key=lambda name: have[name] == "token_seq"))[0]


def of_rows_alone(header: Header, get: Callable[[str], Any]) -> list[str]:
    """The loaded fields of ``.inter`` that a row has and a candidate has not: a part, a rating, a time."""
    of_candidates = [get(f"{name}_FIELD") for name in ("USER_ID", "ITEM_ID", "LABEL")]
    if get("domains") or get("domain_field") or get("domain_rule"):
        of_candidates.append("domain")
    have = header.of("inter")
    return [name for name in have if is_loaded(name, "inter", get) and name not in of_candidates]
