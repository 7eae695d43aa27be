from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_mm.data import sampler as sampling
from recbole_mm.data.sampler import NegativeSampler, SeenPairs
from recbole_mm.errors import Failure, WrongUse
from recbole_mm.testing import Built, write_toy


def sampler(users: list[int], items: list[int], n_items: int = 7, **kwargs: object) -> NegativeSampler:
    return NegativeSampler(np.array(users), np.array(items), n_items, rng=np.random.default_rng(1), **kwargs)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_negatives_are_unseen_and_of_the_positives_domain(data: st.DataObject) -> None:
    n_items = data.draw(st.integers(8, 30))
    domain = np.array([-1, *(data.draw(st.integers(0, 2)) for _ in range(n_items - 1))])
    pairs = data.draw(
        st.sets(st.tuples(st.integers(1, 4), st.integers(1, n_items - 1)), min_size=1, max_size=12)
    )
    users, items = (np.array(column) for column in zip(*sorted(pairs), strict=True))
    try:
        draw = NegativeSampler(users, items, n_items, rng=np.random.default_rng(0), item_domain=domain)
    except Failure:
        full = [
            (u, d)
            for u in set(users)
            for d in set(domain[1:])
            if {i for i in range(1, n_items) if domain[i] == d} <= set(items[users == u])
        ]
        assert full
        return
    negatives = draw.sample(users, items, 5)
    assert negatives.shape == (len(users), 5)
    for user, item, row in zip(users, items, negatives, strict=True):
        assert (domain[row] == domain[item]).all()
        assert not set(row) & set(items[users == user])


@pytest.mark.parametrize("table", [0, 1 << 20])
def test_pairs_are_found_with_and_without_a_table(table: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "TABLE_BYTES", table)
    rng = np.random.default_rng(1)
    owners, items = rng.integers(5, size=30), rng.integers(1, 9, size=30)
    known = SeenPairs(owners, items, 9)(np.arange(45))
    assert set(np.flatnonzero(known)) == set(owners * 9 + items) and not known.all()
    assert not SeenPairs(owners[:0], items[:0], 9)(np.arange(45)).any()


def test_uniform_is_uniform() -> None:
    drawn = sampler([1], [3]).sample(np.array([1]), np.array([3]), 60_000)
    share = np.bincount(drawn.ravel(), minlength=7) / 60_000
    np.testing.assert_allclose(share, [0, 0.2, 0.2, 0, 0.2, 0.2, 0.2], atol=0.01)


def test_popularity_counts_training_rows_to_the_power_alpha() -> None:
    draw = sampler([1, 2, 3, 4, 5, 6], [3, 1, 1, 1, 1, 2], distribution="popularity", alpha=0.5)
    share = np.bincount(draw.sample(np.array([1]), np.array([3]), 60_000).ravel(), minlength=7) / 60_000
    np.testing.assert_allclose(share, [0, 2 / 3, 1 / 3, 0, 0, 0, 0], atol=0.01)


def test_what_no_training_row_has_is_not_drawn_by_popularity() -> None:
    draw = sampler([1, 2, 3], [3, 1, 2], distribution="popularity", alpha=0.0)
    assert set(draw.sample(np.array([1]), np.array([3]), 200).ravel()) == {1, 2}


def test_the_generator_decides() -> None:
    first, second = (sampler([1, 2], [3, 4]).sample(np.array([1, 2]), np.array([3, 4]), 8) for _ in range(2))
    assert (first == second).all()


def test_a_user_with_everything_is_named() -> None:
    everything, tokens = list(range(1, 7)), np.array(["[PAD]", "ann", "bob"])
    with pytest.raises(Failure) as caught:
        sampler([2] * 6, everything, tokens=tokens)
    assert str(caught.value) == (
        "1 user has interacted with all 6 items that can be drawn, so no negative can be drawn: bob; "
        "filter such users with user_inter_num_interval"
    )
    domain = np.array([-1, 0, 0, 1, 1, 1, 1])
    with pytest.raises(Failure, match=r"^2 users have interacted with all items of a domain .*: ann, bob;"):
        sampler([1, 1, 2, 2], [1, 2, 1, 2], item_domain=domain, tokens=tokens)


def test_what_cannot_be_drawn_leaves_nobody_waiting() -> None:
    """Items of no domain, and by popularity those without a training row, are no negatives."""
    domain = np.array([-1, 0, 0, 1, 1, -1, -1])
    with pytest.raises(Failure, match=r"^1 user has interacted with all items of a domain"):
        sampler([1, 1, 2], [1, 2, 3], item_domain=domain)
    with pytest.raises(Failure, match=r"^1 user has interacted with all 3 items that can be drawn"):
        sampler([1, 1, 1, 2], [1, 2, 3, 3], distribution="popularity")


def test_negatives_of_held_out_rows_are_unseen_in_training(tmp_path: Path) -> None:
    built = Built("VBPR", write_toy(tmp_path))
    train, valid = (
        set(zip(*(part.inter_feat[f].tolist() for f in ("user_id", "item_id")), strict=True))
        for part in (built.train_data._dataset, built.valid_data._dataset)
    )
    asked, drawn = set(), set()
    for batch in built.train_data.held_out(built.valid_data):
        columns = (batch[f].tolist() for f in ("user_id", "item_id", "neg_item_id"))
        for user, item, negatives in zip(*columns, strict=True):
            asked.add((user, item))
            drawn |= {(user, negative) for negative in negatives}
    assert asked == valid and drawn and not drawn & train


def test_unknown_distribution() -> None:
    with pytest.raises(WrongUse, match="'zipf'"):
        sampler([1], [2], distribution="zipf")
