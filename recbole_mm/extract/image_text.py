"""CLIP through transformers: two towers into one space, each an encoder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from recbole_mm.errors import WrongUse
from recbole_mm.extract.checkpoint import checkpoint_json, config_digest, load_pretrained
from recbole_mm.extract.encoder import Placement, fingerprint
from recbole_mm.extract.frame import FrameEncoder
from recbole_mm.extract.text import TextEncoder

if TYPE_CHECKING:
    import torch


class Clip:
    """One checkpoint, loaded once for both towers."""

    def __init__(self, settings: Mapping[str, Any], placement: Placement) -> None:
        self.settings = settings
        self.placement = placement
        self.tokenizer, model = load_pretrained(str(settings["checkpoint"]))
        if not hasattr(model, "get_image_features") or not hasattr(model, "get_text_features"):
            raise WrongUse(f"{settings['checkpoint']} has no image and text tower; `extract clip` needs both")
        self.model = placement.place(model)
        self.identity = {"weights": fingerprint(self.model), "config": config_digest(model.config)}

    @cached_property
    def preset(self) -> dict[str, Any]:
        """How the checkpoint wants its images, as it says itself."""
        checkpoint = str(self.settings["checkpoint"])
        own = checkpoint_json(checkpoint, "preprocessor_config.json")
        own = own or (checkpoint_json(checkpoint, "processor_config.json") or {}).get("image_processor") or {}
        sizes = {"resize": _side(own.get("size")), "crop": _side(own.get("crop_size"))}
        colours = {"mean": own.get("image_mean"), "std": own.get("image_std")}
        interpolation = "bicubic" if own.get("resample", 3) == 3 else "bilinear"
        return {**sizes, **colours, "interpolation": interpolation}


class ClipImage(FrameEncoder):
    """The image tower: unit rows; views are averaged, then made unit again."""

    unit = True

    def __init__(self, clip: Clip) -> None:
        settings = {**clip.settings, "name": f"{clip.settings['name']} image"}
        self.clip = clip
        super().__init__(settings, clip.placement, clip.preset, kind="clip image", **clip.identity)
        self.width = int(clip.model.config.projection_dim)

    def rows(self, pixels: torch.Tensor) -> torch.Tensor:
        """The tower's projected rows."""
        return tensor_of(self.clip.model.get_image_features(pixel_values=pixels))


class ClipText(TextEncoder):
    """The text tower: unit rows; texts are cut at the tower's own length (77)."""

    def __init__(self, clip: Clip) -> None:
        settings = clip.settings
        self.placement = clip.placement
        self.name = f"{settings['name']} text"
        self.batch_size = clip.placement.batch_size(settings["text_batch_size"])
        self.shard_size = int(settings["text_shard_size"])
        self.clip, self.tokenizer, self.prefix, self.normalize = clip, clip.tokenizer, "", True
        self.max_length = int(clip.model.config.text_config.max_position_embeddings)
        self.finish(kind="clip text", **clip.identity)

    def rows(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The tower's projected rows [B, D]."""
        return tensor_of(self.clip.model.get_text_features(**inputs)).float()


def tensor_of(output: Any) -> torch.Tensor:
    """The rows that a tower gives: transformers 4 returns the projected tensor, 5 an output object that holds it."""
    return output.pooler_output if hasattr(output, "pooler_output") else output


def _side(size: Any) -> int | None:
    if isinstance(size, Mapping):
        return size.get("shortest_edge") or size.get("height")
    return size
