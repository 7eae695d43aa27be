"""Atomic files against a plain pandas reading: the same table, or one line that says where it is not what it looks."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recbole_mm import atomic
from recbole_mm.atomic import float_sequences, header_fields, read_atomic
from recbole_mm.errors import WrongUse

KINDS = {"user_id:token": str, "item_id:token": str, "price:float": np.float64, "words:token_seq": str}
HEADER = "\t".join(KINDS)
QUOTING = 'a cell that starts with a quote is written "…", each quote within doubled'
GOOD = ["u1\ti1\t1.5\ta b", "u2\ti2\t\tc", "u3\ti3\t-2e3\t"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("atomic") / "toy.item"


def content(*lines: str, end: str = "\n") -> bytes:
    return (end.join([HEADER, *lines]) + end).encode()


def refusal(file: Path, data: bytes, *args: Any) -> str:
    """What is wrong with ``file``, without its name."""
    file.write_bytes(data)
    with pytest.raises(WrongUse) as raised:
        read_atomic(file, *args)
    assert "\n" not in str(raised.value) and str(raised.value).startswith(str(file))
    return str(raised.value).removeprefix(str(file)).lstrip(" ,:")


def plain(data: bytes) -> pd.DataFrame:
    """As RecBole reads, but for the kind of a line break within a cell."""
    data = re.sub(rb"\r\n?", b"\n", data)
    return pd.read_csv(io.BytesIO(data), delimiter="\t", dtype=KINDS, encoding="utf-8-sig", engine="python")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty; line 1 should name its fields, as user_id:token<TAB>item_id:token"),
        (content(), "has a header and no rows"),
        (content(*GOOD, "u4\ti4\t1"), "line 5: 3 fields, the header has 4; every row has all fields, an empty cell "
         "between its separators"),
        (content("u4\ti4\t1", *GOOD, "u5\ti4\t1"), "line 2: 3 fields, the header has 4 (and so 1 more row); every row "
         "has all fields, an empty cell between its separators"),
        (content(*(f"{line}\t" for line in GOOD)), "line 2: 5 fields, the header has 4 (and so 2 more rows); every row "
         "has all fields, an empty cell between its separators"),
        (content("", *GOOD, "", "u4"), "line 7: 1 field, the header has 4; every row has all fields, an empty cell "
         "between its separators"),
        (content(*GOOD, "u4\ti4\t—\ta"), "line 5: price:float is '—', no finite number; write one or leave the cell "
         "empty"),
        (content("", *GOOD, "u4\ti4\tinf\ta", end="\r\n"), "line 6: price:float is 'inf', no finite number; write one "
         "or leave the cell empty"),
        (content('u\t"i\nj"\t1\ta', "u4\ti4\t1,5\ta"), "line 4: price:float is '1,5', no finite number; write one or "
         "leave the cell empty"),
        (content('u1\ti1\t1\t"a', *GOOD, 'u2\ti2\t2\tb"'),
         f"line 2: a quote takes the lines to 6 into its cell; {QUOTING}"),
        (content(*GOOD, 'u1\ti1\t1\t"a'), f"line 5: a quote that is not closed within 131072 characters; {QUOTING}"),
        (content(*GOOD, 'u1\ti1\t1\t"' + "a" * 200_000), f"line 5: a quote that is not closed within 131072 "
         f"characters; {QUOTING}"),
        (content(*GOOD, 'u\ti\t1\t"Weird Al" Y'), f"line 5: text behind a closed quote; {QUOTING}"),
        (content(*GOOD, "u\0"), "line 5: a NUL byte; is this text in another encoding? set encoding"),
        (content(*GOOD) + "é\ti\t1\ta".encode("latin-1"), "line 5: byte 0xe9 is not UTF-8 text; set encoding"),
        (content(*GOOD).replace(b"words:token_seq", b"price:token"), "line 1: field 'price' is given twice; rename or "
         "remove one"),
        (b'"user_id:token"\tprice:float\n', "line 1: no header: expected fields name:type between '\\t' (types: token, "
         "token_seq, float, float_seq), got '\"user_id:token\"\\tprice:float'"),
    ],
)  # fmt: skip
def test_what_is_refused(file: Path, data: bytes, said: str) -> None:
    assert refusal(file, data) == said


def test_an_encoding_nobody_knows(file: Path) -> None:
    file.write_bytes(content(*GOOD))
    with pytest.raises(WrongUse, match=r"^encoding: Python knows no 'utf9' \(for example utf-8, latin-1\)$"):
        read_atomic(file, "\t", "utf9")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_encodings_and_line_breaks(file: Path, end: str, encoding: str) -> None:
    text = content(*GOOD, "é\ti\t1\t\u00fc", "", end=end).decode()
    file.write_bytes(text.encode(encoding))
    frame = read_atomic(file, "\t", encoding)
    assert frame["user_id:token"].tolist() == ["u1", "u2", "u3", "é"]
    pd.testing.assert_frame_equal(frame, plain(text.encode()))
    assert header_fields(file, "\t", encoding)["words"] == "token_seq"


@pytest.mark.parametrize("separator", [",", "|", "::", "§"])
def test_separators(file: Path, separator: str) -> None:
    text = content(*GOOD).decode().replace("\t", separator)
    file.write_text(text)
    pd.testing.assert_frame_equal(read_atomic(file, separator), plain(content(*GOOD)))
    assert "line 2: 3 fields" in refusal(file, text.replace(f"{separator}1.5", "").encode(), separator)


def test_some_columns(file: Path) -> None:
    """A word in a column that is not asked for is nobody's concern, a missing field is."""
    asked = {"item_id:token": str}
    file.write_bytes(content("u\ti\tword\ta"))
    assert read_atomic(file, columns=asked).to_dict("list") == {"item_id:token": ["i"]}
    assert "line 2: 3 fields" in refusal(file, content("u\ti\tword"), "\t", "utf-8", asked)


def test_rows_that_somebody_counts_are_left_out(file: Path) -> None:
    lines: list[int] = []
    file.write_bytes(content(GOOD[0], "u\ti", *GOOD[1:], "u\ti\t1\ta\tb", "u\ti\tx\ta"))
    with pytest.raises(WrongUse, match="line 7: price:float is 'x'"):
        read_atomic(file, unreadable=lines.append)
    assert lines == [3, 6]
    file.write_bytes(content(GOOD[0], "u\ti", *GOOD[1:], "u\ti\t1\ta\tb"))
    pd.testing.assert_frame_equal(read_atomic(file, unreadable=lines.append), plain(content(*GOOD)))


def test_uneven_rows_are_mended_for_scripts_of_recbole(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text(
        'user_id:token\titem_id:token\tprice:float\nu\ti\t1\t2\nv\tj\nw\t"k\tl"\t3\nx\t"m\tn"\t4\t5\n'
    )
    frame = read_atomic(file, mend=True)
    assert frame["item_id:token"].tolist() == ["i", "j", "k\tl", "m\tn"]
    assert frame["price:float"].fillna(-1).tolist() == [1, -1, 3, 4]
    assert caplog.messages == [
        f"{file}, line 2: 4 fields, the header has 3 (and so 2 more rows); what it lacks is read as missing, what is "
        "too much is left out"
    ]


def test_float_sequences(file: Path) -> None:
    file.write_text("id:token\tvector:float_seq\n\na\t1 2.5\nb\t\nc\t1 — 2\n")
    cells = np.array(["1 2.5", ""], dtype=object)
    found = float_sequences(file, "\t", "utf-8", "vector", cells, " ")
    assert [list(value) for value in found] == [[1, 2.5], []]
    for wrong in ("1 — 2", "1 nan"):
        with pytest.raises(WrongUse) as raised:
            float_sequences(file, "\t", "utf-8", "vector", np.array([*cells, wrong], dtype=object), " ")
        word = wrong.split()[1]
        assert str(raised.value).startswith(f"{file}, line 5: vector:float_seq is '{word}', no finite number")


# -- any file --------------------------------------------------------------------------------------------------------

CELL = st.text(st.sampled_from('ab1é "\u2028,-.'), max_size=4) | st.sampled_from(["NA", '"x y"', '"a ""b"""'])
NUMBER = st.sampled_from(["", "1", "-2.5", "1e5", "NA", " 3"]) | st.floats(allow_nan=False, width=32).map(
    repr
)
LINES = st.lists(st.tuples(CELL, CELL, NUMBER, CELL).map("\t".join), min_size=1, max_size=6)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A file of which lines were cut, doubled, shifted, joined or re-encoded."""
    lines = [HEADER, *draw(LINES)]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        cut = draw(st.integers(0, len(line)))
        change = draw(st.sampled_from(["cut", "double", "shift", "join", "quote", "break", "blank", "none"]))
        if change == "double":
            lines.insert(at, line)
        elif change == "join":
            lines[at : at + 2] = ["".join(lines[at : at + 2])]
        elif change == "blank":
            lines.insert(at, draw(st.sampled_from(["", " "])))
        else:
            put = {"cut": "", "shift": "\t", "quote": '"', "break": "\r", "none": "\0"}[change]
            lines[at] = line[:cut] + put + (line[cut:] if put else "")
    text = draw(st.sampled_from(["\n", "\r\n"])).join(lines) + draw(st.sampled_from(["\n", ""]))
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16"])), "replace")


@settings(max_examples=300, deadline=None)
@given(damaged())
@example(content('u1\ti1\t1\t"a', 'u2\ti2\t2\tb"', *GOOD))
@example(content(*GOOD, '"u\nv"\ti\t1\ta'))
@example(content(*GOOD, "u\ti\tTrue\ta"))
@example(content(*GOOD, '"\t\t\t"'))
def test_any_file_is_read_as_by_pandas_or_refused(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    try:
        frame = read_atomic(file)
    except WrongUse as error:
        said = str(error).removeprefix(str(file))
        assert "\n" not in said and re.match(r", line \d+: |  ?is empty|  ?has a header and no rows", said), (
            said
        )
        assert not is_plain(data), said
        return
    pd.testing.assert_frame_equal(frame, plain(data))
    text = data.decode("utf-8-sig")
    rows = [
        row for row in csv.reader(io.StringIO(text, newline=""), delimiter="\t") if "\t".join(row).strip(" ")
    ]
    assert {len(row) for row in rows} == {len(frame.columns)}
    within = sum(len(re.findall(r"\r\n?|\n", cell)) for row in rows for cell in row)
    lines = [line for line in re.split(r"\r\n?|\n", text) if line.strip(" ")]
    assert len(frame) + 1 == len(rows) and len(rows) >= len(lines) - within


def is_plain(data: bytes) -> bool:
    """Whether nothing is wrong with a file: even lines without quotes, numbers where numbers should be."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    head, *lines = re.split(r"\r\n?|\n", text)
    rows = [line.split("\t") for line in lines if line.strip(" ")]
    even = head == HEADER and rows and all(len(row) == len(KINDS) for row in rows)
    if not even or '"' in text or "\0" in text:
        return False
    numbers = [row[2].strip() for row in rows]
    return all(re.fullmatch(r"|NA|[-+]?\d+\.?\d*(e[-+]?\d+)?", number) for number in numbers)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_a_large_file_is_looked_at_in_pieces(file: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_CHUNK", chunk)
    file.write_bytes(content(*GOOD * 5))
    assert len(read_atomic(file)) == 15
    assert "line 17: 2 fields" in refusal(file, content(*GOOD * 5, "u\ti", *GOOD))
