"""What RecBole's filters leave, row by row, against a plain pandas reading of the same files."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recbole_mm.config import Config, check_dataset
from recbole_mm.data import create_dataset
from recbole_mm.errors import WrongUse

MISSING = ["", "NA", "null", "None"]
FILES = {
    "inter": {"user_id": str, "item_id": str, "rating": float, "timestamp": float},
    "user": {"user_id": str, "age": float},
    "item": {"item_id": str, "kind": str, "price": float},
}
ID = {"user": "user_id", "item": "item_id"}

Interval = tuple[str, float, float, str]


def tokens(letter: str, many: int) -> st.SearchStrategy[str]:
    """Mostly one of a few tokens, else one of the words for none."""
    known = [f"{letter}{k}" for k in range(many)]
    return st.sampled_from(known * 3 + MISSING)


INTER = st.lists(
    st.tuples(tokens("u", 5), tokens("i", 5), st.sampled_from(["", "1", "2", "3", "4"])),
    min_size=1,
    max_size=40,
)
USERS = st.none() | st.lists(tokens("u", 6), min_size=1, max_size=12)
ITEMS = st.none() | st.lists(
    st.tuples(tokens("i", 6), st.sampled_from(["a", "b", "c", ""])), min_size=1, max_size=12
)


def intervals(highest: int) -> st.SearchStrategy[list[Interval]]:
    """One or two intervals with whole bounds, in any order."""
    low, high = st.integers(0, highest // 2), st.integers(highest // 2, highest) | st.just(math.inf)
    bounds = st.tuples(low, high)
    one = st.tuples(st.sampled_from("(["), bounds, st.sampled_from(")]"))
    return st.lists(one.map(lambda parts: (parts[0], *parts[1], parts[2])), min_size=1, max_size=2)


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "val_interval": st.fixed_dictionaries(
            {},
            optional={
                "rating": intervals(4),
                "age": intervals(12),
                "price": intervals(12),
                "timestamp": intervals(41),
                "kind": st.lists(st.sampled_from(["a", "b", "c"]), min_size=2, unique=True),
                "user_id": st.lists(st.sampled_from(["u0", "u1", "u2", "u3"]), min_size=2, unique=True),
                "item_id": st.lists(st.sampled_from(["i0", "i1", "i2", "i3"]), min_size=2, unique=True),
            },
        ),
        "user_inter_num_interval": intervals(5),
        "item_inter_num_interval": intervals(5),
        "filter_inter_by_user_or_item": st.booleans(),
        "rm_dup_inter": st.sampled_from(["first", "last"]),
        "TIME_FIELD": st.just("no such field"),
    },
)


# -- the plain reading -----------------------------------------------------------------------------------------------


def within(values: pd.Series, allowed: list[Interval]) -> pd.Series:
    """Whether each value lies in one of the intervals; a missing one lies in none."""
    sides = {"[)": "left", "(]": "right", "[]": "both", "()": "neither"}
    return pd.concat(
        [values.between(low, high, inclusive=sides[left + right]) for left, low, high, right in allowed],
        axis=1,
    ).any(axis=1)


def read(folder: Path, kind: str) -> pd.DataFrame | None:
    path = folder / f"toy.{kind}"
    return (
        pd.read_csv(path, sep="\t", header=0, names=list(FILES[kind]), dtype=FILES[kind])
        if path.is_file()
        else None
    )


def plain(folder: Path, filters: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """The tables that are left, by their kind; in RecBole's order of steps."""
    tables = {kind: table for kind in FILES if (table := read(folder, kind)) is not None}
    tables["inter"] = tables["inter"].dropna(subset=["user_id", "item_id"])
    for kind in set(tables) - {"inter"}:
        tables[kind] = tables[kind].drop_duplicates(ID[kind]).dropna(subset=[ID[kind]])
    if keep := filters.get("rm_dup_inter"):
        inter = tables["inter"] if "TIME_FIELD" in filters else tables["inter"].sort_values("timestamp")
        tables["inter"] = inter.drop_duplicates(["user_id", "item_id"], keep=keep)
    for field, allowed in filters.get("val_interval", {}).items():
        for kind, table in tables.items():
            if field in table:
                token = isinstance(allowed[0], str)
                tables[kind] = table[table[field].isin(allowed) if token else within(table[field], allowed)]
    if filters.get("filter_inter_by_user_or_item"):
        for kind in set(tables) - {"inter"}:
            tables["inter"] = tables["inter"][tables["inter"][ID[kind]].isin(tables[kind][ID[kind]])]
    while any((banned := {kind: out_of_count(tables, kind, filters) for kind in ID}).values()):
        for kind, names in banned.items():
            for name, table in tables.items():
                if ID[kind] in table:
                    tables[name] = table[~table[ID[kind]].isin(names)]
    return tables


def out_of_count(tables: dict[str, pd.DataFrame], kind: str, filters: dict[str, Any]) -> set[str]:
    """Users (items) whose number of interactions is not allowed, and those of their table with too few or none."""
    allowed = filters.get(f"{kind}_inter_num_interval")
    if not allowed:
        return set()
    count = tables["inter"][ID[kind]].value_counts()
    banned = set(count.index[~within(count, allowed)])
    if kind in tables and min(low for _, low, _, _ in allowed) > 0:
        banned |= set(tables[kind][ID[kind]]) - set(count.index)
    return banned


# -- RecBole's -------------------------------------------------------------------------------------------------------


def write(folder: Path, rows: list[Any], users: list[Any] | None, items: list[Any] | None) -> None:
    """Files in which ``timestamp``, ``age`` and ``price`` name the row; they are not in the order of time."""
    tables = {
        "inter": [(*row, 7 * k % 41) for k, row in enumerate(rows)],
        "user": users and [(name, k) for k, name in enumerate(users)],
        "item": items and [(*row, k) for k, row in enumerate(items)],
    }
    for kind, lines in tables.items():
        path = folder / f"toy.{kind}"
        path.unlink(missing_ok=True)
        if lines:
            head = [f"{name}:{'token' if dtype is str else 'float'}" for name, dtype in FILES[kind].items()]
            path.write_text("".join("\t".join(map(str, line)) + "\n" for line in [head, *lines]))


def words(allowed: list[Any]) -> Any:
    """A setting as it stands in a configuration: intervals are text, tokens a list."""
    if isinstance(allowed[0], str):
        return allowed
    return ";".join(f"{left}{low},{high}{right}" for left, low, high, right in allowed)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("kept")
    (root / "toy").mkdir()
    write(root / "toy", [("u", "i", "1")], ["u"], [("i", "a")])
    columns = {kind: list(fields) for kind, fields in FILES.items()}
    return Config("BPR", "toy", config_dict={"data_path": str(root), "load_col": columns, "state": "ERROR"})


def configured(config: Any, filters: dict[str, Any]) -> Any:
    for key in ("user_inter_num_interval", "item_inter_num_interval"):
        config[key] = words(filters[key]) if key in filters else None
    values = filters.get("val_interval")
    config["val_interval"] = values and {field: words(allowed) for field, allowed in values.items()}
    for key in ("filter_inter_by_user_or_item", "rm_dup_inter"):
        config[key] = filters.get(key)
    config["TIME_FIELD"] = filters.get("TIME_FIELD", "timestamp")
    return config


def filled(values: pd.Series) -> np.ndarray:
    """Missing numbers are the mean of the others."""
    return values.fillna(values.mean()).to_numpy()


@settings(max_examples=150, deadline=None)
@given(INTER, USERS, ITEMS, FILTERS)
@example([("", "i0", "1"), ("u0", "", "1"), *[(f"u{k}", "i1", "1") for k in range(4)]], None, None, {})
@example([("u0", "i0", "1")] * 3, ["u0", "u0", "", "u1", "u2"], [("i0", ""), ("i0", "a"), ("NA", "b")], {})
@example([("u0", "i0", "1"), ("", "i0", "1"), ("u0", "null", "1")], None, None, {})
def test_kept_rows_are_those_of_a_plain_reading(
    config: Any, rows: list[Any], users: list[Any] | None, items: list[Any] | None, filters: dict[str, Any]
) -> None:
    folder = Path(config["data_path"])
    write(folder, rows, users, items)
    known = {
        "rating",
        "timestamp",
        *ID.values(),
        *(["age"] if users else []),
        *(["kind", "price"] if items else []),
    }
    values = filters.get("val_interval", {})
    filters = {**filters, "val_interval": {field: values[field] for field in values if field in known}}
    want = plain(folder, filters)
    if any(table.empty for table in want.values()):
        with pytest.raises(ValueError, match=r"no row of \w+ is left"):
            create_dataset(configured(config, filters))
        return
    same(create_dataset(configured(config, filters)), want)


def same(data: Any, want: dict[str, pd.DataFrame]) -> None:
    """The data set holds these rows, in this order, and these users and items."""
    feat, inter = data.inter_feat, want["inter"]
    np.testing.assert_allclose(feat["timestamp"], filled(inter["timestamp"]), rtol=1e-6)
    for field in ID.values():
        assert data.id2token(field, feat[field].to_numpy()).tolist() == inter[field].tolist()
    np.testing.assert_allclose(feat["rating"], filled(inter["rating"]))
    for kind, mark in (("user", "age"), ("item", "price")):
        names = data.field2id_token[ID[kind]]
        left = set(inter[ID[kind]]) | (set(want[kind][ID[kind]]) if kind in want else set())
        assert set(names) == {"[PAD]", *left} and len(names) == len(left) + 1
        if kind in want:
            table = want[kind].set_index(ID[kind]).reindex(names)
            np.testing.assert_allclose(getattr(data, f"{kind}_feat")[mark], filled(table[mark]))


CHANGES = {
    "cut": lambda lines, at, to: [*lines[:at], lines[at][:to], *lines[at + 1 :]],
    "doubled": lambda lines, at, to: [*lines[:at], lines[at], *lines[at:]],
    "shifted": lambda lines, at, to: [*lines[:at], f"{lines[at][:to]}\t{lines[at][to:]}", *lines[at + 1 :]],
    "joined": lambda lines, at, to: [*lines[:at], "".join(lines[at : at + 2]), *lines[at + 2 :]],
    "quoted": lambda lines, at, to: [*lines[:at], f'{lines[at][:to]}"{lines[at][to:]}', *lines[at + 1 :]],
    "word": lambda lines, at, to: [*lines[:at], f"{lines[at][:to]}é{lines[at][to:]}", *lines[at + 1 :]],
}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["inter", "user", "item"]),
    st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), st.integers(0, 7), st.integers(0, 45)), max_size=2),
    st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "latin-1"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_a_damaged_file_is_read_as_it_looks_or_named(
    config: Any, kind: str, changes: list[tuple[str, int, int]], encoding: str, end: str
) -> None:
    """Never another row than those of a plain reading, never one fewer, in whichever file."""
    folder = Path(config["data_path"])
    users, items = [f"u{k}" for k in range(4)], [(f"i{k}", "ab"[k % 2]) for k in range(4)]
    write(folder, [(f"u{k % 4}", f"i{k % 3}", "3") for k in range(6)], users, items)
    file = folder / f"toy.{kind}"
    lines = file.read_text().splitlines()
    for change, at, to in changes:
        lines = CHANGES[change](lines, min(at, len(lines) - 1), to)
    file.write_bytes((end.join(lines) + end).encode(encoding))
    try:
        check_dataset(config)
        data = create_dataset(configured(config, {}))
    except WrongUse as error:
        assert re.match(
            rf"(load_col: )?{re.escape(str(file))}"
            r"(, line \d+: | is empty| has a header and no rows| has no field )",
            str(error),
        )
        assert changes and "\n" not in str(error)
        return
    same(data, plain(folder, {}))


def test_sequences_stay_with_their_rows_when_the_link_removes_some(tmp_path: Path) -> None:
    """RecBole removes the rows of items that are not in the link after it has numbered the rows anew."""
    folder = tmp_path / "toy"
    folder.mkdir()
    rows = [(user, item) for user in "abc" for item in "xyz"]
    seen = {(user, item): f"{item} x" if user == "a" else item for user, item in rows}
    numbers = {pair: f"{k} {k + 1}" for k, pair in enumerate(rows)}
    head = "user_id:token\titem_id:token\tseen:token_seq\tnumbers:float_seq\n"
    lines = [f"{user}\t{item}\t{seen[user, item]}\t{numbers[user, item]}\n" for user, item in rows]
    (folder / "toy.inter").write_text(head + "".join(lines))
    (folder / "toy.link").write_text("item_id:token\tentity_id:token\ny\tey\nz\tez\n")
    (folder / "toy.kg").write_text("head_id:token\trelation_id:token\ttail_id:token\ney\tr\tez\nez\tr\teo\n")
    settings = {
        "data_path": str(tmp_path),
        "load_col": {
            "inter": ["user_id", "item_id", "seen", "numbers"],
            "kg": ["head_id", "relation_id", "tail_id"],
            "link": ["item_id", "entity_id"],
        },
        "alias_of_item_id": ["seen"],
        "normalize_field": ["numbers"],
    }
    data = create_dataset(Config("CFKG", "toy", config_dict=settings))
    kept = [pair for pair in rows if pair[1] != "x"]
    feat = data.inter_feat
    named = [data.id2token(field, feat[field].to_numpy()).tolist() for field in ("user_id", "item_id")]
    assert list(zip(*named, strict=True)) == kept
    for pair, items, vector in zip(kept, feat["seen"], feat["numbers"], strict=True):
        assert " ".join(data.id2token("seen", items)) == seen[pair]
        assert [x * 8 + 1 for x in vector] == pytest.approx([float(x) for x in numbers[pair].split()])


def test_a_split_by_time_is_the_same_whatever_the_order(config: Any) -> None:
    folder = Path(config["data_path"])
    write(folder, [(f"u{k % 3}", f"i{k % 4}", "1") for k in range(36)], None, None)
    parts = {}
    for order in ("TO", "RO"):
        split = {"order": order, "split": {"TS": [0.6, 0.2, 0.2]}}
        configured(config, {})["eval_args"] = {**config["eval_args"], **split}
        parts[order] = [
            sorted(part.inter_feat["timestamp"].tolist()) for part in create_dataset(config).build()
        ]
    assert parts["RO"] == parts["TO"]
    train, valid, test = parts["RO"]
    assert max(train + valid) < min(test)
