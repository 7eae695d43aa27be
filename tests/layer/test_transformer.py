from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_mm.layer.history import OrderedHistory
from recbole_mm.layer.transformer import SequenceEncoder, Tokens, length_buckets


@pytest.mark.parametrize("seed", range(5))
def test_buckets_hold_each_sequence_once_and_little_padding(seed: int) -> None:
    size = torch.from_numpy(np.random.default_rng(seed).geometric(0.1, 300) - 1)
    buckets = length_buckets(size, 0.1)
    assert sorted(torch.cat(buckets).tolist()) == size.nonzero().squeeze(1).tolist()
    for bucket in buckets:
        longest = int(size[bucket].max())
        assert 1 - size[bucket].sum().item() / (longest * len(bucket)) <= 0.1
    assert max(int(size[b].max()) * len(b) for b in length_buckets(size, 0.1, tokens=200)) <= 200
    assert length_buckets(size[:0]) == [] and length_buckets(torch.zeros(3, dtype=torch.long)) == []


def test_weights_of_attention_have_a_dropout_of_their_own() -> None:
    encoder = SequenceEncoder(8, 2, 2, 16, 5, 0.1, 0.3, True)
    found = [(layer.self_attn.dropout, layer.dropout1.p, layer.dropout2.p) for layer in encoder.layers]
    assert found == [(0.3, 0.1, 0.1)] * 2 and encoder.dropout.p == 0.1


def test_a_sequence_is_encoded_as_if_it_were_alone() -> None:
    torch.manual_seed(0)
    encoder = SequenceEncoder(8, 2, 2, 16, 5, 0.0, 0.0, True)
    contents = torch.randn(20, 8)
    size = torch.tensor([3, 0, 1, 5, 2, 5])
    rows, places = torch.randint(20, (16,)), torch.randint(5, (16,))
    together = encoder(contents, Tokens(rows, places, size))
    assert torch.equal(together[1], torch.zeros(8))
    for k, (row, place) in enumerate(
        zip(rows.split(size.tolist()), places.split(size.tolist()), strict=True)
    ):
        alone = encoder(contents, Tokens(row, place, size[k : k + 1]))
        torch.testing.assert_close(together[k : k + 1], alone, rtol=1e-5, atol=1e-6)
    first, second = (layer.linear1.weight for layer in encoder.layers)
    assert not torch.equal(first, second), "the layers start alike"


@pytest.mark.parametrize("seed", range(5))
def test_the_last_items_without_one_are_those_of_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    users, parts, ids = rng.integers(7, size=90), rng.integers(2, size=90), rng.integers(6, size=90)
    history = OrderedHistory(8, 2, users, parts, ids, 4)
    cells = torch.from_numpy(rng.integers(16, size=40))
    without = torch.from_numpy(rng.integers(6, size=40))
    for left_out in (None, without):
        bags, places = history.last_of(cells, left_out)
        found = list(zip(bags.ids.split(bags.size.tolist()), places.split(bags.size.tolist()), strict=True))
        for k, cell in enumerate(cells.tolist()):
            part, user = divmod(cell, 8)
            all_of = [i for u, p, i in zip(users, parts, ids, strict=True) if (u, p) == (user, part)]
            kept = [i for i in all_of if left_out is None or i != without[k]][-4:]
            assert found[k][0].tolist() == kept
            assert found[k][1].tolist() == list(range(len(kept), 0, -1))
            assert history.all_of(cells[k : k + 1]).ids.tolist() == all_of
