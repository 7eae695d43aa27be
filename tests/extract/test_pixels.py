from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL")

from PIL import Image
from toy_models import save_image

from recbole_mm.errors import Failure
from recbole_mm.extract.encoder import Absent
from recbole_mm.extract.frame import Frame
from recbole_mm.extract.items import Items, with_keys
from recbole_mm.extract.pipeline import extract

FRAME = Frame(16, 16, (0.5,) * 3, (0.5,) * 3, stretch=True)
RAMP = np.linspace(0, 65535, 256).reshape(16, 16)


def shown(path: Path) -> np.ndarray:
    view = FRAME.load(str(path))
    assert isinstance(view, np.ndarray)
    return view[0, 0]


@pytest.mark.parametrize(
    ("name", "kind", "scale"),
    [("x.png", np.uint16, 1), ("x.tiff", np.uint16, 1), ("y.tiff", np.int32, 1), ("z.tiff", np.int32, 257)],
)
def test_grey_of_16_bits_keeps_its_range(tmp_path: Path, name: str, kind: Any, scale: int) -> None:
    Image.fromarray((RAMP // scale).astype(kind)).save(tmp_path / name)
    assert np.abs(shown(tmp_path / name) - RAMP / 257).max() <= 1


def test_values_without_a_known_range_are_absent(tmp_path: Path) -> None:
    Image.fromarray((RAMP / 65535).astype(np.float32)).save(tmp_path / "f.tiff")
    Image.fromarray((RAMP * 1000).astype(np.int32)).save(tmp_path / "i.tiff")
    for name, reason in {"f.tiff": "floats", "i.tiff": "beyond 16 bits"}.items():
        found = FRAME.load(str(tmp_path / name))
        assert isinstance(found, Absent) and reason in found.reason


def test_a_black_logo_on_transparency_stays_visible(tmp_path: Path) -> None:
    logo = np.zeros((16, 16, 4), np.uint8)
    logo[4:12, 4:12, 3] = 255  # black both, told apart by alpha alone
    Image.fromarray(logo).save(tmp_path / "rgba.png")
    Image.fromarray(logo[..., 3] // 255).save(tmp_path / "grey.png", transparency=0)
    for name in ("rgba.png", "grey.png"):
        view = shown(tmp_path / name)
        assert (view[4:12, 4:12] <= 1).all() and (view[:4] == 255).all(), name


def test_a_strip_is_cut_before_it_is_resized(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    frame = replace(FRAME, resize=20, stretch=False)
    resize, sizes = Image.Image.resize, []

    def noted(self: Any, size: Any, *args: Any, **options: Any) -> Any:
        sizes.append(size)
        return resize(self, size, *args, **options)

    for size in ((200, 7), (6, 300)):
        image = Image.open(save_image(tmp_path / "x.png", 0, size))
        width, height = (20 * side // min(size) for side in size)
        left, top = round((width - 16) / 2), round((height - 16) / 2)
        whole = resize(image, (width, height), Image.Resampling.BILINEAR).crop(
            (left, top, left + 16, top + 16)
        )
        with monkeypatch.context() as patched:
            patched.setattr(Image.Image, "resize", noted)
            view = frame.load(str(tmp_path / "x.png"))
        assert isinstance(view, np.ndarray) and sizes.pop() == (16, 16)
        assert np.abs(view[0].astype(int) - np.asarray(whole).transpose(2, 0, 1)).max() <= 2


class Brightness:
    """An encoder of images without a model."""

    name, width, batch_size, shard_size = "brightness", 1, 2, 2
    identity: dict[str, Any] = {"kind": "brightness"}  # noqa: RUF012

    def prepare(self, raws: list[str]) -> list[Any]:
        return [FRAME.load(raw) for raw in raws]

    def size(self, prepared: np.ndarray) -> int:
        return 1

    def collate(self, prepared: list[np.ndarray]) -> np.ndarray:
        return np.stack(prepared)

    def encode(self, batch: np.ndarray) -> np.ndarray:
        return batch.mean((1, 2, 3, 4), dtype=np.float32)[:, None]


def test_an_error_of_the_moment_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(save_image(tmp_path / f"{n}.png", n)) for n in range(3)]
    encoder, store = Brightness(), tmp_path / "image"
    items = with_keys(Items(list("abc"), paths), encoder.identity, are_files=True, workers=1)
    read, opened = Path.read_bytes, Image.open

    def busy(path: Path) -> bytes:
        if path.name == "1.png":
            raise OSError(errno.EMFILE, "Too many open files")
        return read(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", busy)
        with pytest.raises(Failure, match=r"1\.png: Too many open files"):
            extract(items, encoder, store, modality="image")

    def without_decoder(file: Any) -> Any:
        raise Image.UnidentifiedImageError

    with monkeypatch.context() as patched:
        patched.setattr(Image, "open", lambda file: without_decoder(file) if patience.pop() else opened(file))
        patience = [True, False, False]
        assert extract(items, encoder, store, modality="image").present == 2
    assert extract(items, encoder, store, modality="image").present == 2
    report = extract(items, encoder, store, modality="image", overwrite=True)
    assert (report.present, report.encoded, report.reused) == (3, 1, 2)
    assert extract(items, encoder, store, modality="image").present == 3
