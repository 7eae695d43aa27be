from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import recbole_mm
from recbole_mm.config.properties import load_user
from recbole_mm.config.values import parse_cli, parse_value
from recbole_mm.errors import WrongUse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("1e-3", 0.001),
        ("5e-4", 0.0005),
        (".5", 0.5),
        ("-1.", -1.0),
        ("true", True),
        ("False", False),
        ("None", None),
        ("~", None),
        ("['RO',(1,2)]", ["RO", (1, 2)]),
        ("[RO, 1e-2]", ["RO", 0.01]),
        ("{'RS': [0.8, 0.1, 0.1]}", {"RS": [0.8, 0.1, 0.1]}),
        ("{mode: full}", {"mode": "full"}),
        ("5,10", (5, 10)),
        ("'10'", "10"),
    ],
)
def test_literals(text: str, value: object) -> None:
    got = parse_value(text)
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "[0,inf)",
        "0108775015",
        "010",
        "2020-01-01",
        "__import__('os').getcwd()",
        "1+1",
        "a: b",
        "BPR",
        "1j",
        "inf",
    ],
)
def test_the_rest_stays_text(text: str) -> None:
    assert parse_value(text) == text and isinstance(parse_value(text), str)


@given(st.text())
def test_any_text_is_a_value_or_stays_as_it_is(text: str) -> None:
    value = parse_value(text)
    assert isinstance(value, (bool, int, float, str, list, tuple, dict, type(None)))
    assert not isinstance(value, str) or value == text or value == ast.literal_eval(text.strip())


def test_nothing_runs(tmp_path: Path) -> None:
    target = tmp_path / "made"
    parse_value(f"open({str(target)!r}, 'w')")
    parse_value(f"[open({str(target)!r}, 'w')]")
    parse_value("!!python/object/apply:os.system ['true']")
    assert not target.exists()


def test_both_forms_of_an_argument() -> None:
    values, texts = parse_cli(["--a=x=y", "--b", "2", "--c", "-1", "--d="])
    assert values == {"a": "x=y", "b": 2, "c": -1, "d": ""}
    assert texts["b"] == "2"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["stray"], "unexpected argument 'stray'"),
        (["--a"], "--a has no value"),
        (["--a", "--b=1"], "--a has no value"),
        (["-a=1"], "unexpected argument '-a=1'"),
        (["--a=1", "--a=2"], "--a is given twice, as '1' and '2'"),
        (["--dry-run"], "--dry-run goes with recbole-mm run, which says what one row takes"),
    ],
)
def test_wrong_arguments(args: list[str], words: str) -> None:
    with pytest.raises(WrongUse, match=words):
        parse_cli(args)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: 1\n\tb: 2\n", "line 2: a tab; yaml wants spaces"),
        ("a: 1\nb: [1\n", "line 3"),
        ("- a\n- b\n", "expected lines of 'key: value', got a list"),
        ("just text", "expected lines of 'key: value', got a str"),
        ("a: 1\nb: 2\na: 3\n", "line 3: key 'a' is there twice"),
        ("1: 2\n", "key 1 is not text"),
        ("a: !!python/object/apply:os.getcwd []\n", "line 1: could not determine a constructor"),
        ("a: 2020-13-45\n", "month must be in 1..12"),
    ],
)
def test_a_bad_file_is_one_line_with_its_name(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(content)
    with pytest.raises(WrongUse) as raised:
        load_user(file)
    assert words in str(raised.value) and "my.yaml" in str(raised.value) and "\n" not in str(raised.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    for path, words in [(tmp_path / "no.yaml", "does not exist"), (tmp_path, "is a folder")]:
        with pytest.raises(WrongUse, match=words):
            load_user(path)
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(WrongUse, match="not UTF-8"):
        load_user(tmp_path / "latin.yaml")


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert load_user(tmp_path / "empty.yaml") == {}


def test_floats_and_merge_keys(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: 1e-3\nb: &b {c: 1, d: 2}\ne: {<<: *b, d: 3}\n")
    assert load_user(tmp_path / "x.yaml") == {"a": 0.001, "b": {"c": 1, "d": 2}, "e": {"c": 1, "d": 3}}


def test_yaml_itself_is_left_alone() -> None:
    before = len(yaml.FullLoader.yaml_implicit_resolvers["1"])
    recbole_mm.config.Config("BPR", "ml-100k")
    assert len(yaml.FullLoader.yaml_implicit_resolvers["1"]) == before
