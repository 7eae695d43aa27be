from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("PIL")

import torch
from toy_models import save_image, tiny_bert, tiny_clip

from recbole_mm.errors import WrongUse
from recbole_mm.extract.encoder import Encoder
from recbole_mm.extract.image_text import tensor_of
from recbole_mm.extract.settings import build_encoders, read_settings

TEXTS = ["red shirt", "a long text of a red shirt and a blue knife and more", "knife"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def towers(folder: Path) -> dict[str, Encoder]:
    return build_encoders(read_settings("clip", str(folder), {}), "cpu")


def test_both_towers_give_the_models_own_unit_rows(
    folder: Path, towers: dict[str, Encoder], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer, CLIPModel

    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    paths = [str(save_image(tmp_path / f"{seed}.png", seed)) for seed in range(3)]
    text, image = towers["text"], towers["image"]
    texts = text.encode(text.collate(text.prepare(TEXTS)))
    images = image.encode(image.collate(image.prepare(paths)))
    assert texts.shape == images.shape == (3, 12) == (3, text.width) and image.width == 12
    assert np.allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)

    pixels = image.frame.normalise(image.collate(image.prepare(paths)))[:, 0]  # type: ignore[attr-defined]
    for row in range(3):
        words = tokenizer(TEXTS[row], truncation=True, max_length=10, return_tensors="pt")
        with torch.no_grad():
            out = model(
                input_ids=words["input_ids"],
                attention_mask=words["attention_mask"],
                pixel_values=pixels[row : row + 1],
            )
        assert np.allclose(texts[row], out.text_embeds[0], atol=1e-5)
        assert np.allclose(images[row], out.image_embeds[0], atol=1e-5)


def test_images_are_prepared_as_the_checkpoint_says(
    towers: dict[str, Encoder], folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torchvision")
    from PIL import Image
    from transformers import CLIPImageProcessor

    path = save_image(tmp_path / "x.png", 5, (60, 45))
    processor = CLIPImageProcessor.from_pretrained(folder)
    expected = torch.as_tensor(np.asarray(processor(Image.open(path), return_tensors="pt")["pixel_values"]))
    image = towers["image"]
    pixels = image.frame.normalise(image.collate(image.prepare([str(path)])))[0]  # type: ignore[attr-defined]
    assert (pixels - expected).abs().mean() < 0.02  # transformers 5 resizes with torchvision, not Pillow


def test_towers_are_known_apart(towers: dict[str, Encoder]) -> None:
    assert towers["text"].identity["weights"] == towers["image"].identity["weights"]
    assert towers["text"].identity != towers["image"].identity


def test_outputs_of_both_transformers_versions() -> None:
    class Output:
        pooler_output = torch.ones(2)

    assert torch.equal(tensor_of(Output()), tensor_of(torch.ones(2)))


def test_a_model_without_two_towers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="tower"):
        build_encoders(read_settings("clip", str(tiny_bert(tmp_path)), {}), "cpu")
