"""iALS against its objective, row by row in numpy, and against the gradient of all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_mm.errors import Failure
from recbole_mm.model import ials
from recbole_mm.testing import Built, write_toy


def make(folder: Path, **settings: Any) -> Built:
    given = {"embedding_size": 5, "n_iterations": 3, "reg_weight": 0.02, "unobserved_weight": 0.3, **settings}
    return Built("iALS", {**write_toy(folder, []), **given})


def rows_of(built: Built) -> list[tuple[int, int]]:
    feat = built.train_data._dataset.inter_feat
    return sorted(set(zip(feat["user_id"].tolist(), feat["item_id"].tolist(), strict=True)))


def solve(
    of: list[list[int]], others: np.ndarray, reg_weight: float, exponent: float, unobserved: float
) -> np.ndarray:
    """The least squares of each row by themselves: every other is a row of weight α₀ and target 0."""
    found = np.zeros((len(of), others.shape[1]))
    for row, taken in enumerate(of[1:], start=1):
        matrix, total = np.zeros((others.shape[1],) * 2), np.zeros(others.shape[1])
        for k, vector in enumerate(others[1:], start=1):
            matrix += unobserved * np.outer(vector, vector)
            if k in taken:
                matrix += np.outer(vector, vector)
                total += vector
        weight = len(taken) + unobserved * (len(others) - 1)
        found[row] = np.linalg.solve(matrix + reg_weight * weight**exponent * np.eye(len(total)), total)
    return found


@pytest.mark.parametrize(
    "settings", [{}, {"reg_exponent": 0.0}, {"unobserved_weight": 0.0}, {"embedding_size": 40}]
)
def test_vectors_are_the_least_squares_of_each_side_in_turn(tmp_path: Path, settings: dict[str, Any]) -> None:
    built = make(tmp_path, **settings)
    model, pairs = built.model, rows_of(built)
    of_users = [[i for u, i in pairs if u == user] for user in range(model.n_users)]
    of_items = [[u for u, i in pairs if i == item] for item in range(model.n_items)]
    items = model.item_emb.numpy().astype(float)
    assert items[1:].std() == pytest.approx(0.1 / items.shape[1] ** 0.5, rel=0.25)
    weights = model.reg_weight, model.reg_exponent, model.unobserved_weight
    for _ in range(3):
        users = solve(of_users, items, *weights)
        items = solve(of_items, users, *weights)
    users = solve(of_users, items, *weights)
    np.testing.assert_allclose(built.scores(), (users @ items.T)[1:, 1:], atol=1e-4)
    np.testing.assert_allclose(model.user_emb, users, atol=1e-4)


def test_it_ends_where_the_objective_is_flat(tmp_path: Path) -> None:
    built = make(tmp_path, n_iterations=400)
    built.scores()
    model, pairs = built.model, rows_of(built)
    w, h = (x.double().requires_grad_() for x in (model.user_emb[1:], model.item_emb[1:]))
    target = torch.zeros(len(w), len(h), dtype=torch.double)
    for u, i in pairs:
        target[u - 1, i - 1] = 1.0
    product, n_users, n_items = w @ h.t(), len(w), len(h)
    loss = ((product - 1).square() * target).sum() + 0.3 * product.square().sum()
    loss = loss + 0.02 * ((target.sum(1) + 0.3 * n_items) * w.square().sum(1)).sum()
    loss = loss + 0.02 * ((target.sum(0) + 0.3 * n_users) * h.square().sum(1)).sum()
    loss.backward()
    assert max(w.grad.abs().max(), h.grad.abs().max()) < 1e-3 and w.abs().max() > 0.1


def test_blocks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make(tmp_path / "a").scores()
    monkeypatch.setattr(ials, "_BLOCK", 60)  # two rows at once, six of their vectors
    torch.testing.assert_close(make(tmp_path / "b").scores(), whole, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_someone_with_the_items_of_a_user_scores_as_the_user(tmp_path: Path) -> None:
    built = make(tmp_path)
    items = torch.tensor([i for u, i in rows_of(built) if u == 7])
    scores = built.model.score_history(torch.cat([items, items[:2]]))
    torch.testing.assert_close(scores[1:], built.scores(torch.tensor([7]))[0], rtol=1e-4, atol=1e-5)


def test_what_has_no_training_row_has_no_vector(tmp_path: Path) -> None:
    built = make(tmp_path)
    model = built.model
    model.of_users.count[0, 4] = 0
    assert not built.scores(torch.tensor([4])).any() and built.scores(torch.tensor([5])).any()


def test_a_stored_one_is_not_solved_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(tmp_path / "a")
    scores, state = first.scores(), first.model.state_dict()
    again = make(tmp_path / "b")
    again.model.load_state_dict(state)
    monkeypatch.setattr(again.model, "_solve_rows", None)
    assert torch.equal(again.scores(), scores)


def test_a_matrix_without_an_inverse_is_one_line(tmp_path: Path) -> None:
    built = make(tmp_path, reg_weight=0.0, unobserved_weight=0.0, embedding_size=30)
    with pytest.raises(Failure) as caught:
        built.scores()
    assert str(caught.value) == (
        "iALS: the matrix of a user or an item is not positive definite; raise reg_weight: 0.0"
    )
