from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data.interaction import Interaction

from recbole_mm.data.split import field_split, random_split, split_rows
from recbole_mm.errors import WrongUse

PROTOTYPE = Path(__file__).parents[2] / "../shared/data/hm-week/split_ladieswear_divided.csv"
RATIOS = (0.72, 0.08, 0.20)


def expected_counts(n: int) -> tuple[int, int, int]:
    """The rule of `random` word by word; Python's round is half to even as well."""
    test = round(0.2 * n)
    valid = max(round(0.08 * n), 1 if n >= 4 else 0)
    return n - test - valid, valid, test


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.integers(0, 9))
def test_every_group_is_split_as_the_protocol_says(groups: list[int], seed: int) -> None:
    keys = np.array(groups)
    parts = random_split(keys, RATIOS, seed)
    assert sorted(np.concatenate(parts)) == list(range(len(keys)))
    for group in set(groups):
        counts = tuple(int((keys[part] == group).sum()) for part in parts)
        assert counts == expected_counts(groups.count(group))


def test_seed_decides_and_input_groups_do_not_mix() -> None:
    keys = np.repeat([0, 1], 50)
    first, again, other = (random_split(keys, RATIOS, seed) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not (first[2] == other[2]).all()


@pytest.mark.skipif(not PROTOTYPE.is_file(), reason="no ../shared/data")
def test_the_prototypes_split_has_our_counts() -> None:
    table = pd.read_csv(PROTOTYPE, dtype=str)
    counts = table.groupby(["user", "section"])["part"].value_counts().unstack(fill_value=0)
    for row in counts[["train", "valid", "test"]].itertuples(index=False):
        assert tuple(row) == expected_counts(sum(row))


def test_without_a_share_there_is_no_validation() -> None:
    train, valid, test = random_split(np.repeat([0, 1], 10), (0.8, 0.0, 0.2), 1)
    assert (len(train), len(valid), len(test)) == (16, 0, 4)


def test_no_two_pairs_of_user_and_domain_are_one_group() -> None:
    """10 rows for each of 3 users in each of 3 domains: so many are of each part."""
    user, domain = (each.ravel() for each in np.meshgrid([1, 2, 3], [0, 1, 2]))
    rows = {"user_id": torch.from_numpy(user.repeat(10)), "domain": torch.from_numpy(domain.repeat(10))}
    dataset = SimpleNamespace(inter_feat=Interaction(rows), uid_field="user_id", iid_field="item_id")
    config = {"split": {"random": [0.7, 0.1, 0.2]}, "split_seed": 1}
    for part, size in zip(split_rows(config, dataset), (7, 1, 2), strict=True):
        cells = np.unique(user.repeat(10)[part] * 3 + domain.repeat(10)[part], return_counts=True)[1]
        assert cells.tolist() == [size] * 9


def test_field_split_reads_words_and_mmrec_labels() -> None:
    for tokens in (
        ["test", "train", "valid", "train"],
        ["test", "train", "validation", "train"],
        ["2", "0", "1", "0"],
    ):
        assert [p.tolist() for p in field_split(np.array(tokens), "part")] == [[1, 3], [2], [0]]
    with pytest.raises(WrongUse, match="'dev'"):
        field_split(np.array(["train", "dev"]), "part")
