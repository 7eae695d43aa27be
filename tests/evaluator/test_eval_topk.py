"""Block top-k and ranks against the plain way, on any scores, ties and masks included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_mm.evaluator import rank as rank_room
from recbole_mm.layer import topk as topk_room


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 900), st.integers(1, 30), st.integers(1, 400), st.integers(0, 10**6))
def test_blocks_give_torch_topk(n: int, k: int, levels: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (3, n), generator=g).float()
    scores[torch.rand(scores.shape, generator=g) < 0.2] = -torch.inf
    k = min(k, n)
    long, topk_room.LONG_ROW = topk_room.LONG_ROW, 1
    try:
        values, columns = topk_room.top_k(scores, k)
    finally:
        topk_room.LONG_ROW = long
    assert torch.equal(values, torch.topk(scores, k).values)
    assert torch.equal(scores.gather(1, columns), values)
    assert all(len(set(row)) == k for row in columns.tolist())


def test_a_long_row_takes_the_blocks() -> None:
    scores = torch.randn(4, 40_007, generator=torch.Generator().manual_seed(0))
    scores[2, -5:] = 9  # in the part beyond the last whole block
    assert torch.equal(topk_room.top_k(scores, 20)[0], torch.topk(scores, 20).values)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 40), st.integers(1, 8), st.integers(0, 10**6), st.booleans(), st.sampled_from([1e-9, 1e9])
)
def test_ranks_against_a_loop(n: int, levels: int, seed: int, need_list: bool, sort_ns: float) -> None:
    """Few levels make many ties; the two prices of sorting take the two ways of counting."""
    rng = np.random.default_rng(seed)
    k = 5
    scores = torch.from_numpy(rng.integers(levels, size=(6, n)).astype(np.float32))
    positive = rng.random((6, n)) < 0.3
    positive[:, 0] = False
    scores[:, 0] = -torch.inf
    scores[torch.from_numpy(~positive & (rng.random((6, n)) < 0.3))] = -torch.inf
    row, col = (torch.from_numpy(x) for x in np.nonzero(positive))
    before = scores.clone()
    old, rank_room.SORT_NS = rank_room.SORT_NS, sort_ns
    try:
        found = rank_room.rank_batch(
            scores, row, col, scores[row, col], k, need_auc=True, need_list=need_list
        )
    finally:
        rank_room.SORT_NS = old
    assert torch.equal(scores, before)
    values, _ = torch.topk(scores, min(k, n))
    for p, (r, c) in enumerate(zip(row.tolist(), col.tolist(), strict=True)):
        above, equal = (scores[r] > scores[r, c]).sum().item(), (scores[r] == scores[r, c]).sum().item()
        assert found.mean_rank[p] == above + (equal + 1) / 2
        assert found.candidates[r] == (scores[r] > -torch.inf).sum()
        if equal == 1:
            assert found.position[p] == (above if above < k else -1)
        elif found.position[p] >= 0:  # a tie's order is free, but it must be a place that the tie reaches
            assert above <= found.position[p] < min(above + equal, k)
    places = [(r, p) for r, p in zip(row.tolist(), found.position.tolist(), strict=True) if p >= 0]
    assert len(places) == len(set(places))
    for r in range(
        6
    ):  # a tie's places are all filled: hits = list places whose score is reached only by positives
        full = [j for j, v in enumerate(values[r].tolist()) if v > -np.inf]
        sure = [j for j in full if positive[r][(scores[r] == values[r, j]).numpy()].all()]
        assert {(r, j) for j in sure} <= set(places)


@pytest.mark.parametrize("n", [3, 9000])
def test_k_beyond_the_catalogue(n: int) -> None:
    scores = torch.arange(n).float().repeat(2, 1)
    row, col = torch.tensor([0, 1]), torch.tensor([1, n - 1])
    found = rank_room.rank_batch(scores, row, col, scores[row, col], 10_000, need_auc=False, need_list=True)
    assert found.position.tolist() == [n - 2, 0]
    assert found.columns.shape == (2, n)
