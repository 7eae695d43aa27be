"""The right vector sits on the right item, for any tokens, order and filter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_mm.errors import WrongUse
from recbole_mm.modality import align, check_coverage

tokens = st.lists(st.text(max_size=6), unique=True, max_size=30)


@settings(max_examples=150, deadline=None)
@given(tokens, tokens, st.randoms(use_true_random=False), st.sampled_from([object, str]))
def test_every_item_gets_its_own_row(first, second, random, kind):
    in_store = first + [token for token in second[::2] if token not in first]
    in_data = [token for token in [*second, *first[::2]] if token not in ("[PAD]", "")]
    in_data = list(dict.fromkeys(in_data))
    random.shuffle(in_store)
    random.shuffle(in_data)
    items = np.array(["[PAD]", *in_data], dtype=kind)
    alignment = align(np.array(in_store, dtype=object), items)
    assert alignment.rows.dtype == np.int64
    assert alignment.present.dtype == np.bool_
    expected = [-1] + [in_store.index(t) if t in in_store else -1 for t in items[1:].tolist()]
    assert alignment.rows.tolist() == expected
    assert alignment.present.tolist() == [row >= 0 for row in expected]


def test_padding_is_absent_even_if_the_store_knows_the_word():
    assert align(["[PAD]", "a"], ["[PAD]", "a"]).rows.tolist() == [-1, 1]


def test_text_that_looks_like_a_number_is_text():
    assert align(["108775015", "1.0"], ["[PAD]", "0108775015", "1", "1.0"]).rows.tolist() == [-1, -1, -1, 1]


def test_a_repeated_store_token_is_refused():
    with pytest.raises(WrongUse, match="'b' occurs twice"):
        align(["a", "b", "b"], ["[PAD]", "a"])


@pytest.mark.parametrize(
    ("item", "store"),
    [("0108775015", "108775015"), ("108775015", "0108775015"), ("B00X", "b00x"), ("12", "12.0"), ("a", " a")],
)
def test_low_coverage_shows_the_two_spellings_side_by_side(item, store):
    items, in_store = ["[PAD]", "zzz", "here", item], ["yyy", "here", store]
    alignment = align(in_store, items)
    check_coverage("text", alignment, 0.33, items, in_store)
    with pytest.raises(WrongUse) as caught:
        check_coverage("text", alignment, 0.5, items, in_store)
    message = str(caught.value)
    assert "1 of 3 items (33.3 %)" in message
    assert f"{item!r}, one of the store {store!r}" in message


def test_low_coverage_without_a_similar_token_still_gives_examples():
    items, in_store = ["[PAD]", "a", "b"], ["x", "y"]
    with pytest.raises(WrongUse, match="is 'a', one of the store 'x'"):
        check_coverage("text", align(in_store, items), 0.1, items, in_store)


@pytest.mark.parametrize("share", [-0.1, 1.5, True])
def test_min_coverage_is_a_share(share):
    with pytest.raises(WrongUse, match="between 0 and 1"):
        check_coverage("text", align(["a"], ["[PAD]", "a"]), share, ["[PAD]", "a"], ["a"])


def test_full_coverage_and_an_empty_catalogue_pass():
    check_coverage("text", align(["a"], ["[PAD]", "a"]), 1.0, ["[PAD]", "a"], ["a"])
    check_coverage("text", align(["a"], ["[PAD]"]), 1.0, ["[PAD]"], ["a"])
