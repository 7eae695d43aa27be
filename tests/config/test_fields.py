"""Keys that name columns: those that are not there, not loaded or of another type are named before data is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbole_mm.config import Config
from recbole_mm.errors import WrongUse
from recbole_mm.quick_start.session import load_dataset

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\tplace:token\n"
ITEM = "item_id:token\tprice:float\tkind:token\tvector:float_seq\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fields")
    (folder / "shop").mkdir()
    rows = [f"u{u}\ti{i}\t{1 + (u + i) % 5}\t{u * 9 + i}\tp{u % 2}" for u in range(9) for i in range(9)]
    (folder / "shop/shop.inter").write_text(INTER + "\n".join(rows) + "\n")
    (folder / "shop/shop.item").write_text(ITEM + "".join(f"i{i}\t{i}\tk{i % 3}\t1 2\n" for i in range(9)))
    return folder


def shop(root: Path, **given: Any) -> Config:
    return Config("BPR", "shop", None, {"data_path": str(root), "use_gpu": False, **given}, typed=True)


IDS, ALL = ["user_id", "item_id"], {"inter": "*", "item": "*"}
COLUMNS = "item_id, kind, place, price, rating, timestamp, user_id, vector"
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"threshold": {"raiting": 3}},
     "threshold: there is no field 'raiting' in .inter or .item; did you mean 'rating'?"),
    ({"threshold": {"price": 3}, "load_col": ALL}, "threshold: 'price' is a field of .item, expected one of .inter"),
    ({"threshold": {"place": 3}}, "threshold: 'place' is a field of type token, expected float or float_seq"),
    ({"val_interval": {"price": "[1,2]"}},
     "val_interval: the field 'price' of .item is not loaded; add it to load_col"),
    ({"val_interval": {"place": "[1,2]"}},
     "val_interval: place is a field of tokens, expected a list of them, got '[1,2]'"),
    ({"val_interval": {"rating": ["good"]}},
     "val_interval: rating is a float field, expected intervals such as [5,inf), got ['good']"),
    ({"numerical_features": ["price"]},
     "numerical_features: the field 'price' of .item is not loaded; add it to load_col"),
    ({"numerical_features": ["kind"], "load_col": ALL},
     "numerical_features: 'kind' is a field of type token, expected float or float_seq"),
    ({"normalize_field": ["cost"]},
     "normalize_field: there is no field 'cost' in .inter or .item; " + f"there are {COLUMNS}"),
    ({"discretization": {"kind": {"method": "ED", "bucket": 3}}, "load_col": ALL},
     "discretization: 'kind' is a field of type token, expected float or float_seq"),
    ({"unload_col": {"inter": ["tiem"]}},
     "unload_col: there is no field 'tiem' in .inter; there are item_id, place, rating, timestamp, user_id"),
    ({"unused_col": {"inter": ["raiting"]}},
     "unused_col: there is no field 'raiting' in .inter; did you mean 'rating'?"),
    ({"preload_weight": {"item_id": "vectr"}, "load_col": ALL},
     "preload_weight: there is no field 'vectr' in .inter or .item; did you mean 'vector'?"),
    ({"seq_len": {"words": 3}}, "seq_len: there is no field 'words' in .inter or .item; " + f"there are {COLUMNS}"),
    ({"load_col": {"inter": ["item_id", "rating"]}}, "load_col: the columns of .inter lack 'user_id' (USER_ID_FIELD)"),
    ({"load_col": {"inter": ["user_id"]}}, "load_col: the columns of .inter lack 'item_id' (ITEM_ID_FIELD)"),
    ({"load_col": {"inter": IDS, "item": ["kind"]}}, "load_col: the columns of .item lack 'item_id' (ITEM_ID_FIELD)"),
    ({"load_col": {"item": ["item_id", "kind"]}}, "load_col: no columns of .inter; add inter: [user_id, item_id]"),
    ({"load_col": {}}, "load_col: no columns of .inter; add inter: [user_id, item_id]"),
    ({"load_col": {"inter": IDS}, "unload_col": {"inter": ["place"]}},
     "unload_col: load_col names the columns of .inter already; leave one of them out"),
    ({"unload_col": {"inter": ["user_id"]}}, "unload_col: the columns of .inter lack 'user_id' (USER_ID_FIELD)"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "line"), WRONG)
def test_a_wrong_column_is_named(root: Path, given: dict[str, Any], line: str) -> None:
    with pytest.raises(WrongUse) as raised:
        shop(root, **given)
    assert str(raised.value) == line


@pytest.mark.parametrize(
    ("given", "inter", "item"),
    [
        ({"unload_col": {"inter": ["place"]}}, {"user_id", "item_id", "rating", "timestamp"}, None),
        ({"unload_col": {"item": ["kind", "vector"]}}, {"user_id", "item_id"}, {"item_id", "price"}),
        ({"load_col": None, "unload_col": {"inter": ["place", "rating"]}},
         {"user_id", "item_id", "timestamp"}, {"item_id", "price", "kind", "vector"}),
        ({"load_col": {"inter": IDS, "item": "*"}}, set(IDS), {"item_id", "price", "kind", "vector"}),
        ({"val_interval": {"rating": "[3,5]"}}, {*IDS, "rating"}, None),
    ],
)  # fmt: skip
def test_right_columns_are_loaded(
    root: Path, given: dict[str, Any], inter: set[str], item: set[str] | None
) -> None:
    dataset = load_dataset(shop(root, **given))
    assert set(dataset.inter_feat.columns) == inter
    assert (dataset.item_feat is None) == (item is None) and (
        item is None or set(dataset.item_feat.columns) == item
    )


def test_unload_col_says_what_it_does(root: Path) -> None:
    assert shop(root, unload_col={"inter": ["place"]}).notes == [
        "unload_col: all other columns of .inter are loaded"
    ]


def test_the_file_beside_the_data_is_checked_too(root: Path) -> None:
    file = root / "shop/shop.yaml"
    file.write_text("learner: adamm\n")
    try:
        with pytest.raises(WrongUse, match=rf"^learner: expected one of adam, .* \({file}\)$"):
            shop(root)
    finally:
        file.unlink()
