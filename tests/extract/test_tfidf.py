from __future__ import annotations

import numpy as np

from recbole_mm.extract.tfidf import encode_tfidf

DOCUMENTS = [
    "a red cotton shirt",
    "a blue cotton shirt",
    "",
    "a steel kitchen knife",
    "... !",
    "sharp steel knife for the kitchen",
    "linen shirt, red",
]


def test_similar_documents_are_near() -> None:
    values, present = encode_tfidf(DOCUMENTS, 4, seed=1)
    assert values.shape == (7, 4) and values.dtype == np.float32
    similarity = values @ values.T
    assert similarity[0, 1] > similarity[0, 3] + 0.3
    assert similarity[3, 5] > similarity[3, 1] + 0.3
    assert np.allclose(np.linalg.norm(values[present], axis=1), 1, atol=1e-4)


def test_a_document_without_words_is_absent() -> None:
    values, present = encode_tfidf(DOCUMENTS, 4, seed=1)
    assert present.tolist() == [True, True, False, True, False, True, True]
    assert not values[~present].any()


def test_the_same_bytes_every_time_and_the_sign_does_not_hang_on_the_seed() -> None:
    first, _ = encode_tfidf(DOCUMENTS, 3, seed=1)
    again, _ = encode_tfidf(list(DOCUMENTS), 3, seed=1)
    other, _ = encode_tfidf(DOCUMENTS, 3, seed=2)
    assert first.tobytes() == again.tobytes()
    assert np.allclose(first, other, atol=1e-4)


def test_width_beyond_the_rank_is_filled_and_no_words_at_all_is_all_absent() -> None:
    values, present = encode_tfidf(["one", "two"], 8, seed=0)
    assert values.shape == (2, 8) and present.all() and not values[:, 2:].any()
    values, present = encode_tfidf(["", " "], 8, seed=0)
    assert not present.any() and not values.any()
    values, present = encode_tfidf([], 8, seed=0)
    assert values.shape == (0, 8) and present.shape == (0,)
