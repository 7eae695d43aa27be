"""Amazon metadata of 2014, 2018 and 2023 -> ``.item``, ``items.parquet``, ``image_urls.tsv``; streaming."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from recbole_mm.convert.atomic import ITEMS_PARQUET, AtomicWriter
from recbole_mm.convert.jsonlines import lines_of, parse, read_blocks
from recbole_mm.convert.problems import Problems
from recbole_mm.convert.staging import ParquetStream, Staging
from recbole_mm.errors import WrongUse

IMAGE_URLS = "image_urls.tsv"
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"})
TEXT_COLUMNS = ("title", "brand", "categories", "features", "description")
ATOMIC = {"item_id": "item_id:token", "title": "title:token_seq", "brand": "brand:token"}
ATOMIC |= {"categories": "categories:token_seq", "price": "price:float"}
ROWS = 20_000  # of a chunk
LONGEST = 4096  # characters of a field in .item; items.parquet has the whole
_PYTHON_ID = re.compile(rb"""['"]asin['"]:\s*['"]([^'"]+)['"]""")
_TAG = re.compile(r"<[/!a-zA-Z][^<>]{0,2000}>")
# what a page does not show; one that is not closed ends with the text, as in a browser. Python's html.parser would
# also drop all behind a "<" that opens nothing
_UNSEEN = re.compile(
    r"<(script|style)\b[^<>]*>.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.IGNORECASE | re.DOTALL
)
_PRICE = re.compile(r"\d[\d,]*(?:\.\d+)?")


def write_items(
    staging: Staging,
    tokens: pa.Array,
    kept: np.ndarray,
    meta: Path | None,
    images: Path | None,
    problems: Problems,
) -> dict[str, int]:
    """Write the items of ``kept`` (codes into ``tokens``): first as they stand in ``meta``, then the others.

    Returns how many have a "text" and how many have an "image" on disk.
    """
    waiting = dict.fromkeys(tokens.take(kept).to_pylist(), True)  # False once an item is yielded
    described = _described(meta, waiting, problems) if meta else ()
    others = (_item(token, {}, problems, "") for token, alone in waiting.items() if alone)
    rows = chain(described, others)
    pictures = find_images(images, staging.folder) if images else {}
    having = {"text": 0, "image": 0}
    with (
        AtomicWriter(staging.folder / f"{staging.name}.item") as atomic,
        ParquetStream(staging.folder / ITEMS_PARQUET, ("item_id", *TEXT_COLUMNS, "image_path")) as parquet,
        open(staging.folder / IMAGE_URLS, "w", encoding="utf-8") as url_file,
    ):
        while chunk := list(islice(rows, ROWS)):
            having["text"] += sum(any(row[name] for name in TEXT_COLUMNS) for row in chunk)
            paths = [pictures.get(row["item_id"]) for row in chunk]
            having["image"] += len(paths) - paths.count(None)
            names = ("item_id", *TEXT_COLUMNS)
            columns: dict[str, Any] = {name: [row[name] or None for row in chunk] for name in names}
            columns["categories"] = [", ".join(row["categories"]) or None for row in chunk]
            parquet.write({**columns, "image_path": paths})
            frame = pd.DataFrame(chunk, columns=list(ATOMIC)).astype({"price": "float64"})
            frame["title"], frame["brand"] = frame["title"].str[:LONGEST], frame["brand"].str[:LONGEST]
            atomic.write(frame.rename(columns=ATOMIC))
            url_file.writelines(f"{row['item_id']}\t{row['url']}\n" for row in chunk if row["url"])
    if not os.path.getsize(staging.folder / IMAGE_URLS):
        (staging.folder / IMAGE_URLS).unlink()
    return having


def find_images(folder: str | Path, relative_to: str | Path) -> dict[str, str]:
    """``{file stem: path relative to relative_to}`` of the images in ``folder``; empty files do not count."""
    if not Path(folder).is_dir():
        raise WrongUse(f"{folder}: no such folder of images")
    base = os.path.relpath(Path(folder).resolve(), Path(relative_to).resolve())
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and entry.is_file() and entry.stat().st_size
        )
    return {Path(name).stem: Path(base, name).as_posix() for name in reversed(names)}  # .jpg before .png


def _described(path: Path, waiting: dict[str, bool], problems: Problems) -> Iterator[dict[str, Any]]:
    """Items that are in ``waiting``, each once; the value becomes False once it is yielded."""
    line_no = 0
    with tqdm(desc=f"{path.name}: items", unit="B", unit_scale=True, disable=None) as bar:
        for block in read_blocks(path, problems):
            for line in lines_of(block):
                line_no += 1
                # a Python literal is slow to read: look for its id first
                found = _PYTHON_ID.search(line) if line.startswith(b"{'") else None
                if found and found[1].decode("ascii", "replace") not in waiting:
                    continue
                where = f"{path.name}:{line_no}"
                row = parse(line, where, problems)
                if row is None:
                    continue
                token = row.get("parent_asin") or row.get("asin")
                if not isinstance(token, str) or not token:
                    problems.add("missing_item", where)
                elif waiting.get(token):
                    waiting[token] = False
                    yield _item(token, row, problems, where)
                elif token in waiting:
                    problems.add("duplicate_item", where)
            bar.update(len(block))


def _item(token: str, row: dict[str, Any], problems: Problems, where: str) -> dict[str, Any]:
    """One item with the same keys in every edition; absent texts are ''."""
    title = plain(row.get("title"))
    if "var aPageStart" in title or "getTime()" in title:  # the 2018 edition's known fault
        problems.add("page_code", where)
        title = ""
    brand = plain(row.get("brand") or row.get("store"))
    categories = [plain(name) for name in _flat(row.get("categories") or row.get("category"))]
    return {
        "item_id": token,
        "title": title,
        "brand": brand.removeprefix("by ").strip(),
        "categories": [name for name in dict.fromkeys(categories) if name],
        "features": plain(row.get("features") or row.get("feature")),
        "description": plain(row.get("description")),
        "price": _price(row.get("price")),
        "url": _image_url(row),
    }


def plain(value: Any) -> str:
    """Text, or a list of texts, on one line without HTML, nor code of ``<script>`` and ``<style>``."""
    text = " ".join(_flat(value))
    if "<" in text or "&" in text:
        text = html.unescape(_TAG.sub(" ", _UNSEEN.sub(" ", html.unescape(text))))
    return " ".join(text.split())


def _flat(value: Any) -> list[str]:
    if isinstance(value, (list, tuple)):
        return [text for part in value for text in _flat(part)]
    return [value] if isinstance(value, str) else []


def _price(value: Any) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if np.isfinite(value) else None
    found = _PRICE.search(value) if isinstance(value, str) else None
    return float(found[0].replace(",", "")) if found else None


def _image_url(row: dict[str, Any]) -> str:
    """The largest picture of the main view: 2023 ``images``, 2018 ``imageURLHighRes``, 2014 ``imUrl``."""
    images = row.get("images")
    if isinstance(images, dict):  # the same as a dict of lists
        keys = list(images)
        images = [dict(zip(keys, values, strict=False)) for values in zip(*images.values(), strict=False)]
    if isinstance(images, list):
        views = [view for view in images if isinstance(view, dict)]
        views.sort(key=lambda view: view.get("variant") != "MAIN")  # stable
        candidates = [view.get(size) for view in views for size in ("hi_res", "large", "thumb")]
    else:
        names = ("imageURLHighRes", "imageURL", "image", "imUrl")
        candidates = [url for name in names for url in _flat(row.get(name))]
    for url in candidates:
        if isinstance(url, str) and url.startswith("http"):
            return "".join(url.split())
    return ""
