"""Filters on codes, against plain loops."""

import argparse

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_mm.convert import spill
from recbole_mm.convert.filter import Filters, add_filter_arguments, filters_from, k_core, repeated_pairs
from recbole_mm.convert.spill import SpilledColumn
from recbole_mm.errors import WrongUse

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=60)


def naive_core(user, item, user_k, item_k):
    rows = set(range(len(user)))
    while True:
        drop = {
            r
            for r in rows
            if sum(user[s] == user[r] for s in rows) < user_k
            or sum(item[s] == item[r] for s in rows) < item_k
        }
        if not drop:
            return [r in rows for r in range(len(user))]
        rows -= drop


@given(PAIRS, st.integers(0, 4), st.integers(0, 4))
def test_k_core_is_the_naive_one(rows, user_k, item_k):
    user, item, _ = (np.array(column) for column in zip(*rows, strict=True))
    assert k_core(user, item, user_k, item_k).tolist() == naive_core(user, item, user_k, item_k)


@given(PAIRS, st.sampled_from(["first", "last"]))
def test_one_row_of_each_pair_is_left(rows, keep):
    user, item, time = (np.array(column) for column in zip(*rows, strict=True))
    again = repeated_pairs(user, item, time, keep)
    best = {}
    for row, (u, i, t) in enumerate(rows):
        old = best.get((u, i))
        if old is None or (t < rows[old][2] if keep == "first" else t >= rows[old][2]):
            best[u, i] = row
    assert sorted(np.flatnonzero(~again).tolist()) == sorted(best.values())


def test_order_of_the_steps_and_what_each_drops():
    user = np.array([0, 0, 0, 1, 1, 1, -1])
    item = np.array([0, 0, 1, 0, 1, 2, 0])
    rating = np.array([5.0, 1.0, 4.0, 3.0, 3.0, 3.0, 5.0])
    time = np.array([20, 10, 30, 40, 50, 60, 0])
    keep, dropped = Filters(min_rating=2, until=60, user_k=2, item_k=2).keep(user, item, rating, time)
    # rating: row 1; time: row 5 (until is exclusive); no pair is left twice; all others are in the 2-core
    assert keep.tolist() == [True, False, True, True, True, False, False]
    assert dropped == {"rating": 1, "time": 1, "repeated": 0, "k_core": 0}


FILTERS = st.builds(
    Filters,
    min_rating=st.none() | st.integers(0, 3),
    until=st.none() | st.integers(1, 4),
    repeats=st.sampled_from(["first", "last", "all"]),
    user_k=st.integers(0, 3),
    item_k=st.integers(0, 3),
)


@given(PAIRS, FILTERS, st.integers(1, 9))
def test_columns_on_disk_in_small_blocks_give_the_same_rows(tmp_path_factory, rows, filters, block):
    user, item, time = (np.array(column) for column in zip(*rows, strict=True))
    user[item == 6] = -1  # unusable rows
    columns = user, item, time % 3, time
    try:
        keep, dropped = filters.keep(*columns)
    except WrongUse:
        keep = None
    folder = tmp_path_factory.getbasetemp()
    spilled = []
    for column in columns:
        spilled.append(SpilledColumn(folder, column.dtype))
        for part in np.array_split(column, 3):
            spilled[-1].append(part)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "BLOCK", block)
        if keep is None:
            with pytest.raises(WrongUse, match="no interaction is left"):
                filters.keep(*spilled, folder)
        else:
            found, found_dropped = filters.keep(*spilled, folder)
            assert (found.tolist(), found_dropped) == (keep.tolist(), dropped)
    assert not list(folder.glob("tmp*"))  # a temporary file has no name


def test_nothing_left_and_bounds_without_values_are_errors():
    one = np.array([0])
    with pytest.raises(WrongUse, match="no interaction is left of 1"):
        Filters(user_k=2).keep(one, one)
    with pytest.raises(WrongUse, match="no rating"):
        Filters(min_rating=1).keep(one, one)


def test_options():
    parser = argparse.ArgumentParser()
    add_filter_arguments(parser)
    filters = filters_from(parser.parse_args(["--k-core", "5", "--item-k", "3", "--since", "1970-01-02"]))
    assert (filters.user_k, filters.item_k, filters.since, filters.until) == (5, 3, 86400, None)
    assert filters_from(parser.parse_args(["--until", "12"])).until == 12
    with pytest.raises(WrongUse, match="--since 'soon'"):
        filters_from(parser.parse_args(["--since", "soon"]))
