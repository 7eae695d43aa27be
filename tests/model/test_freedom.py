"""FREEDOM against its formula, node by node and pair by pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_mm.errors import WrongUse
from recbole_mm.testing import Built
from tests.model.naive_graph import NaiveGraph, softplus


def make(folder: Path, modalities: list[str], **settings: Any) -> NaiveGraph:
    return NaiveGraph("FREEDOM", folder, modalities, **{"graph_k": 3, "modal_weight": 0.5, **settings})


def similar_items(naive: NaiveGraph, weights: dict[str, float], k: int = 3) -> np.ndarray:
    """S, the modalities' weights brought to 1 over those an item has."""
    graphs = {m: naive.similar(naive.vectors[m], k, binary=True) for m in weights}
    total = np.zeros((naive.n_items, naive.n_items))
    for i in range(naive.n_items):
        has = [m for m in weights if i in naive.vectors[m]]
        for m in has:
            total[i] += weights[m] / sum(weights[n] for n in has) * graphs[m][i]
    return total


def nodes(
    naive: NaiveGraph, weights: dict[str, float], layers: int = 1, pairs: Any = None
) -> tuple[Any, Any]:
    users, items = naive.lightgcn(naive.adjacency(pairs), 2)
    hidden = naive.weight("ids.item.weight")
    for _ in range(layers):
        hidden = similar_items(naive, weights) @ hidden if weights else 0 * hidden
    return users, items + hidden


@pytest.mark.parametrize(
    ("given", "weights"),
    [
        ({"image": 0.1}, {}),
        ({"image": 0.1}, {"text": 1.0}),
        ({"image": 0.1}, {"text": 0.9, "image": 0.1}),
        ({"image": 0.1}, {"text": 0.45, "image": 0.1, "audio": 0.45}),
        (None, {"text": 0.5, "image": 0.5}),
    ],
)
def test_scores_are_the_formula(tmp_path: Path, given: Any, weights: dict[str, float]) -> None:
    naive = make(tmp_path, list(weights), modality_weights=given)
    users, items = nodes(naive, weights)
    expected = [[users[u] @ items[i] for i in range(1, naive.n_items)] for u in range(1, 6)]
    found = naive.built.scores(torch.arange(1, 6)).double().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", [0, 2])
def test_layers_over_the_similar_items(tmp_path: Path, layers: int) -> None:
    weights = {"text": 0.9, "image": 0.1}
    naive = make(tmp_path, list(weights), n_item_layers=layers)
    users, items = nodes(naive, weights, layers)
    found = naive.built.scores(torch.arange(1, 6)).double().numpy()
    np.testing.assert_allclose(found, users[1:6] @ items[1:].T, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("modalities", [["text"], ["text", "image"]], ids=len)
@pytest.mark.parametrize("n_negatives", [1, 3])
def test_loss_is_bpr_over_the_thinned_graph(tmp_path: Path, modalities: list[str], n_negatives: int) -> None:
    sampling = {"distribution": "uniform", "sample_num": n_negatives}
    naive = make(tmp_path, modalities, train_neg_sample_args=sampling, drop_ratio=0.6)
    model, batch = naive.model, naive.built.batch(5)
    model.train()
    ranking, modal = (loss.item() for loss in model.calculate_loss(batch))
    epoch, _ = model._thinned
    generator = torch.Generator().manual_seed(model.seed * 1_000_003 + epoch)
    kept = [tuple(pair) for pair in model.ids.thinned(0.6, generator).t().tolist()]
    assert epoch == 0 and set(kept) < set(naive.pairs) and len(kept) == int(0.4 * len(naive.pairs))
    weights = {"text": 1.0} if modalities == ["text"] else {"text": 0.9, "image": 0.1}
    users, items = nodes(naive, weights, pairs=kept)
    terms, by_modality = [], {m: [] for m in modalities}
    for u, i, negatives in naive.rows(batch):
        for n in negatives:
            terms.append(softplus(users[u] @ items[n] - users[u] @ items[i]))
            for m, known in naive.vectors.items():
                if i in known and n in known:
                    f_i, f_n = (naive.linear(f"projections.{m}", known[item]) for item in (i, n))
                    by_modality[m].append(softplus(users[u] @ f_n - users[u] @ f_i))
    assert ranking == pytest.approx(sum(terms) / len(terms), rel=1e-4)
    expected = 0.5 * sum(sum(each) / len(each) for each in by_modality.values() if each)
    assert modal == pytest.approx(expected, rel=1e-4)


def test_the_graph_is_drawn_anew_each_epoch_and_whole_in_evaluation(tmp_path: Path) -> None:
    naive = make(tmp_path, ["text"], drop_ratio=0.5)
    model, drawn = naive.model, []
    model.train()
    for batch in [*naive.built.train_data, *naive.built.train_data]:
        model.calculate_loss(batch)
        drawn.append(model._graph().by_row.values().tolist() if not drawn or model.training else None)
    steps = len(naive.built.train_data)
    # what is asked for behind the last step of an epoch is of the next
    epochs = [drawn[: steps - 1], drawn[steps - 1 : 2 * steps - 1]]
    assert all(each == epoch[0] for epoch in epochs for each in epoch)
    assert epochs[0][0] != epochs[1][0]
    model.eval()
    assert model._graph() is model.ids.graph


def test_edges_of_the_busy_are_dropped_first(tmp_path: Path) -> None:
    """The share of draws in which each edge stays, against draws one by one."""
    naive = make(tmp_path, ["text"])
    part, generator = naive.model.ids, torch.Generator().manual_seed(5)
    # a busy user of 4 items, two of which others have too
    part.pairs = torch.tensor([[0, 0, 0, 0, 1, 2], [0, 1, 2, 3, 0, 1]])
    users, items = part.pairs
    weight = [
        1 / np.sqrt(int((users == u).sum()) * int((items == i).sum())) for u, i in part.pairs.t().tolist()
    ]
    draws, stayed = 4000, np.zeros(6)
    for _ in range(draws):
        for u, i in part.thinned(0.5, generator).t().tolist():
            stayed[[tuple(p) for p in part.pairs.t().tolist()].index((u, i))] += 1
    rng, expected = np.random.default_rng(1), np.zeros(6)
    for _ in range(draws):
        left = list(range(6))
        for _ in range(3):
            p = np.array([weight[e] for e in left])
            left.remove(rng.choice(left, p=p / p.sum()))
        expected += [e not in left for e in range(6)]
    np.testing.assert_allclose(stayed / draws, expected / draws, atol=0.04)
    assert stayed[4] > 1.2 * stayed[0]


def test_a_score_is_the_sum_of_its_parts(tmp_path: Path) -> None:
    naive = make(tmp_path, ["text", "image"])
    users, items = torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6])
    scores = naive.built.scores(users)
    with torch.no_grad():
        parts = naive.model.score_parts(users, items)["item"]
    assert list(parts) == ["id", "similar items"]
    torch.testing.assert_close(sum(parts.values()), scores[torch.arange(3), items - 1])


def test_without_the_modal_loss_there_are_no_projections(tmp_path: Path) -> None:
    naive = make(tmp_path, ["text"], modal_weight=0.0)
    assert {name for name, _ in naive.model.named_parameters()} == {"ids.user.weight", "ids.item.weight"}
    assert len(naive.model.calculate_loss(naive.built.batch(5))) == 1


def test_weights_above_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongUse) as said:
        make(tmp_path, ["text", "image"], modality_weights={"image": 0.75, "text": 0.5, "audio": 0.5})
    assert (
        str(said.value) == "modality_weights: expected at most 1 together, got {'image': 0.75, 'text': 0.5}"
    )


@pytest.mark.parametrize("model", ["FREEDOM", "DRAGON"])
def test_a_weight_of_no_modality_is_said(tmp_path: Path, model: str) -> None:
    said = {
        names: NaiveGraph(
            model, tmp_path / "-".join(("at", *names)), [*names], modality_weights={"image": 0.1}
        )
        for names in (("text", "audio"), ("text", "image"), ("text",), ())
    }
    assert {names: naive.model.without_effect() for names, naive in said.items()} == {
        ("text", "audio"): [f"{model}: there are no vectors of image, which modality_weights names"],
        ("text", "image"): [], ("text",): [], (): [],
    }  # fmt: skip


def test_the_seed_decides_the_draws(tmp_path: Path) -> None:
    kept = [make(tmp_path / str(k), ["text"], seed=seed).built for k, seed in enumerate((1, 1, 2))]

    def drawn(built: Built) -> Any:
        built.model.train()
        return built.model._graph().by_row.col_indices().tolist()

    first, same, other = (drawn(built) for built in kept)
    assert first == same != other
