"""The common end of the converters that hold their interactions as a frame: filter, write, describe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_mm.convert.atomic import write_atomic, write_items_parquet
from recbole_mm.convert.filter import Filters, repeated_pairs
from recbole_mm.convert.problems import Problems
from recbole_mm.convert.staging import Staging
from recbole_mm.convert.summary import summarise
from recbole_mm.errors import WrongUse

USER, ITEM = "user_id:token", "item_id:token"
RATING, TIME = "rating:float", "timestamp:float"


def write_dataset(
    staging: Staging,
    inter: pd.DataFrame,
    items: pd.DataFrame | None = None,
    users: pd.DataFrame | None = None,
    texts: pd.DataFrame | None = None,
    *,
    filters: Filters,
    problems: Problems,
    strict: bool = False,
    others: dict[str, pd.DataFrame] | None = None,
    source: str = "",
) -> tuple[dict[str, Any], set[str], set[str]]:
    """Filter ``inter``; write it with the items and users that are left, ``items.parquet`` and the summary.

    ``inter``, ``items``, ``users``: columns "field:type", among them ``user_id:token``, ``item_id:token``;
    items and users that no interaction has are left out. ``texts``: ``item_id``, text columns, ``image_path``,
    for ``items.parquet``. ``others``: suffix to frame, written as they are. ``source``: the file to name for a
    repeated pair. Returns the summary, and the users and items that are left.
    """
    user_codes, user_tokens = pd.factorize(inter[USER])
    item_codes, item_tokens = pd.factorize(inter[ITEM])
    times = inter[TIME].to_numpy(dtype=np.float64) if TIME in inter.columns else None
    ratings = inter[RATING].to_numpy(dtype=np.float64) if RATING in inter.columns else None
    again = repeated_pairs(user_codes, item_codes)
    if again.any():
        problems.add("duplicate_pair", f"{source} row {int(again.argmax()) + 1}", int(again.sum()))
    problems.raise_if(strict)
    keep, dropped = filters.keep(user_codes, item_codes, ratings, times)
    left_users = set(user_tokens[np.unique(user_codes[keep])])
    left_items = set(item_tokens[np.unique(item_codes[keep])])
    write_atomic(
        staging.folder,
        staging.name,
        inter[keep],
        _only(items, ITEM, left_items),
        _only(users, USER, left_users),
        others=others,
    )
    with_text = with_image = None
    if texts is not None:
        texts = texts[texts["item_id"].isin(left_items)]
        if len(texts) == 0:
            raise WrongUse(f"{staging.name}: no item of the interactions is in the table of items")
        write_items_parquet(staging.folder, texts)
        columns = [name for name in texts.columns if name not in ("item_id", "image_path")]
        filled = texts[columns].fillna("").astype(str).apply(lambda column: column.str.strip() != "")
        with_text = int(filled.any(axis=1).sum())
        with_image = int(texts["image_path"].notna().sum()) if "image_path" in texts.columns else 0
    summary = summarise(
        staging.name,
        len(left_users),
        len(left_items),
        int(keep.sum()),
        () if times is None else [times[keep]],
        with_text=with_text,
        with_image=with_image,
        dropped=dropped,
        problems=problems,
    )
    staging.write_summary(summary)
    return summary, left_users, left_items


def read_atomic(path: str | Path, problems: Problems | None = None) -> pd.DataFrame:
    """An atomic file as RecBole writes it; columns "field:type", token and sequence columns as text.

    Floats become numbers; rows with another number of fields are counted as ``unreadable_row`` and left out.
    """
    path = Path(path)
    if not path.is_file():
        raise WrongUse(f"{path}: no such file")
    unreadable: list[int] = []

    def note(row: list[str]) -> None:
        unreadable.append(len(row))

    frame = pd.read_csv(
        path,
        sep="\t",
        dtype=str,
        keep_default_na=False,
        encoding="utf-8",
        encoding_errors="replace",
        engine="python",
        on_bad_lines=note,
    )
    if problems is not None:
        problems.add("unreadable_row", path.name, len(unreadable))
    for name in frame.columns:
        if str(name).endswith(":float"):
            numbers = pd.to_numeric(frame[name], errors="coerce")
            frame[name] = numbers
    return frame


def _only(frame: pd.DataFrame | None, column: str, wanted: set[str]) -> pd.DataFrame | None:
    if frame is None:
        return None
    left = frame[frame[column].isin(wanted)].drop_duplicates(column)
    return left if len(left) else None
