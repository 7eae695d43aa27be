from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import recbole_mm  # noqa: F401
from recbole_mm.config import Config, check_dataset
from recbole_mm.errors import WrongUse

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\nu1\ti1\t4\t1\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "shop.inter").write_text(INTER)
    (tmp_path / "shop" / "shop.item").write_text("item_id:token\tclass:token_seq\ni1\ta b\n")
    return tmp_path


def check(root: Path, dataset: str = "shop", model: str = "BPR", **settings: Any) -> None:
    check_dataset(Config(model, dataset, config_dict={"data_path": str(root), **settings}))


def line(root: Path, dataset: str = "shop", model: str = "BPR", **settings: Any) -> str:
    with pytest.raises(WrongUse) as raised:
        check(root, dataset, model, **settings)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_right_one_passes(shop: Path) -> None:
    check(shop)
    check_dataset(Config("CMC", "ml-100k"))


def test_a_missing_data_set_names_those_that_are_there(shop: Path) -> None:
    assert "no data set 'nosuch'" in line(shop, "nosuch") and "there are ml-100k, shop" in line(
        shop, "nosuch"
    )
    assert "did you mean 'shop'" in line(shop, "shpo")
    # RecBole would ask on standard input whether to download it
    assert "RecBole offers it at https://" in line(shop, "ml-1m")


def test_a_folder_of_ones_own_named_ml_100k_is_used(shop: Path) -> None:
    assert "dataset_example" in Config("BPR", "ml-100k", config_dict={"data_path": str(shop)})["data_path"]
    (shop / "shop").rename(shop / "ml-100k")
    assert "ml-100k.inter is missing; there is shop.inter" in line(shop, "ml-100k")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        ("196\t242\t3\t881250949\n1\t2\t3\t4\n", "line 1: no header"),
        ("user_id\titem_id\nu\ti\n", "line 1: no header"),
        ("user_id:token,item_id:token\nu,i\n", "line 1: no header"),
        ("user_id:tokn\titem_id:token\nu\ti\n", "line 1: no header"),
        ("uid:token\titem_id:token\nu\ti\n", "no field 'user_id' (USER_ID_FIELD); it has uid, item_id"),
        ("user_id:token\tiid:token\nu\ti\n", "no field 'item_id' (ITEM_ID_FIELD); it has user_id, iid"),
    ],
)
def test_a_bad_inter(shop: Path, content: str, words: str) -> None:
    (shop / "shop" / "shop.inter").write_text(content)
    assert words in line(shop) and "shop.inter" in line(shop)


def test_a_missing_inter(shop: Path) -> None:
    (shop / "shop" / "shop.inter").rename(shop / "shop" / "other.inter")
    assert "shop.inter is missing; there is other.inter" in line(shop)


def test_fixed_parts_are_checked_each(shop: Path) -> None:
    (shop / "shop" / "shop.train.inter").write_text(INTER)
    assert "shop.test.inter is missing" in line(shop, benchmark_filename=["train", "test"])


def test_other_encodings_are_named(shop: Path) -> None:
    (shop / "shop" / "shop.inter").write_bytes(b"user_id:token\titem_id:token\n\xe9\ti\n")
    assert "not UTF-8" in line(shop)
    check(shop, encoding="latin-1")


def test_columns_that_were_asked_for(shop: Path) -> None:
    asked = {"inter": ["user_id", "item_id", "ratings"]}
    assert "shop.inter has no field 'ratings'; did you mean 'rating'" in line(shop, load_col=asked)
    asked = {"inter": ["user_id", "item_id"], "item": ["item_id", "colour"]}
    assert "shop.item has no field 'colour'; there are item_id, class" in line(shop, load_col=asked)
    check(shop, load_col={"inter": "*", "item": "*"})


@pytest.mark.parametrize(
    ("model", "file"), [("CFKG", "shop.kg"), ("GRU4RecKG", "shop.kg"), ("KSR", "shop.kg")]
)
def test_files_of_a_model(shop: Path, model: str, file: str) -> None:
    assert f"model {model} needs" in line(shop, model=model) and file in line(shop, model=model)


def test_files_without_the_field_that_names_their_rows(shop: Path) -> None:
    load = {"inter": ["user_id", "item_id"], "item": ["item_id", "class"]}
    (shop / "shop" / "shop.item").write_text("id:token\tclass:token_seq\ni1\ta b\n")
    said = "shop.item, line 1: no field 'item_id' (ITEM_ID_FIELD); it has id, class; set ITEM_ID_FIELD"
    assert line(shop, load_col=load).endswith(said)
    assert line(shop, load_col=None).endswith(said)
    assert line(shop, domains=["shop", "shop"], load_col=load).endswith(said)
    check(shop)  # it is not loaded
    (shop / "shop" / "shop.kg").write_text("head:token\trelation_id:token\ttail_id:token\na\tr\tb\n")
    (shop / "shop" / "shop.link").write_text("item_id:token\tentity_id:token\ni1\ta\n")
    assert "shop.kg, line 1: no field 'head_id' (HEAD_ENTITY_ID_FIELD)" in line(shop, model="CFKG")


def test_additional_files_are_checked(shop: Path) -> None:
    load = {"inter": ["user_id", "item_id"], "net": ["a", "b"]}
    asked = {"additional_feat_suffix": ["net"], "load_col": load}
    assert "needs" in line(shop, **asked) and "shop.net (additional_feat_suffix)" in line(shop, **asked)
    (shop / "shop" / "shop.net").write_text("a:token\ta:token\nu\tv\n")
    assert "shop.net, line 1: field 'a' is given twice" in line(shop, **asked)


def test_vectors_of_entities(shop: Path) -> None:
    (shop / "shop" / "shop.kg").write_text("head_id:token\trelation_id:token\ttail_id:token\na\tr\tb\n")
    (shop / "shop" / "shop.link").write_text("item_id:token\tentity_id:token\ni1\ta\n")
    check(shop, model="CFKG")
    assert "shop.ent (vectors of entities: ent_id:token, ent_emb:float_seq)" in line(shop, model="GRU4RecKG")
    (shop / "shop" / "shop.ent").write_text("ent_id:token\tent_emb:float_seq\na\t1 2\n")
    check(shop, model="GRU4RecKG")
    assert "shop.rel" in line(shop, model="KSR")


def test_domains_are_checked_each(shop: Path) -> None:
    assert "no data set 'club'; did you" not in line(shop, domains=["shop", "club"])
    assert "no data set 'club'" in line(shop, domains=["shop", "club"])


def test_a_folder_of_vectors_that_was_named_is_there(shop: Path) -> None:
    there = shop / "vectors"
    assert line(shop, model="CMC", modality_path=str(there)) == (
        f"modality_path: there is no folder {there}; it should hold vectors/shop/MODALITY, or leave the items' vectors "
        "out with modalities: []"
    )
    check(shop, model="CMC", modality_path=str(there), modalities=[])
    check(shop, model="BPR", modality_path=str(there))
    there.mkdir()
    check(shop, model="CMC", modality_path=str(there))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, True),
        ({"load_col": {"inter": ["user_id", "item_id", "price"], "item": ["item_id", "price"]}}, True),
        ({"load_col": {"inter": ["user_id", "item_id", "price"]}}, False),
        ({"load_col": {"inter": ["user_id", "item_id"], "item": ["item_id", "price"]}}, False),
        ({"unload_col": {"item": ["price"]}}, False),
    ],
)
def test_a_field_of_two_files_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: dict[str, Any], said: bool
) -> None:
    """In a batch an interaction has the price of its item, not its own."""
    (tmp_path / "two").mkdir()
    (tmp_path / "two/two.inter").write_text("user_id:token\titem_id:token\tprice:float\nu\ti\t1\n")
    (tmp_path / "two/two.item").write_text("item_id:token\tprice:float\ni\t7\n")
    config = Config("BPR", "two", config_dict={"data_path": str(tmp_path), "load_col": None, **settings})
    check_dataset(config)
    assert ("field 'price' is in" in caplog.text) == said
