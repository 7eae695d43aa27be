"""From an image file to a fixed frame of bytes. Nothing here needs torchvision."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_mm.errors import WrongUse, suggest
from recbole_mm.extract.encoder import Absent, Placement
from recbole_mm.extract.pixels import DECODING, read_image

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

PRESET_KEYS = ("resize", "crop", "mean", "std", "interpolation")
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")  # Pillow's
STRIP = 16  # an image longer than so many times its short side
RANDOM_AREA = (0.6, 1.0)  # share of the image that a random view shows


@dataclass(frozen=True)
class Frame:
    """How an image becomes a square of `crop` pixels.

    The short side is resized to `resize`, then the middle is cut out; `stretch` resizes both sides to
    `crop` instead. `views` > 1 adds random crops and mirror images after that first view.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]  # of values in 0..1
    std: tuple[float, float, float]
    stretch: bool = False
    interpolation: str = "bilinear"
    views: int = 1
    seed: int = 0

    @classmethod
    def of(cls, settings: Mapping[str, Any], preset: Mapping[str, Any]) -> Frame:
        """The frame of the settings; what they leave open (`~`) comes from the weights' own preset."""
        given = {key: settings[key] for key in PRESET_KEYS if settings.get(key) is not None}
        values: dict[str, Any] = {**preset, **given}
        missing = ", ".join(key for key in PRESET_KEYS if values.get(key) is None)
        if missing:
            raise WrongUse(f"encoder {settings['name']}: its weights do not say {missing}; set them")
        views, stretch = int(settings["augment"]), bool(settings.get("stretch", False))
        if views < 1:
            raise WrongUse(f"augment: {views}; the number of views is 1 (the plain image) or more")
        resize, crop, mean, std, interpolation = (values[key] for key in PRESET_KEYS)
        if interpolation not in INTERPOLATIONS:
            near = suggest(interpolation, INTERPOLATIONS)
            raise WrongUse(
                f"encoder {settings['name']}: interpolation {interpolation} is not one of Pillow's{near}"
            )
        sizes = int(resize), int(crop), tuple(mean), tuple(std)
        return cls(*sizes, stretch, str(interpolation), views, int(settings["seed"]))

    @property
    def identity(self) -> dict[str, Any]:
        """As JSON; the seed counts only where views are drawn."""
        values = {**vars(self), "mean": list(self.mean), "std": list(self.std), "decoding": DECODING}
        return values if self.views > 1 else {**values, "seed": None}

    def load(self, path: str) -> np.ndarray | Absent:
        """The views of one file, uint8 [V, 3, H, W]; a file that cannot be decoded is absent, see `read_image`."""
        read = read_image(path)
        if isinstance(read, Absent):
            return read
        image, content = read
        views = [self._middle(image)]
        if self.views > 1:
            generator = self.generator(content)
            views += [self._random(image, generator) for _ in range(self.views - 1)]
        return np.stack([np.asarray(view).transpose(2, 0, 1) for view in views])

    def generator(self, content: bytes) -> torch.Generator:
        """A generator that hangs on the seed and the image alone, never on order or on threads."""
        import torch

        digest = hashlib.sha256(self.seed.to_bytes(8, "little", signed=True) + content).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))

    def _middle(self, image: Image) -> Image:
        if self.stretch:
            return image.resize((self.crop, self.crop), self._filter())
        short = min(image.size)  # cut off and rounded as torchvision does, for whose weights this is
        width, height = (max(self.crop, self.resize * side // short) for side in image.size)
        left, top = round((width - self.crop) / 2), round((height - self.crop) / 2)
        right, bottom = left + self.crop, top + self.crop
        if max(image.size) <= STRIP * short:
            return image.resize((width, height), self._filter()).crop((left, top, right, bottom))
        # The middle alone, the same but for rounding: the whole of 3000 x 1 pixels would become 700 MB.
        x, y = image.width / width, image.height / height
        box = (left * x, top * y, min(right * x, image.width), min(bottom * y, image.height))
        return image.resize((self.crop, self.crop), self._filter(), box=box)

    def _random(self, image: Image, generator: torch.Generator) -> Image:
        import torch
        from PIL import ImageOps

        area, left, top, mirror = torch.rand(4, generator=generator).tolist()
        side = (RANDOM_AREA[0] + (RANDOM_AREA[1] - RANDOM_AREA[0]) * area) ** 0.5
        width, height = image.width * side, image.height * side
        x, y = (image.width - width) * left, (image.height - height) * top
        view = image.resize((self.crop, self.crop), self._filter(), box=(x, y, x + width, y + height))
        return ImageOps.mirror(view) if mirror < 0.5 else view

    def _filter(self) -> Any:
        from PIL.Image import Resampling

        return Resampling[self.interpolation.upper()]

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Bytes [..., 3, H, W] to floats with the mean and deviation that the weights were trained with."""
        import torch

        mean, std = torch.tensor([self.mean, self.std], device=pixels.device).view(2, 3, 1, 1) * 255
        return (pixels.float() - mean) / std


class FrameEncoder:
    """What encoders of images share: their items are frames, all of one size; a model's rows of them are pooled."""

    width: int
    unit = False  # rows of length one, before and after the mean over the views

    def __init__(
        self, settings: Mapping[str, Any], placement: Placement, preset: Mapping[str, Any], **identity: Any
    ) -> None:
        self.name = str(settings["name"])
        self.placement = placement
        self.batch_size = placement.batch_size(settings["batch_size"])
        self.shard_size = int(settings["shard_size"])
        self.frame = Frame.of(settings, preset)
        self.identity = {**identity, "frame": self.frame.identity, "precision": placement.precision}

    def rows(self, pixels: torch.Tensor) -> torch.Tensor:
        """The model's rows [N, D] of normalised pixels [N, 3, H, W]."""
        raise NotImplementedError

    def prepare(self, raws: Sequence[str]) -> list[Any]:
        """Bytes [V, 3, H, W] of each file."""
        return [self.frame.load(raw) for raw in raws]

    def size(self, prepared: np.ndarray) -> int:
        """One: all frames are of one size."""
        return 1

    def collate(self, prepared: Sequence[np.ndarray]) -> torch.Tensor:
        """Bytes [B, V, 3, H, W]."""
        import torch

        return torch.from_numpy(np.stack(prepared))

    def encode(self, batch: torch.Tensor) -> np.ndarray:
        """The mean over the views, float32 [B, D]."""
        import torch

        count, views = batch.shape[:2]
        pixels = batch.to(self.placement.device, non_blocking=True).flatten(0, 1)
        with self.placement.running():
            rows = self.rows(self.frame.normalise(pixels)).float()  # [B * V, D]
            rows = torch.nn.functional.normalize(rows, dim=-1) if self.unit else rows
            rows = rows.view(count, views, -1).mean(1)
            return (torch.nn.functional.normalize(rows, dim=-1) if self.unit else rows).cpu().numpy()
