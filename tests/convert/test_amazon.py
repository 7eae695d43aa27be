"""Amazon's three editions, damaged files, and the same bytes each time."""

import argparse
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from recbole_mm.convert import amazon, jsonlines, spill
from recbole_mm.convert.amazon_items import plain
from recbole_mm.convert.jsonlines import parse, parse_block, read_blocks
from recbole_mm.convert.problems import Problems
from recbole_mm.errors import WrongUse

RAW = Path(__file__).parents[3] / "shared" / "data" / "amazon-2018-raw"


def convert(*argv):
    parser = argparse.ArgumentParser()
    amazon.add_arguments(parser)
    return amazon.main(parser.parse_args([str(arg) for arg in argv]))


def review(user, item, time=1_472_688_000, rating=5.0, text="fine", **more):
    return {
        "reviewerID": user,
        "asin": item,
        "overall": rating,
        "unixReviewTime": time,
        "reviewText": text,
        **more,
    }


def lines(rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def atomic(path):
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


GOOD = [review("u1", "i1"), review("u1", "i2", text="two\nlines\tand é"), review("u2", "i1", text="")]


@pytest.fixture
def reviews(tmp_path):
    path = tmp_path / "reviews_Beauty_5.json"
    path.write_bytes(lines(GOOD))
    return path


def test_2018_reviews(tmp_path, reviews):
    assert convert(reviews, "--out", tmp_path / "out") == 0
    folder = tmp_path / "out" / "Beauty"
    inter = atomic(folder / "Beauty.inter")
    assert list(inter) == ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
    assert inter.values.tolist()[1] == ["u1", "i2", "5", "1472688000"]
    found = pq.read_table(folder / "reviews.parquet").to_pandas()
    assert list(found["item_id"]) == ["i1", "i2", "i1"]
    assert found["text"].tolist()[:2] == ["fine", "two\nlines\tand é"]
    assert pd.isna(found["text"][2])
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["users"], summary["items"], summary["interactions"]) == (2, 2, 3)
    assert summary["density"] == 0.75
    assert summary["review_share"] == pytest.approx(2 / 3)
    assert summary["problems"] == {}


def test_small_blocks_some_without_a_kept_row_give_the_same_bytes(tmp_path, monkeypatch):
    rows = [review(f"u{k % 7}", f"i{k % 11}", k, 1.0 if k < 40 else 5.0, "x" * (k % 3)) for k in range(77)]
    path = tmp_path / "A.json"
    path.write_bytes(lines(rows))
    convert(path, "--min-rating", 3, "--k-core", 2, "--out", tmp_path / "large")
    monkeypatch.setattr(spill, "BLOCK", 5)
    monkeypatch.setattr(jsonlines, "CHUNK", 300)
    convert(path, "--min-rating", 3, "--k-core", 2, "--out", tmp_path / "small")
    large, small = (
        {file.name: file.read_bytes() for file in (tmp_path / out / "A").iterdir()}
        for out in ("large", "small")
    )
    assert len(large) == 6
    assert small == large


def test_2014_metadata_is_read_as_a_python_literal(tmp_path, reviews):
    meta = tmp_path / "meta.json.gz"
    row = {
        "asin": "i1",
        "title": 'It\'s a "Brush"',
        "price": 7.89,
        "imUrl": "http://x/a.jpg",
        "related": {"also_bought": ["i2", "zz"]},
        "categories": [["Beauty", "Hair Care"], ["Beauty"]],
        "brand": "ACME",
        "description": "<b>Soft</b> &amp; round",
    }
    other = {"asin": "zz", "title": "not wanted"}
    meta.write_bytes(gzip.compress(f"{other!r}\n{row!r}\n__import__('os').abort()\n".encode()))
    (tmp_path / "images").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "images" / "i1.jpg")
    (tmp_path / "images" / "i2.jpg").touch()
    convert(reviews, "--meta", meta, "--images", tmp_path / "images", "--out", tmp_path / "out")
    folder = tmp_path / "out" / "Beauty"
    items = pq.read_table(folder / "items.parquet").to_pandas().set_index("item_id")
    assert list(items.index) == ["i1", "i2"]
    assert items.loc["i1", "title"] == 'It\'s a "Brush"'
    assert items.loc["i1", "description"] == "Soft & round"
    assert items.loc["i1", "categories"] == "Beauty, Hair Care"
    assert (folder / items.loc["i1", "image_path"]).is_file()
    assert pd.isna(items.loc["i2", "image_path"])  # an empty file is no image
    assert atomic(folder / "Beauty.item").values.tolist()[0] == [
        "i1", "It's a \"Brush\"", "ACME", "Beauty Hair_Care", "7.89"
    ]  # fmt: skip
    assert (folder / "image_urls.tsv").read_text() == "i1\thttp://x/a.jpg\n"
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["text_share"], summary["image_share"]) == (0.5, 0.5)
    assert summary["problems"]["broken_line"] == {"count": 1, "first": "meta.json.gz:3"}


def test_2018_metadata(tmp_path, reviews):
    meta = tmp_path / "meta.json"
    rows = [
        {"asin": "i1", "title": "var aPageStart = getTime()", "feature": ["a", "b"], "price": "$1,012.50"},
        {
            "asin": "i2",
            "title": "T",
            "brand": "by\n\n  X",
            "category": ["c"],
            "imageURLHighRes": ["https://h", "x"],
        },
        {"asin": "i2", "title": "again"},
        {"title": "no id"},
    ]
    meta.write_bytes(lines(rows))
    convert(reviews, "--meta", f"Beauty={meta}", "--out", tmp_path / "out")
    items = pq.read_table(tmp_path / "out/Beauty/items.parquet").to_pandas().set_index("item_id")
    assert pd.isna(items.loc["i1", "title"])
    assert items.loc["i1", "features"] == "a b"
    assert items.loc["i2", "brand"] == "X"
    assert atomic(tmp_path / "out/Beauty/Beauty.item")["price:float"].tolist() == ["1012.5", ""]
    problems = json.loads((tmp_path / "out/Beauty/summary.json").read_text())["problems"]
    assert {kind: found["count"] for kind, found in problems.items()} == {
        "duplicate_item": 1, "missing_item": 1, "page_code": 1
    }  # fmt: skip


def test_2023_fields_and_milliseconds(tmp_path):
    path, meta = tmp_path / "Beauty.jsonl", tmp_path / "meta_Beauty.jsonl"
    row = {"rating": 4.0, "title": "Nice", "text": "good", "images": [], "asin": "a1", "parent_asin": "p1"}
    path.write_bytes(
        lines([{**row, "user_id": "U", "timestamp": 1_588_687_728_923, "verified_purchase": True}])
    )
    images = [
        {"thumb": "http://t", "large": "http://side", "variant": "PT01", "hi_res": None},
        {"thumb": "http://t", "large": "http://main", "variant": "MAIN", "hi_res": None},
    ]
    meta.write_bytes(
        lines(
            [
                {
                    "parent_asin": "p1",
                    "title": "B",
                    "store": "S",
                    "description": [],
                    "images": images,
                    "price": None,
                }
            ]
        )
    )
    convert(path, "--meta", meta, "--out", tmp_path / "out")
    assert atomic(tmp_path / "out/Beauty/Beauty.inter").values.tolist() == [["U", "p1", "4", "1588687728"]]
    assert (tmp_path / "out/Beauty/image_urls.tsv").read_text() == "p1\thttp://main\n"
    found = pq.read_table(tmp_path / "out/Beauty/reviews.parquet").to_pylist()
    assert found == [
        {"user_id": "U", "item_id": "p1", "timestamp": 1588687728, "summary": "Nice", "text": "good"}
    ]


def damaged():
    return (
        lines(GOOD)
        + b'{"reviewerID": "u3", "asin": \n'
        + b"\n[1, 2]\n"
        + lines(
            [
                {"asin": "i1", "overall": 1.0, "unixReviewTime": 1},
                review("u3", ""),
                review("u3", "i1", rating=None),
            ]
        )
        + lines([review("u3", "i1", time=None)])
        + json.dumps(review("u4", "i1", text="caf@")).encode().replace(b"@", b"\xe9")
        + b"\n"
        + lines([review("u1", "i1", time=9), review("u5", "i1", time=None, reviewTime="09 1, 2016")])
    )


def test_faults_are_counted_and_the_rest_is_kept(tmp_path):
    path = tmp_path / "A.json"
    path.write_bytes(damaged())
    convert(path, "--out", tmp_path / "out")
    summary = json.loads((tmp_path / "out/A/summary.json").read_text())
    assert {kind: found["count"] for kind, found in summary["problems"].items()} == {
        "broken_line": 2,
        "duplicate_pair": 1,
        "encoding": 1,
        "missing_item": 1,
        "missing_rating": 1,
        "missing_timestamp": 1,
        "missing_user": 1,
    }
    assert summary["problems"]["broken_line"]["first"] == "A.json:4"
    inter = atomic(tmp_path / "out/A/A.inter")
    assert inter["user_id:token"].tolist() == ["u1", "u2", "u4", "u1", "u5"]
    assert inter["timestamp:float"].tolist()[-2:] == ["9", "1472688000"]  # the first by time of (u1, i1)
    texts = pq.read_table(tmp_path / "out/A/reviews.parquet").to_pandas()
    assert texts["user_id"].tolist() == inter["user_id:token"].tolist()
    assert texts.set_index("user_id")["text"]["u4"] == "café"


def test_strict_names_every_fault_and_writes_nothing(tmp_path):
    path = tmp_path / "A.json"
    path.write_bytes(damaged())
    with pytest.raises(
        WrongUse, match=r"2 x broken_line .*A.json:4.*1 x duplicate_pair.*1 x encoding"
    ) as error:
        convert(path, "--strict", "--out", tmp_path / "out")
    assert "\n" not in str(error.value)
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == []


@pytest.mark.parametrize("cut", [30, 300, 3000])
def test_truncated_gzip(tmp_path, cut):
    rng = np.random.default_rng(0)
    rows = [review(f"u{row}", "i1", text=str(rng.integers(0, 2**62))) for row in range(500)]
    packed = gzip.compress(lines(rows))
    path = tmp_path / "A.json.gz"
    path.write_bytes(packed[:-cut])
    convert(path, "--out", tmp_path / "out")
    summary = json.loads((tmp_path / "out/A/summary.json").read_text())
    assert summary["problems"]["truncated"]["count"] == 1
    assert "broken_line" not in summary["problems"]
    assert 200 < summary["interactions"] <= 500
    with pytest.raises(WrongUse, match="truncated"):
        convert(path, "--strict", "--out", tmp_path / "strict")


def test_concatenated_gzip_plain_and_byte_order_mark_give_the_same(tmp_path):
    data = lines(GOOD)
    half = data.index(b"\n") + 20
    for name, content in {
        "plain": data,
        "members": gzip.compress(data[:half]) + gzip.compress(data[half:]),
        "mark": b"\xef\xbb\xbf" + data[:-1],
        "windows": data.replace(b"\n", b"\r\n"),
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "A.json").write_bytes(content)
        convert(tmp_path / name / "A.json", "--out", tmp_path / name / "out")
    for file in ("A.inter", "A.item", "items.parquet", "reviews.parquet", "summary.json"):
        assert (
            len(
                {
                    (tmp_path / name / "out/A" / file).read_bytes()
                    for name in ("plain", "members", "mark", "windows")
                }
            )
            == 1
        )


def test_fast_and_slow_reading_agree(tmp_path):
    block = lines(GOOD)
    assert parse_block(block, amazon_schema()) is not None
    assert parse_block(block + b"{}{}\n\n", amazon_schema()) is None
    assert parse_block(b"\n" + block, amazon_schema()) is None
    (tmp_path / "A.json").write_bytes(block)
    (tmp_path / "B.json").write_bytes(block + b"rubbish\n")  # the whole block goes line by line
    convert(tmp_path / "A.json", tmp_path / "B.json", "--out", tmp_path / "out")
    for suffix in ("inter", "item"):
        assert (tmp_path / f"out/A/A.{suffix}").read_bytes() == (tmp_path / f"out/B/B.{suffix}").read_bytes()
    assert (tmp_path / "out/A/reviews.parquet").read_bytes() == (
        tmp_path / "out/B/reviews.parquet"
    ).read_bytes()


def amazon_schema():
    return pa.schema([("reviewerID", pa.string()), ("unixReviewTime", pa.int64())])


def test_parse_takes_odd_but_readable_lines_and_never_evaluates():
    problems = Problems()
    assert parse(b'{"a": NaN, "b": 1}', "f:1", problems)["b"] == 1
    assert parse(b"{'a': \"it's\", 'b': True}", "f:2", problems) == {"a": "it's", "b": True}
    assert problems.counts == {}
    assert parse(b'{"a": "\\ud800"}', "f:3", problems) == {"a": "?"}
    assert parse(b"  \r", "f:4", problems) is None
    assert problems.counts == {"encoding": 1}
    assert parse(b"{'a': open('x')}", "f:5", problems) is None
    assert parse(b"7", "f:6", problems) is None
    assert problems.counts == {"encoding": 1, "broken_line": 2}
    assert problems.first["broken_line"] == "f:5"


def test_blocks_hold_whole_lines(tmp_path):
    path = tmp_path / "A.json"
    row = b'{"a": "' + b"x" * 700_000 + b'"}\n'
    path.write_bytes(row * 5 + b"last")
    blocks = list(read_blocks(path, Problems()))
    assert b"".join(blocks) == row * 5 + b"last\n"
    assert len(blocks) > 2
    assert all(block.endswith(b"\n") for block in blocks)


def test_two_domains_filters_and_overlap(tmp_path, capsys):
    (tmp_path / "a.json").write_bytes(
        lines([review("u1", "i1"), review("u1", "i2"), review("u2", "i1", rating=1.0)])
    )
    (tmp_path / "b.json").write_bytes(lines([review("u1", "j1"), review("u3", "j1"), review("u2", "j1")]))
    figures = tmp_path / "figures.json"
    convert(
        f"A={tmp_path / 'a.json'}", f"B={tmp_path / 'b.json'}", "--out", tmp_path / "out",
        "--min-rating", "2", "--json", figures,
    )  # fmt: skip
    document = json.loads(figures.read_text())
    assert document["overlap"] == [{"a": "A", "b": "B", "users": 1, "items": 0}]
    assert document["datasets"][0]["dropped"] == {"rating": 1, "repeated": 0}
    printed = capsys.readouterr().out
    assert "A and B" in printed
    assert "dropped by rating 1" in printed
    assert pq.read_table(tmp_path / "out/A/reviews.parquet").num_rows == 2


def test_an_error_in_the_second_domain_leaves_nothing(tmp_path, reviews):
    bad = tmp_path / "bad.json"
    bad.write_bytes(b'{"name": 1}\n')
    with pytest.raises(WrongUse, match="no Amazon reviews: fields name"):
        convert(reviews, bad, "--out", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["missing.json"], "no such file"),
        (["a/x.json", "b/x.json"], "two for 'x'"),
        (["x.json", "--meta", "Y=m.json"], "names: x"),
        (["x.json", "--k-core", "-1"], "must not be negative"),
    ],
)
def test_wrong_use_is_one_line(tmp_path, argv, message):
    with pytest.raises(WrongUse, match=message) as error:
        convert(*argv, "--out", tmp_path)
    assert "\n" not in str(error.value)


def test_a_second_conversion_replaces_its_own_files_only(tmp_path, reviews):
    convert(reviews, "--out", tmp_path)
    mine = tmp_path / "Beauty" / "Beauty.kg"
    mine.write_text("kept")
    first = (tmp_path / "Beauty/Beauty.inter").read_bytes()
    convert(reviews, "--out", tmp_path, "--no-reviews")
    assert not (tmp_path / "Beauty/reviews.parquet").exists()
    assert mine.read_text() == "kept"
    assert (tmp_path / "Beauty/Beauty.inter").read_bytes() == first
    assert sorted(os.listdir(tmp_path)) == ["Beauty", reviews.name]


def test_plain():
    assert plain(["<p>a</p>", None, "b &lt;i&gt;c", 3]) == "a b c"
    assert plain("1 < 2 and 3 > 2 &#39;") == "1 < 2 and 3 > 2 '"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("a<script>var x = '<b>1</b>';</script>b", "a b"),
        ("a <SCRIPT type='text/javascript'>\nif (a < b) {}\n</script > b", "a b"),
        ("a <style>.p { color: red }</style><p>b</p><style>i</style>c", "a b c"),
        ("a &lt;script&gt;x()&lt;/script&gt; b", "a b"),
        ("a <!-- <p>x</p> --> b", "a b"),
        ("a <script>cut off", "a"),
        ("the scripture, <scripted> by < hand", "the scripture, by < hand"),
    ],
)
def test_what_a_page_does_not_show_is_no_text(page, text):
    assert plain(page) == text


@pytest.mark.skipif(not RAW.is_dir(), reason="the real reviews of ../shared are absent")
def test_real_reviews_twice_the_same(tmp_path):
    for out in ("one", "two"):
        convert(
            RAW / "All_Beauty_5.json.gz", RAW / "AMAZON_FASHION_5.json.gz",
            "--out", tmp_path / out, "--repeats", "all", "--json", tmp_path / f"{out}.json",
        )  # fmt: skip
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    for path in sorted((tmp_path / "one").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
    document = json.loads((tmp_path / "one.json").read_text())
    beauty, fashion = document["datasets"]
    assert (beauty["interactions"], beauty["users"], beauty["items"]) == (5269, 991, 85)
    assert (fashion["interactions"], fashion["users"], fashion["items"]) == (3176, 406, 31)
    assert document["overlap"][0]["users"] == 0
