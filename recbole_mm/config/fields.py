"""Keys that name columns, against the headers of the atomic files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from recbole_mm.config.header import Header, is_loaded
from recbole_mm.errors import suggest
from recbole_mm.run.key import KEYS
from recbole_mm.run.key_type import is_intervals


def field_problems(defaults: Mapping[str, Any], given: Mapping[str, Any], header: Header) -> list[str]:
    """A line for each key of ``given`` that names a column that is not there, not loaded or of another type."""
    if not header.of("inter"):  # check_dataset says so
        return []
    return list(_problems({**defaults, **given}, given, header))


def _problems(settings: Mapping[str, Any], given: Mapping[str, Any], header: Header) -> Iterator[str]:
    yield from _loading(settings, given, header)
    for key in given:
        rules = KEYS[key].fields if key in KEYS else ()
        if rules and given[key] and given[key] != "None":
            for name, suffixes in _named(key, given[key], header):
                yield from _field(key, name, rules, suffixes, settings, header)
    for name, wanted in _items(given.get("val_interval")):
        yield from _interval(name, wanted, {kinds[name] for kinds in header.fields.values() if name in kinds})


def _loading(settings: Mapping[str, Any], given: Mapping[str, Any], header: Header) -> Iterator[str]:
    """The ids of users and items are among the columns that are loaded; a file's columns are chosen in one way."""
    load_col, unload_col = settings.get("load_col"), settings.get("unload_col") or {}
    if not {"load_col", "unload_col"} & given.keys() or not isinstance(load_col, (Mapping, type(None))):
        return
    key = "load_col" if "load_col" in given else "unload_col"
    user, item = settings.get("USER_ID_FIELD"), settings.get("ITEM_ID_FIELD")
    if load_col is not None and not load_col.get("inter"):
        yield f"load_col: no columns of .inter; add inter: [{user}, {item}]"
        return
    for suffix in unload_col:
        if load_col is not None and load_col.get(suffix, "*") != "*":
            yield f"unload_col: load_col names the columns of .{suffix} already; leave one of them out"
            return
    for suffix, names in {"inter": [user, item], "user": [user], "item": [item]}.items():
        for name in names:
            lost = name in header.of(suffix) and not is_loaded(name, suffix, settings.get)
            if lost and (load_col is None or load_col.get(suffix)):
                what = "USER_ID_FIELD" if name == user else "ITEM_ID_FIELD"
                yield f"{key}: the columns of .{suffix} lack '{name}' ({what})"


def _field(
    key: str,
    name: str,
    rules: Iterable[str],
    suffixes: list[str],
    settings: Mapping[str, Any],
    header: Header,
) -> Iterator[str]:
    places = [suffix for suffix in suffixes if name in header.of(suffix)]
    if not places:
        known = {field for suffix in suffixes for field in header.of(suffix)}
        files = " or ".join(f".{suffix}" for suffix in suffixes)
        yield f"{key}: there is no field '{name}' in {files}{suggest(name, known)}"
        return
    kind = header.of(places[0])[name]
    if "inter" in rules and "inter" not in places:
        yield f"{key}: '{name}' is a field of .{places[0]}, expected one of .inter"
    elif "loaded" in rules and not any(is_loaded(name, suffix, settings.get) for suffix in places):
        yield f"{key}: the field '{name}' of .{places[0]} is not loaded; add it to load_col"
    elif "float" in rules and not kind.startswith("float"):
        yield f"{key}: '{name}' is a field of type {kind}, expected float or float_seq"


def _interval(name: str, wanted: Any, kinds: set[str]) -> Iterator[str]:
    """Numbers have intervals, tokens have lists."""
    if any(kind.startswith("float") for kind in kinds):
        if not is_intervals(str(wanted)):
            yield f"val_interval: {name} is a float field, expected intervals such as [5,inf), got {wanted!r}"
    elif kinds and isinstance(wanted, str):
        yield f"val_interval: {name} is a field of tokens, expected a list of them, got {wanted!r}"


def _named(key: str, value: Any, header: Header) -> Iterator[tuple[str, list[str]]]:
    """The fields that a value names, each with the suffixes of the files where it may be."""
    everywhere = list(header.fields)
    if key in ("unload_col", "unused_col"):
        for suffix, names in _items(value):
            yield from ((name, [suffix]) for name in names if names != "*" and suffix in header.fields)
        return
    names = [*value, *(value.values() if key == "preload_weight" else ())]
    yield from ((name, everywhere) for name in names)


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, Mapping) else ()
