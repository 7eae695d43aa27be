"""items.parquet, reviews.parquet -> what is to be encoded: a text or an image path each, and a key of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recbole_mm.errors import WrongUse, suggest
from recbole_mm.extract.encoder import identity_digest
from recbole_mm.modality import SEPARATOR

TOKEN = "item_id"  # the columns that `convert` writes
REVIEW = ("user_id", TOKEN)  # together, those that name a review
IMAGE = "image_path"


@dataclass
class Items:
    """N items (or reviews) in the order of the catalogue; `absent` says why a position has nothing to encode."""

    tokens: list[str]
    raws: list[str]  # a text, or the path of an image
    keys: list[str] = field(default_factory=list)  # content and encoder, hexadecimal; "" where absent
    absent: dict[int, str] = field(default_factory=dict)


def read_texts(
    path: Path, fields: Sequence[str] | None, separator: str, named_by: Sequence[str] = (TOKEN,)
) -> tuple[Items, list[str]]:
    """The texts of the items, or reviews (``named_by=REVIEW``): fields in order, joined; also the fields taken.

    No fields given: every column of text but the names and the image path.
    """
    schema = _schema(path)
    if fields is None:
        fields = [
            column.name
            for column in schema
            if column.name not in named_by and not column.name.startswith("image") and _is_text(column.type)
        ]
    again = [name for name in fields if list(fields).count(name) > 1]
    if again:
        raise WrongUse(f"--fields names {again[0]} twice; name each column once")
    table = _read(path, schema, [*named_by, *fields])
    columns = [table.column(name).to_pylist() for name in fields]
    texts = [join_fields(values, separator) for values in zip(*columns, strict=True)]
    if not columns:
        raise WrongUse(f"{path} has no column of text beside {', '.join(named_by)}; nothing to encode")
    absent = {row: "empty text" for row, text in enumerate(texts) if not text}
    return Items(_tokens(table, path, named_by), texts, absent=absent), list(fields)


def read_images(path: Path, root: Path, column: str = IMAGE) -> Items:
    """The image files of the items; paths are taken from `root`."""
    table = _read(path, _schema(path), [TOKEN, column])
    kind = table.schema.field(column).type
    if not _is_name(kind):
        raise WrongUse(f"{path}: column {column} is {kind}; give the paths of image files as text")
    paths, absent = [], {}
    for row, value in enumerate(table.column(column).to_pylist()):
        paths.append(str(root / value) if value else "")
        if not value:
            absent[row] = "no image path"
        elif not _is_file(root / value):
            absent[row] = "missing image file"
    return Items(_tokens(table, path), paths, absent=absent)


def join_fields(values: Sequence[Any], separator: str) -> str:
    """The filled-in fields as one text; lists are joined by commas, white space is collapsed.

    >>> join_fields(["Alien", None, ["horror", "space"], " "], ". ")
    'Alien. horror, space'
    """
    parts = []
    for value in values:
        if isinstance(value, (list, tuple)):
            value = ", ".join(str(part) for part in value if part is not None)
        if value is not None and value == value and (text := " ".join(str(value).split())):
            parts.append(text)
    return separator.join(parts)


def with_keys(items: Items, identity: Mapping[str, Any], are_files: bool, workers: int) -> Items:
    """The items with the key of each: a hash of its content (text or file) and of the encoder."""
    start = hashlib.sha256(identity_digest(identity).encode())
    absent = dict(items.absent)

    def key(row: int) -> str:
        if row in absent:
            return ""
        digest = start.copy()
        try:
            digest.update(Path(items.raws[row]).read_bytes() if are_files else items.raws[row].encode())
        except OSError as error:
            absent[row] = f"unreadable image: {error.strerror}"
            return ""
        return digest.hexdigest()[:32]

    rows = range(len(items.raws))
    with ThreadPoolExecutor(workers) as pool:
        keys = list((pool.map if are_files else map)(key, rows))
    return Items(items.tokens, items.raws, keys, dict(sorted(absent.items())))


def _schema(path: Path) -> pa.Schema:
    if not path.is_file():
        raise WrongUse(f"{path}: no such file; `recbole-mm convert` writes it, or give --items")
    try:
        return pq.read_schema(path)
    except pa.ArrowInvalid as error:
        raise WrongUse(f"{path}: not a parquet file ({error})") from error


def _read(path: Path, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
    for column in columns:
        if column not in schema.names:
            raise WrongUse(f"{path} has no column {column}{suggest(column, schema.names)}")
    return pq.read_table(path, columns=list(dict.fromkeys(columns)))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_name(kind: pa.DataType) -> bool:
    """Text, also as a category of pandas; or nothing at all, which has its own message."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name beyond 255 characters
        return False


def _tokens(table: pa.Table, path: Path, named_by: Sequence[str] = (TOKEN,)) -> list[str]:
    name = " and ".join(named_by)
    for column in named_by:
        kind = table.schema.field(column).type
        if not (_is_name(kind) or pa.types.is_integer(kind)):
            raise WrongUse(f"{path}: {column} is {kind}, whose text is not sure; save it as text or integers")
    # without what pandas wrote of its index, which would take the column away
    names = table.select(list(named_by)).to_pandas(ignore_metadata=True)
    lacking = (names.isna() | (names == "")).any(axis=1).to_numpy()
    if lacking.any():
        raise WrongUse(f"{path}: row {lacking.argmax()} has no {name}; every row needs one")
    again = names.duplicated().to_numpy()
    if again.any():
        row = int(again.argmax())
        first = int((names == names.iloc[row]).all(axis=1).to_numpy().argmax())
        shown = ", ".join(map(str, names.iloc[row]))
        raise WrongUse(f"{path}: {name} {shown} is in rows {first} and {row}; keep one row for each")
    return [SEPARATOR.join(map(str, values)) for values in names.itertuples(index=False)]
