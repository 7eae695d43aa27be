from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_mm.errors import WrongUse
from recbole_mm.extract.items import Items, join_fields, read_images, read_texts, with_keys


def write(folder: Path, **columns: list[object]) -> Path:
    path = folder / "items.parquet"
    pd.DataFrame(columns).to_parquet(path)
    return path


def test_fields_are_joined_in_the_order_asked(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        item_id=["007", "8", "9"],
        title=["A  film", None, " "],
        genres=[["x", "y"], [], None],
        image_path=["a.jpg", None, None],
    )
    items, fields = read_texts(path, ["genres", "title"], " | ")
    assert items.tokens == ["007", "8", "9"] and items.raws == ["x, y | A film", "", ""]
    assert items.absent == {1: "empty text", 2: "empty text"} and fields == ["genres", "title"]
    items, fields = read_texts(path, None, ". ")
    assert fields == ["title", "genres"] and items.raws[0] == "A film. x, y"


def test_images_say_why_they_are_absent(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    path = write(tmp_path, item_id=["1", "2", "3"], image_path=["a.jpg", None, "gone.jpg"])
    items = read_images(path, tmp_path)
    assert items.absent == {1: "no image path", 2: "missing image file"}
    assert items.raws[0] == str(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"item_id": ["1", "1"], "title": ["a", "b"]}, "rows 0 and 1"),
        ({"item_id": ["1", None], "title": ["a", "b"]}, "row 1 has no item_id"),
        ({"item": ["1"], "title": ["a"]}, "did you mean 'item'?"),
        ({"item_id": ["1"], "titel": ["a"]}, "did you mean 'titel'?"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, columns: dict[str, list[object]], message: str) -> None:
    with pytest.raises(WrongUse, match=message.replace("?", r"\?")):
        read_texts(write(tmp_path, **columns), ["title"], ". ")


def test_names_are_text_or_integers(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="item_id is double, whose text is not sure"):
        read_texts(write(tmp_path, item_id=[1.0, 2.0], title=["a", "b"]), None, ". ")
    assert read_texts(write(tmp_path, item_id=[1, 2], title=["a", "b"]), None, ". ")[0].tokens == ["1", "2"]
    categories = pd.Categorical(["x", "y"])
    path = write(tmp_path, item_id=categories, title=["a", "b"])  # type: ignore[arg-type]
    assert read_texts(path, None, ". ")[0].tokens == ["x", "y"]


def test_an_index_of_pandas_is_a_column_as_any(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    pd.DataFrame({"item_id": ["1", "2"], "title": ["a", "b"]}).set_index("item_id").to_parquet(path)
    assert read_texts(path, None, ". ")[0].tokens == ["1", "2"]


def test_a_field_named_twice(tmp_path: Path) -> None:
    path = write(tmp_path, item_id=["1"], title=["a"])
    with pytest.raises(WrongUse, match="names title twice"):
        read_texts(path, ["title", "title"], ". ")
    assert read_texts(path, ["item_id", "title"], " ")[0].raws == ["1 a"]


def test_paths_of_images_are_text_of_a_length_that_files_can_have(tmp_path: Path) -> None:
    for paths in ([b"a.jpg"], [1.0]):
        with pytest.raises(WrongUse, match=r"column image_path is .*; give the paths"):
            read_images(write(tmp_path, item_id=["1"], image_path=list(paths)), tmp_path)
    path = write(tmp_path, item_id=["1", "2"], image_path=["x" * 300 + ".jpg", None])
    assert read_images(path, tmp_path).absent == {0: "missing image file", 1: "no image path"}
    path = write(tmp_path, item_id=["1"], image_path=[None])
    assert read_images(path, tmp_path).absent == {0: "no image path"}


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="no such file"):
        read_texts(tmp_path / "items.parquet", None, ". ")
    (tmp_path / "items.parquet").write_bytes(b"no parquet")
    with pytest.raises(WrongUse, match="not a parquet file"):
        read_texts(tmp_path / "items.parquet", None, ". ")


def test_keys_are_of_content_and_encoder(tmp_path: Path) -> None:
    for name, content in (("a", b"one"), ("b", b"two"), ("c", b"one")):
        (tmp_path / name).write_bytes(content)
    items = Items(["1", "2", "3"], [str(tmp_path / name) for name in "abc"])
    a, b, c = with_keys(items, {"kind": "x"}, are_files=True, workers=2).keys
    assert a == c != b
    assert a != with_keys(items, {"kind": "y"}, are_files=True, workers=2).keys[0]


@given(st.lists(st.one_of(st.none(), st.text()), max_size=4))
def test_joining_never_leaves_white_space_at_the_ends(values: list[str | None]) -> None:
    text = join_fields(values, " ; ")
    assert text == text.strip() and "\n" not in text
