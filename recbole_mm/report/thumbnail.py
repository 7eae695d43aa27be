"""Small pictures of items, embedded into a page."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterable, Mapping

#: bytes of all thumbnails of a page together; pixels of the longer side
BUDGET, SIDE = 2_000_000, 88


def thumbnails(images: Mapping[int, str], listed: Iterable[int]) -> tuple[dict[int, str], str]:
    """JPEGs as ``data:`` addresses of the items that a page lists, the most often listed first, and a note.

    Args:
        images: path of the image of an item.
        listed: items as the page shows them, with repetitions.
    """
    wanted = [k for k, _ in Counter(k for k in listed if k in images).most_common()]
    if not wanted:
        return {}, ""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        return {}, 'Pictures are left out: they need Pillow, pip install "recbole_mm[extract]".'
    found: dict[int, str] = {}
    size = unreadable = 0
    for item in wanted:
        stream = io.BytesIO()
        try:
            with Image.open(images[item]) as image:
                image.draft("RGB", (SIDE, SIDE))
                small = image.convert("RGB")
                small.thumbnail((SIDE, SIDE))
                small.save(stream, "JPEG", quality=70, optimize=True)
        except (OSError, UnidentifiedImageError, ValueError):
            unreadable += 1
            continue
        text = "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
        if size + len(text) > BUDGET:
            break
        found[item] = text
        size += len(text)
    missing = len(wanted) - len(found)
    note = f"{missing} of {len(wanted)} pictures are left out" if missing else ""
    reason = f": {unreadable} cannot be read" * bool(unreadable) + ", the others to keep the page small" * (
        missing > unreadable
    )
    return found, f"{note}{reason}." if note else ""
