"""The bytes of an image file as RGB. Pillow decodes; what it would clip or blacken is scaled, composited or refused."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recbole_mm.errors import Failure, WrongUse
from recbole_mm.extract.encoder import Absent

if TYPE_CHECKING:
    from PIL.Image import Image

# Part of every image's key: another way from a file to pixels gets another name.
DECODING = "upright, grey of 16 bits scaled, alpha on white"


def read_image(path: str) -> tuple[Image, bytes] | Absent:
    """The pixels and the bytes of a file; one that cannot be decoded is absent.

    Raises:
        Failure: the file cannot be read now. That says nothing of its content, so it must not be remembered.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise WrongUse('images need pillow: pip install "recbole_mm[extract]"') from error

    try:
        content = Path(path).read_bytes()
        with Image.open(BytesIO(content)) as opened:
            image = rgb(ImageOps.exif_transpose(opened))
    except MemoryError:
        raise
    except Exception as error:  # a broken file makes Pillow's decoders raise nearly anything
        if isinstance(error, OSError) and error.errno is not None:  # Pillow's own have none
            raise Failure(f"{path}: {error.strerror}, while it was read; mend that and run again") from error
        return Absent(f"unreadable image: {type(error).__name__}")
    return image if isinstance(image, Absent) else (image, content)


def rgb(image: Image) -> Image | Absent:
    """Three channels of 8 bits: transparent parts are white, grey of 16 bits keeps its range."""
    from PIL.Image import fromarray, new

    if image.mode == "F":
        return Absent("unreadable image: floats without a known range")
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        top = 0xFFFF if image.mode.startswith("I;16") else int(grey.max(initial=0))
        if top > 0xFFFF or grey.min(initial=0) < 0:
            return Absent("unreadable image: integers beyond 16 bits")
        if top > 0xFF:
            grey = (grey.astype(np.uint32) * 0xFF + 0x7FFF) // 0xFFFF
        return fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode.endswith(("A", "a")) or "transparency" in image.info:
        white = new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image.convert("RGB")
