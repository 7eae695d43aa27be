"""The common end of the converters that hold their interactions as a frame: filter, write, describe."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_mm import atomic
from recbole_mm.atomic import header_line
from recbole_mm.convert.atomic import write_atomic, write_items_parquet
from recbole_mm.convert.cells import NULL_LIKE
from recbole_mm.convert.filter import Filters, count_doubtful, count_repeated, usable
from recbole_mm.convert.problems import Problems
from recbole_mm.convert.sets import Written
from recbole_mm.convert.staging import Staging
from recbole_mm.errors import WrongUse

USER, ITEM = "user_id:token", "item_id:token"
RATING, TIME = "rating:float", "timestamp:float"
#: the columns of ``.net``, RecBole's social network: users both
ENDS = ["source_id:token", "target_id:token"]
#: options of ``read_csv``: every value as it stands there
AS_TEXT: dict[str, Any] = {"dtype": str, "keep_default_na": False, "encoding_errors": "replace"}


def write_dataset(
    staging: Staging,
    inter: pd.DataFrame,
    items: pd.DataFrame | None,
    users: pd.DataFrame | None,
    texts: pd.DataFrame | None,
    filters: Filters,
    source: str,
    problems: Problems,
    strict: bool,
    others: dict[str, pd.DataFrame] | None = None,
    beside: Callable[[np.ndarray, set[str]], dict[str, int]] | None = None,
) -> Written:
    """Filter ``inter``; write it with the items and users that are left, ``items.parquet`` and the summary.

    ``inter``, ``items``, ``users``: columns "field:type", among them ``user_id:token``, ``item_id:token``;
    the tables get a line for each item and user that is left, an empty one where they say nothing of it. ``texts``:
    ``item_id``, text columns, ``image_path``, for ``items.parquet``. ``others``: suffix to frame, written as they
    are, but of ``net`` the pairs whose users are both left. ``source``: the file to name for a repeated pair.
    ``strict``: whether ``problems`` are errors. ``beside``: writes what else follows the filters, from the rows that
    are kept, bool [R], and the items; returns how many rows have a "review".
    """
    user_codes, user_tokens = pd.factorize(inter[USER])
    item_codes, item_tokens = pd.factorize(inter[ITEM])
    ratings, times = (
        inter[name].to_numpy(np.float64) if name in inter.columns else None for name in (RATING, TIME)
    )
    count_repeated(problems, f"{source} row ", user_codes, item_codes)
    count_doubtful(problems, f"{source} row ", usable(user_codes, item_codes), ratings, times)
    problems.raise_if(strict)
    keep, dropped = filters.keep(user_codes, item_codes, ratings, times)
    kept_users, kept_items = (
        user_tokens[np.unique(user_codes[keep])],
        item_tokens[np.unique(item_codes[keep])],
    )
    left_users, left_items = set(kept_users), set(kept_items)
    tables = inter[keep], _lines(items, ITEM, kept_items), _lines(users, USER, kept_users)
    write_atomic(staging.folder, staging.name, *tables, others=_of_users(others or {}, left_users))
    having = {}
    if texts is not None:
        texts = texts[texts["item_id"].isin(left_items)]
        if len(texts) == 0:
            raise WrongUse(f"{staging.name}: no item of the interactions is in the table of items")
        write_items_parquet(staging.folder, texts)
        having = {"text": 0, "image": 0, **count_described(texts)}
    if beside is not None:
        having |= beside(keep, left_items)
    counts = len(left_users), len(left_items), int(keep.sum())
    kept_times = [] if times is None else [times[keep]]
    summary = staging.write_summary(counts, kept_times, having, dropped, problems)
    return summary, left_users, left_items


def _of_users(others: dict[str, pd.DataFrame], users: set[str]) -> dict[str, pd.DataFrame]:
    """``others`` with the pairs of ``net`` that are of ``users`` alone; without ``net`` where there are none."""
    if "net" not in others:
        return others
    pairs = others["net"][others["net"][ENDS].isin(users).all(axis=1)]
    rest = {suffix: frame for suffix, frame in others.items() if suffix != "net"}
    return {**rest, "net": pairs} if len(pairs) else rest


def count_described(texts: pd.DataFrame) -> dict[str, int]:
    """How many rows have a "text" and an "image"; no key where the table has no such column."""
    columns = texts.drop(columns=["item_id", "image_path"], errors="ignore").fillna("").astype(str)
    filled = columns.apply(lambda column: column.str.strip() != "").any(axis=1)
    counts = {"text": int(filled.sum())} if len(columns.columns) else {}
    return counts | ({"image": int(texts["image_path"].notna().sum())} if "image_path" in texts else {})


def require(path: str | Path, frame: pd.DataFrame, names: Iterable[str]) -> None:
    """Refuse a file that lacks a column."""
    for name in names:
        if name not in frame.columns:
            raise WrongUse(f"{path}: no column {name!r}, found {', '.join(map(str, frame.columns))}")


def read_atomic(path: str | Path, problems: Problems | None = None) -> pd.DataFrame:
    """An atomic file; columns "field:type", token and sequence columns as text, as it stands there.

    Floats become numbers; rows with another number of fields are counted as ``unreadable_row`` and left out, or are
    an error without ``problems``. Raises as `recbole_mm.atomic.read_atomic`.
    """
    path = Path(path)
    if not path.is_file():
        raise WrongUse(f"{path}: no such file")
    words = {name: ["", *NULL_LIKE] for name in header_line(path).split("\t") if name.endswith(":float")}

    def unreadable(line: int) -> None:
        problems.add("unreadable_row", f"{path.name}:{line}")  # type: ignore[union-attr]

    count = None if problems is None else unreadable
    return atomic.read_atomic(path, unreadable=count, keep_default_na=False, na_values=words)


def lines_of(frame: pd.DataFrame, column: str, tokens: Iterable[str]) -> pd.DataFrame:
    """The first line of each of ``tokens``, in the order of the frame; then empty lines for those that have none.

    RecBole drops the interactions of an item (user) that its table lacks, for models that read the table alone.
    """
    wanted = dict.fromkeys(tokens)
    known = frame[frame[column].isin(wanted)].drop_duplicates(column)
    there = set(known[column])
    lacking = [token for token in wanted if token not in there]
    if not lacking:
        return known
    empty = {name: None if str(name).endswith("float") else "" for name in frame.columns}
    return pd.concat([known, pd.DataFrame({**empty, column: lacking})], ignore_index=True)


def _lines(frame: pd.DataFrame | None, column: str, tokens: Iterable[str]) -> pd.DataFrame | None:
    """`lines_of`; None where nothing is described."""
    if frame is None or not frame[column].isin(tokens := list(tokens)).any():
        return None
    return lines_of(frame, column, tokens)
