"""EASE: RecBole's scores in the memory of one matrix; where that is too large, a sparse approximation or one line."""

from __future__ import annotations

import logging
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import ease as theirs
from scipy import sparse

from recbole_mm.errors import Failure, WrongUse
from recbole_mm.layer.linear import ease_weights
from recbole_mm.model import ease, get_model, is_recbole
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec
from recbole_mm.serialize import from_plain, to_plain
from recbole_mm.testing import Built, write_toy


def matrix(users: int, items: int, each: int = 12) -> sparse.csr_matrix:
    rng = np.random.default_rng(3)
    chosen = (rng.random((users, each)) ** 2 * items).astype(int)
    cells = np.unique(np.arange(users)[:, None] * items + chosen)
    return sparse.csr_matrix((np.ones(len(cells), "f4"), divmod(cells, items)), shape=(users, items))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("items", [1, 2, 63, 64, 65, 130])
def test_weights_are_the_formula(items: int, dtype: str) -> None:
    x = matrix(90, items)
    gram = (x.T @ x).toarray().astype(float) + 7.5 * np.eye(items)
    inverse = np.linalg.inv(gram)
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    found = ease_weights(x, 7.5, dtype)
    assert found.dtype == dtype and found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 if dtype == "float32" else 1e-13)


def peak_of(call: Callable[[], Any]) -> int:
    """Bytes above those at the start."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_one_matrix_is_in_memory() -> None:
    x = matrix(2000, 1500)
    assert peak_of(lambda: ease_weights(x, 100.0)) < 1.3 * 4 * 1500**2


def test_scores_are_those_of_recbole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["test"])
    session = Session.build(RunSpec("EASE", "ml-100k", {"use_gpu": False}))
    model, dataset = session.model, session.train_data._dataset
    expected = theirs.EASE(session.config, dataset)
    users, items = torch.arange(1, 301), torch.arange(1, 301) * 5
    batch = Interaction({"user_id": users, "item_id": items})
    full = model.full_sort_predict(batch).view(300, -1)
    assert full.dtype == torch.float32
    torch.testing.assert_close(
        full, torch.from_numpy(np.asarray(expected.full_sort_predict(batch))).view(300, -1), rtol=0, atol=1e-4
    )
    torch.testing.assert_close(model.predict(batch), full[torch.arange(300), items], rtol=0, atol=1e-5)
    assert peak_of(lambda: model.full_sort_predict(batch[:8])) < 0.1 * model.item_similarity.nbytes
    assert peak_of(lambda: model.predict(batch)) < 0.1 * model.item_similarity.nbytes


def test_a_configuration_of_recbole_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["test"])
    config = Config("EASE", "ml-100k", config_dict={"train_neg_sample_args": None, "use_gpu": False})
    assert config["precision"] is None
    model = ease.EASE(config, create_dataset(config))
    assert model.item_similarity.dtype == np.float32


def test_it_stands_for_recboles() -> None:
    own = type("EASE", (get_model("EASE"),), {"__module__": "mine"})
    assert get_model("EASE") is ease.EASE and issubclass(ease.EASE, theirs.EASE)
    assert [is_recbole(m) for m in (ease.EASE, theirs.EASE, get_model("CMC"), own)] == [
        True,
        True,
        False,
        False,
    ]


def test_a_stored_one_is_not_solved_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = write_toy(tmp_path)
    first = Built("EASE", given)
    scores, stored = first.scores(), first.model.other_parameter()
    plain = to_plain(stored)
    assert np.shares_memory(plain["solution"]["data"].numpy(), first.model.item_similarity), "a second copy"
    monkeypatch.setattr(ease, "ease_weights", None)
    again = Built("EASE", given)
    again.model.load_other_parameter(from_plain(plain))
    assert torch.equal(again.scores(), scores)


def test_the_best_is_read_where_it_lies(tmp_path: Path) -> None:
    """So the one in memory can go first."""
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("no list of mapped files")
    built = Built("EASE", write_toy(tmp_path)).fit()
    solved = built.model.solution.copy()
    built.trainer.evaluate(built.test_data, load_best_model=True)
    assert np.array_equal(built.model.solution, solved)
    assert Path(built.trainer.saved_model_file).name in maps.read_text()


def test_what_is_done_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    built = Built("EASE", {**write_toy(tmp_path), "precision": "float64"})
    with caplog.at_level(logging.INFO, "recbole_mm.model"):
        built.scores()
        built.scores()
    n = built.model.n_items
    line = f"EASE: the matrix of {n} items takes 0 MiB (float64); solved exactly"
    assert [r.getMessage() for r in caplog.records if r.name == "recbole_mm.model"] == [line]
    assert built.model.item_similarity.dtype == np.float64


def test_a_matrix_that_has_no_inverse_is_one_line(tmp_path: Path) -> None:
    built = Built("EASE", {**write_toy(tmp_path), "reg_weight": 0.0})
    with pytest.raises(Failure) as caught:
        built.scores()
    assert str(caught.value) == "EASE: X'X + 0.0 I is not positive definite; raise reg_weight"


def test_without_the_library_a_large_one_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sansa", None)
    built = Built("EASE", {**write_toy(tmp_path), "dense_memory_mib": 0})
    with pytest.raises(WrongUse) as caught:
        built.scores()
    assert str(caught.value) == (
        f"EASE: the matrix of {built.model.n_items} items takes 0 MiB (float32), above dense_memory_mib: 0, and its "
        "sparse approximation needs sansa: pip install 'recbole_mm[linear]' (scikit-sparse in it needs SuiteSparse: "
        "apt install libsuitesparse-dev), or raise dense_memory_mib"
    )


@pytest.mark.parametrize("density", [0.04, 0.9])
def test_the_approximation_ranks_much_as_the_exact_one(tmp_path: Path, density: float) -> None:
    pytest.importorskip("sansa", reason="the extra `linear` is not installed")
    given = {**write_toy(tmp_path), "reg_weight": 10.0}
    exact = Built("EASE", given)
    sparse_one = Built("EASE", {**given, "dense_memory_mib": 0, "sansa_density": density})
    a, b = exact.scores(), sparse_one.scores()
    seen = torch.from_numpy(exact.model.interaction_matrix[1:].toarray()[:, 1:]) > 0
    assert np.corrcoef(a[~seen], b[~seen])[0, 1] > (0.99 if density > 0.5 else 0.5)
