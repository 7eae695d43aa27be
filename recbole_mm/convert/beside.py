"""What lies beside the atomic files of a set and follows its filters, reviews and addresses of pictures; and the rest.

Row k of ``reviews.parquet`` is of row k of ``.inter``, so the rows that are kept say which reviews are.
"""

from __future__ import annotations

import glob
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from recbole_mm.convert.amazon_items import IMAGE_URLS
from recbole_mm.convert.amazon_reviews import TEXTS
from recbole_mm.convert.atomic import ITEMS_PARQUET
from recbole_mm.convert.frames import AS_TEXT, ITEM, USER
from recbole_mm.convert.staging import KEYS, REVIEWS_PARQUET, ParquetStream
from recbole_mm.errors import WrongUse

COLUMNS = ("user_id", "item_id", "timestamp", *TEXTS)
ROWS = 50_000  # at a time


def read_texts(folder: Path) -> pd.DataFrame | None:
    """``items.parquet``, if it is there."""
    path = folder / ITEMS_PARQUET
    if not path.is_file():
        return None
    try:
        # an index of pandas is an ordinary column
        texts = pq.read_table(path).to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError) as error:
        raise WrongUse(f"{path}: not readable as parquet ({str(error).partition(chr(10))[0]})") from error
    if "item_id" not in texts.columns:
        raise WrongUse(f"{path}: no column 'item_id', found {', '.join(map(str, texts.columns))}")
    images = texts["image_path"].dropna() if "image_path" in texts.columns else ()
    for image in images:
        if not isinstance(image, str):
            what = f"{type(image).__name__} in 'image_path'"
            raise WrongUse(f"{path}: {what}; it names the files of images, as text")
    return texts


def read_addresses(folder: Path) -> pd.DataFrame | None:
    """``image_urls.tsv`` as ``item_id``, ``url``, if it is there."""
    path = folder / IMAGE_URLS
    if not path.is_file():
        return None
    return pd.read_csv(path, sep="\t", header=None, names=["item_id", "url"], quoting=3, **AS_TEXT).fillna("")


def matching_reviews(folder: Path, inter: pd.DataFrame) -> Path | None:
    """``reviews.parquet``, if its row k is of the user and the item of row k of ``inter``."""
    path = folder / REVIEWS_PARQUET
    if not path.is_file():
        return None
    try:
        with pq.ParquetFile(path) as file:
            if file.schema_arrow.names != list(COLUMNS) or file.metadata.num_rows != len(inter):
                return None
            start = 0
            for batch in file.iter_batches(ROWS, columns=["user_id", "item_id"]):
                rows = inter.iloc[start : start + batch.num_rows]
                start += batch.num_rows
                for name, column in (("user_id", USER), ("item_id", ITEM)):
                    if batch[name].to_pylist() != rows[column].tolist():
                        return None
    except (pa.ArrowException, OSError) as error:
        raise WrongUse(f"{path}: not readable as parquet ({str(error).partition(chr(10))[0]})") from error
    return path


def write_reviews(source: Path, folder: Path, inter: pd.DataFrame, keep: np.ndarray) -> int:
    """Write the reviews of the rows in ``keep``, with the ids of ``inter``; returns how many have a text."""
    with_text = start = 0
    with (
        pq.ParquetFile(source) as file,
        ParquetStream(folder / REVIEWS_PARQUET, COLUMNS, repeated=("user_id", "item_id")) as stream,
    ):
        for batch in file.iter_batches(ROWS):
            part = slice(start, start + batch.num_rows)
            start = part.stop
            ids = inter.iloc[part][keep[part]]
            kept = batch.filter(pa.array(keep[part]))
            with_text += kept.num_rows - kept["text"].null_count
            columns = {name: kept[name] for name in COLUMNS}
            stream.write({**columns, "user_id": ids[USER].tolist(), "item_id": ids[ITEM].tolist()})
    return with_text


def write_addresses(addresses: pd.DataFrame, folder: Path, items: set[str]) -> None:
    """Write the addresses of ``items``, if they have any."""
    left = addresses[addresses["item_id"].isin(items)]
    if len(left):
        lines = (left["item_id"] + "\t" + left["url"] + "\n").tolist()
        (folder / IMAGE_URLS).write_text("".join(lines), encoding="utf-8")


def not_carried(folder: Path, stem: str, carried: set[str]) -> list[str]:
    """The files of the set ``stem`` in ``folder`` that are not among ``carried``.

    Its yaml is one where it says more than the fields, which are said anew.
    """
    names = {path.name for path in folder.glob(f"{glob.escape(stem)}.*") if path.is_file()}
    names |= {REVIEWS_PARQUET} if (folder / REVIEWS_PARQUET).is_file() else set()
    if f"{stem}.yaml" in names and not _says_more(folder / f"{stem}.yaml"):
        names.remove(f"{stem}.yaml")
    return sorted(names - carried)


def _says_more(file: Path) -> bool:
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return True
    return not isinstance(settings, dict) or not settings.keys() <= set(KEYS.values())
