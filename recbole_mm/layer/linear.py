"""Weights of linear models between items, in the memory of one matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.linalg.lapack import get_lapack_funcs

#: a step's share of the matrix: what is in memory beside it
STEPS = 64


def ease_weights(interactions: Any, reg_weight: float, dtype: str = "float32") -> np.ndarray:
    r"""The weights of EASE (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW).

    .. math:: P = (X^\top X + \lambda I)^{-1} \qquad B_{ij} = - P_{ij} / P_{jj},\ B_{jj} = 0

    The matrix is filled, factored (Cholesky), inverted and scaled in one place, a part of its rows at a time.

    Args:
        interactions: X, sparse ``[U, I]``.
        reg_weight: λ.
        dtype: ``float32`` or ``float64``.

    Returns:
        B ``[I, I]``.

    Raises:
        numpy.linalg.LinAlgError: the matrix is not positive definite in this precision.
    """
    x = interactions.tocsr().astype(dtype, copy=False)
    transposed, n = x.T.tocsr(), x.shape[1]
    weights = np.empty((n, n), dtype)
    for low, high in _steps(n):
        (transposed[low:high] @ x).toarray(out=weights[low:high])
    weights.flat[:: n + 1] += reg_weight
    _invert(weights)
    scale = -weights.diagonal()
    weights /= scale
    np.fill_diagonal(weights, 0.0)
    return weights


def _invert(matrix: np.ndarray) -> None:
    """A symmetric positive definite ``[n, n]`` becomes its inverse."""
    factor, invert = get_lapack_funcs(("potrf", "potri"), (matrix,))
    # LAPACK reads columns: those of the transpose are the rows here
    for step, where in ((factor, "overwrite_a"), (invert, "overwrite_c")):
        result, info = step(matrix.T, lower=True, **{where: True})
        assert np.shares_memory(result, matrix)
        if info:
            raise np.linalg.LinAlgError("not positive definite")
    for low, high in _steps(len(matrix)):  # one triangle of it is there
        own = matrix[low:high, low:high]
        own[:] = np.triu(own) + np.triu(own, 1).T
        matrix[high:, low:high] = matrix[low:high, high:].T


def _steps(n: int) -> Iterator[tuple[int, int]]:
    size = -(-n // STEPS)
    return ((low, min(n, low + size)) for low in range(0, n, size))
