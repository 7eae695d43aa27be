"""The smallest text encoder: TF-IDF, then a truncated SVD (latent semantic analysis). No download."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Digits kept after unit normalisation. The product of two matrices differs in its last bits from one
# BLAS (or number of threads) to another; what is stored should not.
DECIMALS = 6
# A row that keeps less of its (unit) TF-IDF vector than this says nothing in the space kept.
MIN_NORM = 1e-6


def encode_tfidf(documents: Sequence[str], width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Encode a whole collection; rows mean something only beside the rows of the same call.

    The sign of each axis is fixed (its largest loading is positive) and values are rounded, so the same
    documents, width and seed give the same bytes. A collection with fewer than ``width`` axes fills the
    rest with zeros.

    Shapes: ``documents`` N -> ``values`` float32 [N, width] of unit rows, ``present`` bool [N]. A
    document without a single word (empty, punctuation) is absent: its row is zero and not to be used.
    """
    from scipy.sparse.linalg import norm as sparse_norm
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    values = np.zeros((len(documents), width), dtype=np.float32)
    present = np.zeros(len(documents), dtype=bool)
    vectorizer = TfidfVectorizer(
        lowercase=True, strip_accents="unicode", sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"
    )
    try:
        weights = vectorizer.fit_transform(documents)  # [N, V], unit rows
    except ValueError as error:  # scikit-learn's way to say that there is no word at all
        if "empty vocabulary" not in str(error):
            raise
        return values, present

    rows = np.flatnonzero(sparse_norm(weights, axis=1) > 0)
    rank = min(width, len(rows), weights.shape[1])
    svd = TruncatedSVD(n_components=rank, algorithm="randomized", n_iter=7, random_state=seed)
    projected = svd.fit_transform(weights[rows])  # [present, rank]
    loadings = svd.components_  # [rank, V]
    largest = np.abs(loadings).argmax(axis=1)
    projected = projected * np.where(loadings[np.arange(rank), largest] < 0, -1.0, 1.0)

    norms = np.linalg.norm(projected, axis=1)
    kept = norms > MIN_NORM
    unit = projected[kept] / norms[kept, None]
    # + 0.0 turns -0.0 into 0.0: equal numbers, different bytes.
    values[rows[kept], :rank] = np.round(unit, DECIMALS) + 0.0
    present[rows[kept]] = True
    return values, present
