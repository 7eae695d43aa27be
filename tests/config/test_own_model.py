"""A model of one's own: where its defaults come from, and which keys it knows."""

from __future__ import annotations

from typing import Any

import pytest

from recbole_mm.config import Config
from recbole_mm.config.properties import properties_dir
from recbole_mm.model import defaults_of, get_model


def settings_of(model: str | type) -> dict[str, Any]:
    made = Config(model, "ml-100k", config_dict={"use_gpu": False})
    return {key: value for key, value in made.final_config_dict.items() if key != "model"}


@pytest.mark.parametrize(
    "parent", ["CMC", "VBPR", "LightGCN", "SASRecF", "DIN", "S3Rec", "EASE", "GRU4RecKG"]
)
def test_a_class_that_extends_a_model_starts_from_its_defaults(parent: str) -> None:
    own = type("Own", (type("Between", (get_model(parent),), {}),), {})
    assert defaults_of(own) is get_model(parent)
    assert settings_of(own) == settings_of(parent)


def test_our_own_models_keep_to_their_own_file() -> None:
    for file in (properties_dir() / "model").glob("*.yaml"):
        assert defaults_of(get_model(file.stem)).__name__ == file.stem


def test_a_class_that_extends_no_model_has_no_defaults_of_one() -> None:
    from recbole.model.abstract_recommender import GeneralRecommender

    assert defaults_of(own := type("Own", (GeneralRecommender,), {})) is own
