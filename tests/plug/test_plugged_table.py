"""The plugged embedding by itself: several stores, what learns, vectors on disk, what is kept between lookups."""

from __future__ import annotations

import copy
from collections.abc import Collection

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recbole_mm.layer.feature import FeatureTable
from recbole_mm.plug.table import IN, OUT, Plug, PluggedEmbedding, Use, plug_into

N, WIDTH, START, ROWS = 9, 4, 3, 14
PRESENT = torch.ones(N, 2, dtype=torch.bool)
PRESENT[0] = PRESENT[4] = False  # padding, and an item that no store holds
PRESENT[2, 0] = False  # one that the second alone holds
WARM = torch.ones(N, dtype=torch.bool)
WARM[6] = False


class Drawn:
    """Vectors, 0 where absent."""

    def __init__(self, width: int, column: int) -> None:
        values = np.random.default_rng(width).standard_normal((N, width)).astype(np.float32)
        self.values = values * PRESENT[:, column : column + 1].numpy()
        self.width, self.nbytes = width, values.nbytes

    def take(self, items: np.ndarray) -> np.ndarray:
        return self.values[items]


def plugged(
    mode: str,
    frozen: Collection[str] = ("v", "t"),
    *,
    fixed: bool = False,
    budget: int = 1 << 20,
    start: int = START,
    at: frozenset[str] = frozenset([IN, OUT]),
) -> PluggedEmbedding:
    """Stores v of the table's width and t of another, in the rows 3 … 11 of 14."""
    torch.manual_seed(1)
    embedding = nn.Embedding(ROWS if start else N, WIDTH, padding_idx=0)
    features = FeatureTable({"v": Drawn(WIDTH, 0), "t": Drawn(6, 1)}, PRESENT, budget)
    own = embedding.weight.detach()[start : start + N]
    generator = torch.Generator().manual_seed(1)
    prints = {"v": "1", "t": "2"}
    plug_into(
        embedding, "item", start, Plug(own, features, Use(mode, frozen, fixed), WARM, generator, prints), at
    )
    assert isinstance(embedding, PluggedEmbedding)
    return embedding


def naive(embedding: PluggedEmbedding) -> Tensor:
    """Row by row, by the formulas of the docstring."""
    part, rows = embedding.plugs["item"], embedding.own.detach().clone()
    start, p = embedding.starts["item"], part.projections
    for i in range(N):
        if not PRESENT[i].any():
            continue
        total = torch.zeros(WIDTH)
        for name in ("v", "t"):
            vector = torch.from_numpy(part.features.source(name).take(np.array([i]))[0])
            total = total + (p[f"of_{name}"] @ vector if f"of_{name}" in p else vector)
        own = rows[start + i] if WARM[i] else torch.zeros(WIDTH)
        if part.use.mode == "concat":
            own = part.mix @ own
        rows[start + i] = total if part.use.mode in ("init", "replace") else own + total
    return rows.detach()


def test_vectors_without_a_training_row_stay_under_weight_decay() -> None:
    embedding = plugged("replace", (), start=0)
    before = embedding.weight.detach().clone()
    optimizer = torch.optim.Adam(embedding.plugs["item"].vectors.parameters(), lr=0.1, weight_decay=0.5)
    embedding.weight.square().sum().backward()
    optimizer.step()
    stay = PRESENT.any(dim=1) & ~WARM
    assert stay.any() and torch.equal(embedding.weight[stay], before[stay])
    assert not torch.isclose(
        embedding.weight[PRESENT.any(dim=1) & WARM], before[PRESENT.any(dim=1) & WARM]
    ).all()


def test_a_vector_that_is_absent_stays_so_where_all_items_are_trained() -> None:
    features = FeatureTable({"v": Drawn(WIDTH, 0), "t": Drawn(WIDTH, 1)}, PRESENT, 1 << 20)
    warm = torch.ones(N, dtype=torch.bool)
    plug = Plug(torch.ones(N, WIDTH), features, Use("replace", ()), warm, torch.Generator(), {})
    plug(torch.ones(N, WIDTH)).sum().backward()
    for k, vectors in enumerate(plug.vectors.values()):
        assert torch.equal((vectors.grad != 0).any(dim=1), PRESENT[:, k])


def test_stores_of_like_names_are_two() -> None:
    torch.manual_seed(1)
    embedding, names = nn.Embedding(N, WIDTH), ("a.b", "a_b")
    features = FeatureTable({name: Drawn(WIDTH, k) for k, name in enumerate(names)}, PRESENT, 1 << 20)
    plug = Plug(
        embedding.weight.detach(),
        features,
        Use("replace", ()),
        WARM,
        torch.Generator(),
        dict.fromkeys(names, "1"),
    )
    assert len(plug.vectors) == 2


@pytest.mark.parametrize("mode", ["init", "add", "replace", "concat"])
@pytest.mark.parametrize("start", [0, START])
def test_two_stores_in_every_mode_and_every_lookup(mode: str, start: int) -> None:
    embedding = plugged(mode, start=start)
    if mode == "concat":
        nn.init.normal_(embedding.plugs["item"].mix)
    expected = naive(embedding)
    torch.testing.assert_close(embedding.weight, expected)
    few, many = (
        torch.tensor([0, start, start + 2, start + 4, start + 6]),
        torch.arange(len(expected)).repeat(3, 2),
    )
    for ids in (few, many, torch.tensor([start + 1])):
        torch.testing.assert_close(embedding(ids), expected[ids])


@pytest.mark.parametrize("mode", ["init", "add", "replace", "concat"])
@pytest.mark.parametrize(
    ("frozen", "fixed"), [((), False), (("t",), False), (("v", "t"), False), (("v", "t"), True)]
)
def test_what_learns(mode: str, frozen: tuple[str, ...], fixed: bool) -> None:
    """docs/plug.md: the table of modes and freeze."""
    embedding = plugged(mode, frozen, fixed=fixed)
    embedding.weight.square().sum().backward()
    part, grad = embedding.plugs["item"], embedding.own.grad
    learns = (grad[START : START + N] != 0).any(dim=1)
    absent = ~PRESENT.any(dim=1)
    assert torch.equal(learns, absent if mode in ("init", "replace") else absent | WARM)
    assert set(part.vectors) == {f"of_{name}" for name in ("v", "t") if name not in frozen}
    for name, vectors in part.vectors.items():
        held = PRESENT[:, ["of_v", "of_t"].index(name)]
        assert torch.equal((vectors.grad != 0).any(dim=1), held & WARM)
    assert set(part.projections) == ({"of_v", "of_t"} if mode == "concat" else {"of_t"})
    for projection in part.projections.values():
        assert projection.requires_grad != fixed
        assert fixed or bool(projection.grad.any())
    assert (part.mix is not None) == (mode == "concat")
    assert part.mix is None or bool(part.mix.grad.any())


def test_projections_start_at_the_scale_of_the_table() -> None:
    part = plugged("add").plugs["item"]
    rows = part.features("t")[PRESENT.any(dim=1)] @ part.projections["of_t"].t()
    own = plugged("add").own[START : START + N][PRESENT.any(dim=1)]
    expected = own.pow(2).mean().sqrt() / 2**0.5  # two stores share it
    torch.testing.assert_close(rows.pow(2).mean().sqrt(), expected)


def test_vectors_on_disk_give_the_same_rows_and_gradients() -> None:
    here, there = plugged("add"), plugged("add", budget=0)
    assert here.plugs["item"].features.resident and not there.plugs["item"].features.resident
    for ids in (None, torch.tensor([START + 1, START + 6])):
        for each in (here, there):
            each.zero_grad()
            (each.weight if ids is None else each(ids)).pow(3).sum().backward()
        for (name, one), (_, other) in zip(here.named_parameters(), there.named_parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, msg=name)


def test_what_is_kept_is_never_old() -> None:
    embedding = plugged("add")
    ids = torch.arange(ROWS).unsqueeze(0)
    assert embedding.weight is embedding.weight  # once a step
    with torch.no_grad():
        assert not embedding.weight.requires_grad
    for _ in range(2):  # the graph of the first is gone, the weights are the same
        embedding(ids).sum().backward()
    optimizer = torch.optim.SGD(embedding.parameters(), lr=0.1)
    optimizer.step()
    torch.testing.assert_close(embedding(ids)[0], naive(embedding))
    with torch.no_grad():
        embedding.load_state_dict(
            {k: v * 2 for k, v in embedding.state_dict().items() if "extra" not in k}, False
        )
        torch.testing.assert_close(embedding(ids)[0], naive(embedding))
    _ = embedding.weight
    torch.testing.assert_close(copy.deepcopy(embedding).weight, embedding.weight)


def test_an_evaluation_sees_what_a_fused_optimiser_wrote() -> None:
    embedding, few = plugged("add"), torch.tensor([START + 1, START + 2])
    optimizer = torch.optim.Adam(embedding.parameters(), lr=0.1, fused=True)
    for _ in range(3):
        embedding.eval()
        with torch.no_grad():
            torch.testing.assert_close(embedding.weight, naive(embedding))
        embedding.train()
        optimizer.zero_grad()
        embedding(few).sum().backward()  # fewer rows than a block: it is not computed
        optimizer.step()


@pytest.mark.parametrize("place", [IN, OUT])
def test_at_input_or_output_alone(place: str) -> None:
    embedding = plugged("add", start=0, at=frozenset([place]))
    rows = {IN: embedding(torch.arange(N).unsqueeze(0))[0], OUT: embedding.weight}
    for where, found in rows.items():
        torch.testing.assert_close(found, naive(embedding) if where == place else embedding.own)
    torch.testing.assert_close(embedding(torch.arange(N)), rows[OUT])


def test_the_parameter_keeps_its_name() -> None:
    assert "weight" in dict(plugged("add").named_parameters())
    assert [k for k in plugged("init", ()).state_dict() if "of_" in k] == [
        "plugs.item.vectors.of_v",
        "plugs.item.vectors.of_t",
        "plugs.item.projections.of_t",
    ]
