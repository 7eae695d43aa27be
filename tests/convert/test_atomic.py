"""What goes into an atomic file comes out of RecBole's reader."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pandas._libs.parsers import STR_NA_VALUES

from recbole_mm.convert import cells
from recbole_mm.convert.atomic import AtomicWriter, write_atomic, write_items_parquet
from recbole_mm.errors import WrongUse


def read_as_recbole(path: Path) -> pd.DataFrame:
    """The call of ``recbole/data/dataset/dataset.py`` ``_load_feat``."""
    with open(path, encoding="utf-8") as file:
        columns = file.readline()[:-1].split("\t")
    dtype = {name: np.float64 if name.endswith(":float") else str for name in columns}
    return pd.read_csv(path, delimiter="\t", usecols=columns, dtype=dtype, encoding="utf-8", engine="python")


def inter(**columns) -> pd.DataFrame:
    frame = pd.DataFrame({"user_id:token": ["u1", "u2"], "item_id:token": ["0108775015", "7"]})
    return frame.assign(**{name.replace("__", ":"): values for name, values in columns.items()})


def test_the_words_pandas_takes_for_missing_are_all_known():
    assert set(cells.NULL_LIKE) == STR_NA_VALUES - {""}
    assert csv.field_size_limit() == cells.MAX_CHARS


def test_each_type_comes_back(tmp_path):
    frame = inter(
        rating__float=[4.5, np.nan],
        timestamp__float=[874724710.0, 1695859200],
        title__token_seq=['"Up" (2009)', "a\tb\r\nc"],
        genre__token_seq=[["Sci Fi", "War"], ["None"]],
        vector__float_seq=[[0.1, 2], None],
        brand__token=['"x', "None"],
    )
    assert write_atomic(tmp_path, "toy", frame) == {"inter": 2}
    read = read_as_recbole(tmp_path / "toy.inter")
    assert read["item_id:token"].tolist() == ["0108775015", "7"]
    assert read["rating:float"].tolist()[0] == 4.5
    assert np.isnan(read["rating:float"][1])
    assert read["timestamp:float"].tolist() == [874724710.0, 1695859200.0]
    assert read["title:token_seq"].tolist() == ['"Up" (2009)', "a b  c"]
    assert [row.split() for row in read["genre:token_seq"]] == [["Sci_Fi", "War"], ["None"]]
    assert read["vector:float_seq"].tolist()[0] == "0.1 2.0"
    assert read["brand:token"][0] == '"x'
    assert read["brand:token"].isna()[1]


ids = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n\0"), min_size=1, max_size=8
).filter(lambda text: text.strip() and text not in cells.NULL_LIKE and text != "[PAD]")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(ids, ids, st.floats(allow_infinity=False, allow_nan=False)), min_size=1, max_size=8)
)
@example([('"', '""', 0.1), ('a"', "'", 1e300), ('"a"', " x ", -0.0), ("#", "\u2028x", 1e-320)])
def test_any_id_and_number_survive(tmp_path, rows):
    frame = pd.DataFrame(rows, columns=["user_id:token", "item_id:token", "rating:float"])
    write_atomic(tmp_path, "toy", frame)
    read = read_as_recbole(tmp_path / "toy.inter")
    assert read["user_id:token"].tolist() == frame["user_id:token"].tolist()
    assert read["item_id:token"].tolist() == frame["item_id:token"].tolist()
    np.testing.assert_allclose(read["rating:float"], frame["rating:float"], rtol=1e-15)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=10), min_size=1, max_size=6))
def test_any_text_keeps_its_row_and_field(tmp_path, texts):
    frame = pd.DataFrame({"item_id:token": [f"i{row}" for row in range(len(texts))]})
    frame["title:token_seq"], frame["last:float"] = texts, np.arange(len(texts)) / 2
    write_atomic(tmp_path, "toy", inter(), items=frame)
    read = read_as_recbole(tmp_path / "toy.item")
    assert read["item_id:token"].tolist() == frame["item_id:token"].tolist()
    assert read["last:float"].tolist() == frame["last:float"].tolist()
    cleaned = [text.translate(dict.fromkeys(map(ord, "\t\r\n\0"), " ")) for text in texts]
    came_back = [value.split(" ") for value in read["title:token_seq"].fillna("")]
    assert [[w for w in words if w] for words in came_back] == [
        [w for w in text.split(" ") if w] for text in cleaned
    ]


@pytest.mark.parametrize(
    "values",
    [
        [1, 2],
        [1.0, 2.0],
        pd.array([1, 2], "Int64"),
        pd.Categorical(["1", "2"]),
        np.array(["1", "2"], object),
        [1, "2"],
    ],
)
def test_ids_of_any_column_type_are_written_as_meant(tmp_path, values):
    write_atomic(tmp_path, "toy", inter().assign(**{"user_id:token": values}))
    assert read_as_recbole(tmp_path / "toy.inter")["user_id:token"].tolist() == ["1", "2"]


def test_half_a_surrogate_pair_from_json_is_replaced(tmp_path):
    frame = inter(title__token=pd.Series(["ok", "\ud83d!"], dtype=object))
    write_atomic(tmp_path, "toy", frame)
    assert read_as_recbole(tmp_path / "toy.inter")["title:token"].tolist() == ["ok", "?!"]


def test_chunks_give_the_bytes_of_the_whole(tmp_path):
    frame = pd.DataFrame(
        {
            "user_id:token": [f'"u{n}' for n in range(9)],
            "item_id:token": range(9),
            "rating:float": np.arange(9) / 2,
        }
    )
    write_atomic(tmp_path, "whole", frame)
    write_atomic(tmp_path, "parts", (frame[start : start + 4] for start in range(0, 9, 4)))
    assert (tmp_path / "whole.inter").read_bytes() == (tmp_path / "parts.inter").read_bytes()


def test_a_word_that_recbole_reads_as_missing_is_reported(tmp_path, caplog):
    write_atomic(tmp_path, "toy", inter(brand__token=["NA", "b"]))
    assert "toy.inter: 1 values of 'brand'" in caplog.text


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (inter().assign(**{"user_id:token": ["u", None]}), "row 2 has no value in 'user_id'"),
        (inter().assign(**{"user_id:token": ["u", "  "]}), "row 2 has no value in 'user_id'"),
        (inter().assign(**{"item_id:token": [1.0, np.nan]}), "row 2 has no value in 'item_id'"),
        (inter().assign(**{"item_id:token": ["NA", "x"]}), "row 1 has a value that RecBole reads as missing"),
        (inter().assign(**{"item_id:token": ["[PAD]", "x"]}), "padding token"),
        (
            inter().assign(**{"item_id:token": ["x", "a\tb"]}),
            "row 2 has a tab, a line break or a NUL in 'item_id'",
        ),
        (inter(rating__float=[1, np.inf]), "row 2 has an infinite 'rating'"),
        (inter(rating__float=["1", "x"]), "row 2 has 'x' in 'rating', which is no number"),
        (inter(time__float=pd.to_datetime(["2020-01-01"] * 2)), "'time' is float but holds dates"),
        (inter(v__float_seq=[[1.0], [np.nan]]), "row 2 has NaN or infinity in 'v'"),
        (inter(t__token=["a", "x" * 131_072]), "row 2 has more than 131072 characters in 't'"),
        (inter(rating=[1, 2]), "column 'rating' is no 'name:type'"),
        (inter(rating__int=[1, 2]), "column 'rating:int' is no 'name:type'"),
        (inter(**{"a b__token": [1, 2]}), "column 'a b:token' is no"),
        (inter(user_id__float=[1, 2]), "a field is named twice"),
        (inter()[:0], "no rows to write"),
    ],
)
def test_refusals_name_the_place_and_leave_nothing(tmp_path, frame, message):
    with pytest.raises(WrongUse, match=f"^toy.inter: .*{message}") as caught:
        write_atomic(tmp_path, "toy", frame, items=pd.DataFrame({"item_id:token": ["7"]}))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_rows_of_errors_count_over_chunks(tmp_path):
    bad = inter().assign(**{"user_id:token": ["u", ""]})
    with pytest.raises(WrongUse, match="row 4 has no value"):
        write_atomic(tmp_path, "toy", [inter(), bad])
    with pytest.raises(WrongUse, match="chunk with columns"):
        write_atomic(tmp_path, "toy", [inter(), inter(rating__float=[1, 2])])


def test_a_failing_item_file_keeps_what_was_there(tmp_path):
    write_atomic(tmp_path, "toy", inter(), items=pd.DataFrame({"item_id:token": ["7"]}))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(WrongUse, match=r"toy.item"):
        write_atomic(tmp_path, "toy", inter()[:1], items=pd.DataFrame({"item_id:token": [None]}))
    with pytest.raises(RuntimeError), AtomicWriter(tmp_path / "toy.inter") as writer:
        writer.write(inter()[:1])
        raise RuntimeError
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_other_files_and_users(tmp_path):
    link = pd.DataFrame({"item_id:token": ["7"], "entity_id:token": ["m.1"]})
    users = pd.DataFrame({"user_id:token": ["u1"], "age:float": [30]})
    assert write_atomic(tmp_path, "toy", inter(), users=users, others={"link": link}) == {
        "inter": 2,
        "user": 1,
        "link": 1,
    }
    assert (tmp_path / "toy.link").read_text() == "item_id:token\tentity_id:token\n7\tm.1\n"


def test_items_parquet_keeps_text_and_absence(tmp_path):
    frame = pd.DataFrame({"item_id": ["007", "8"], "title": ["a\nb", None], "image_path": [None, "x.jpg"]})
    read = pd.read_parquet(write_items_parquet(tmp_path, frame))
    assert read["item_id"].tolist() == ["007", "8"]
    assert read["title"][0] == "a\nb"
    assert read["title"].isna().tolist() == [False, True]
    assert read["image_path"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a"]}, "no column 'item_id'"),
        ({"item_id": ["a", None]}, "row 2 has no value"),
        ({"item_id": ["a", "b", "a"]}, "row 3 repeats item_id 'a'"),
    ],
)
def test_items_parquet_needs_one_row_for_each_item(tmp_path, columns, message):
    with pytest.raises(WrongUse, match=message):
        write_items_parquet(tmp_path, pd.DataFrame(columns))
    assert list(tmp_path.iterdir()) == []
