from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from recbole_mm.data.modality import ItemModality
from recbole_mm.data.scaling import fit_scaling, scaling_by_modality
from recbole_mm.errors import WrongUse

VALUES = (
    np.random.default_rng(0).standard_normal((200, 4)) @ np.array([[3, 1, 0, 0]] * 2 + [[0, 1, 2, 5]] * 2)
).astype(np.float32) + np.array([5, -2, 0, 1], np.float32)


def scaled(kind: str | None) -> np.ndarray:
    rows = np.array([-1, *range(200)])
    return ItemModality(VALUES, rows, kind).take(np.arange(1, 201))


def test_standardize() -> None:
    np.testing.assert_allclose(scaled("standardize").mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled("standardize").std(axis=0), 1, rtol=1e-4)


def test_whiten_on_the_directions_the_items_span() -> None:
    white = scaled("whiten")
    eigenvalues = np.linalg.eigvalsh(np.cov(white.T, bias=True))
    spanned = int((np.linalg.eigvalsh(np.cov(VALUES.T)) > 1e-3).sum())
    assert 1 <= spanned < 4  # two rank-one maps
    np.testing.assert_allclose(eigenvalues[-spanned:], 1, rtol=1e-3)
    np.testing.assert_allclose(eigenvalues[:-spanned], 0, atol=1e-4)


def test_shrinkage_lies_between_whitening_and_centring() -> None:
    values = np.random.default_rng(0).normal(size=(300, 5)) @ np.diag([5, 2, 1, 0.5, 0.1]) + 3
    values = (values @ np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]).astype(np.float32)
    covariance = np.cov(values.T, bias=True)
    for s in (0.0, 0.3, 1.0):
        scale = fit_scaling("whiten", lambda rows: values[rows], np.arange(300), s)
        assert scale is not None
        shrunk = (1 - s) * covariance + s * np.trace(covariance) / 5 * np.eye(5)
        root = np.real(sqrtm(np.linalg.inv(shrunk)))
        np.testing.assert_allclose(scale(values), (values - values.mean(0)) @ root, atol=1e-3)
    centred = values - values.mean(axis=0)
    np.testing.assert_allclose(scale(values), centred / np.sqrt(np.trace(covariance) / 5), atol=1e-3)


def test_l2_and_none() -> None:
    np.testing.assert_allclose(np.linalg.norm(scaled("l2"), axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(scaled(None), VALUES)


def test_absent_stays_zero() -> None:
    modality = ItemModality(VALUES, np.array([-1, 3, -1]), "standardize")
    assert not modality.take(np.array([0, 2])).any()


def test_scaling_may_differ_by_modality() -> None:
    both = ["text", "image"]
    assert scaling_by_modality("l2", both, True) == {"text": "l2", "image": "l2"}
    assert scaling_by_modality(None, both, True) == {"text": None, "image": None}
    assert scaling_by_modality({"text": "whiten"}, both, True) == {"text": "whiten", "image": None}
    with pytest.raises(WrongUse, match=r"no modality 'txt'; there are text, image"):
        scaling_by_modality({"txt": "whiten"}, both, True)


def test_a_run_without_a_modality_forgives_its_scaling() -> None:
    assert scaling_by_modality({"text": "whiten", "image": "l2"}, ["text"], False) == {"text": "whiten"}
