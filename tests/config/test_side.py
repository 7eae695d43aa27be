"""Side features of every kind: a model reads them, or one line says which it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recbole_mm.config import Config
from recbole_mm.errors import WrongUse
from recbole_mm.quick_start.session import Session

N = 15
IDS = ["user_id", "item_id", "rating", "timestamp"]
FIELDS = {"brand": "token", "kinds": "token_seq", "price": "float", "size": "float", "shape": "float_seq"}
CHOICES = [["brand"], ["price"], ["shape"], ["price", "size"], ["brand", "price"], list(FIELDS)]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Twenty users with eight of fifteen items, which have a field of each kind."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pairs = [(u, i) for u in range(20) for i in rng.permutation(N)[:8]]
    inter = pd.DataFrame(
        {"user_id:token": [f"u{u}" for u, _ in pairs], "item_id:token": [f"i{i}" for _, i in pairs]}
    )
    inter["rating:float"] = rng.integers(1, 6, len(pairs)).astype(float)
    inter["timestamp:float"] = np.arange(len(pairs), dtype=float)
    lists = {"kinds": [" ".join(f"k{j}" for j in range(i % 3 + 1)) for i in range(N)]}
    lists["shape"] = [" ".join(f"{x:.2f}" for x in rng.random(3)) for _ in range(N)]
    plain = {"brand": [f"b{i % 3}" for i in range(N)], "price": rng.random(N), "size": rng.random(N)}
    items = pd.DataFrame({"item_id:token": [f"i{i}" for i in range(N)]})
    for name, kind in FIELDS.items():
        items[f"{name}:{kind}"] = {**lists, **plain}[name]
    (tmp_path / "shop").mkdir()
    inter.to_csv("shop/shop.inter", sep="\t", index=False)
    items.to_csv("shop/shop.item", sep="\t", index=False)
    return {
        "data_path": str(tmp_path),
        "epochs": 1,
        "use_gpu": False,
        "show_progress": False,
        "embedding_size": 8,
    }


def config(shop: dict[str, Any], model: str, **more: Any) -> Config:
    return Config(model, "shop", config_dict={**shop, **more})


@pytest.mark.parametrize("model", ["SASRecF", "GRU4RecF", "FDSA"])
def test_selected_features_of_any_kind_are_read(shop: dict[str, Any], model: str) -> None:
    for fields in CHOICES:
        small = {"hidden_size": 8, "inner_size": 8} if model != "GRU4RecF" else {"hidden_size": 8}
        session = Session.build(config(shop, model, selected_features=fields, **small).spec)
        layer = session.model.feature_embed_layer
        assert layer.num_feature_field["item"] == len(fields)
        loss = session.model.calculate_loss(next(iter(session.train_data)))
        loss.backward()
        # each field has weights of its own, and all of them are learned
        assert all(parameter.grad is not None for parameter in layer.parameters())


@pytest.mark.parametrize("model", ["DIN", "DIEN", "DSSM", "FwFM", "FFM", "DeepFM"])
@pytest.mark.parametrize("fields", [["price", "size"], list(FIELDS)], ids=len)
def test_models_of_all_fields_take_float_fields(shop: dict[str, Any], model: str, fields: list[str]) -> None:
    numbers = [name for name in fields if FIELDS[name].startswith("float")]
    load_col = {"inter": IDS, "item": ["item_id", *fields]}
    session = Session.build(config(shop, model, load_col=load_col, numerical_features=numbers).spec)
    loss = session.model.calculate_loss(next(iter(session.train_data)))
    assert np.isfinite(loss.item())


def test_what_is_loaded_and_not_read_is_said(shop: dict[str, Any]) -> None:
    load_col = {"inter": IDS, "item": ["item_id", *FIELDS]}
    some = config(shop, "DSSM", load_col=load_col, numerical_features=["size"])
    said = "DSSM: float fields price, shape not read; numerical_features: [size, price, shape] does it"
    assert said in some.notes
    # one tower is no wider for it
    assert Session.build(some.spec).run(saved=False).record["remarks"].count(said) == 1
    every = config(shop, "DSSM", load_col=load_col, numerical_features=["size", "price", "shape"])
    assert not [note for note in every.notes if "not read" in note]


def test_a_named_float_field_is_loaded(shop: dict[str, Any]) -> None:
    made = config(shop, "DeepFM", numerical_features=["price"])
    assert made["load_col"]["item"] == ["item_id", "price"]
    assert Session.build(made.spec).model.float_field_names == ["price"]


def test_a_selected_float_field_is_added_and_said(shop: dict[str, Any]) -> None:
    made = config(shop, "FDSA", selected_features=["brand", "price"])
    assert made["numerical_features"] == ["price"]
    assert "FDSA: float fields price (numerical_features)" in made.notes


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        (
            "SASRecF",
            {"selected_features": ["price", "size"], "numerical_features": ["size"]},
            "selected_features: 'price' is a float field, which SASRecF reads only where numerical_features "
            "names it: numerical_features: [size, price]",
        ),
        (
            "S3Rec",
            {"item_attribute": "price"},
            "item_attribute: 'price' is a float field, and S3Rec takes a token field: brand, kinds",
        ),
        (
            "DeepFM",
            {"numerical_features": ["brand"]},
            "numerical_features: 'brand' is a token field, which DeepFM reads without it; "
            "float fields are rating, timestamp, price, size, shape",
        ),
        (
            "DIN",
            {"numerical_features": ["prise"]},
            "numerical_features: no field 'prise' in shop; did you mean 'price'?",
        ),
    ],
)
def test_one_line_says_what_is_taken(
    shop: dict[str, Any], model: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(WrongUse) as caught:
        config(shop, model, **settings)
    assert str(caught.value) == message
