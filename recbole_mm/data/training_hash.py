"""What a model learned from: a store or weights made from other training rows may have seen this run's test.

It stands as ``training_rows`` in the manifest of a store that a pre-training wrote. Vectors of the items alone (their
text, their images) have none.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd

from recbole_mm.modality import review_key

#: the entry of a store's manifest, under its ``metadata``
TRAINING_ROWS = "training_rows"


def training_hash(part: Any) -> str:
    """sha256 of the distinct training pairs, ordered by user and by item token, a line ``user U+001F item`` for each.

    It is the same for every family of models on one split: the first item of a sequence is among the pairs.

    Args:
        part: any part of a data set that was built (`recbole_mm.data.seen.keep_pairs`); it knows the training pairs.
    """
    users, items = part.pairs["train"]
    tokens, ranks = zip(
        *(_ranked(part.field2id_token[field]) for field in (part.uid_field, part.iid_field)), strict=True
    )
    width = len(tokens[1])
    pairs = np.unique(ranks[0][users].astype(np.int64) * width + ranks[1][items])
    digest = hashlib.sha256()
    for block in np.array_split(pairs, len(pairs) // 65536 + 1):
        lines = map(review_key, tokens[0][block // width], tokens[1][block % width])
        digest.update("".join(f"{line}\n" for line in lines).encode())
    return digest.hexdigest()


def pair_hashes(part: Any, *phases: str) -> np.ndarray:
    """A number for each distinct pair of the ``phases``, made of its tokens, so that any data set has the same; sorted.

    *Shapes*: returns uint64 ``[n]``. The sizes of data sets are far from those where two pairs would share a number.
    """
    # 16 characters each, as pandas wants; a token is another number among users than among items
    keys = "recbole_mm users", "recbole_mm items"
    of_token = [
        pd.util.hash_array(np.asarray(part.field2id_token[field], dtype=object), hash_key=key)
        for field, key in zip((part.uid_field, part.iid_field), keys, strict=True)
    ]
    pairs = [part.pairs[phase] for phase in phases if phase in part.pairs]
    found = [of_token[0][users] ^ of_token[1][items] for users, items in pairs]
    return np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *found]))


def _ranked(tokens: Any) -> tuple[np.ndarray, np.ndarray]:
    """Tokens in the order of their characters, and the place in it of each id."""
    tokens = np.asarray(tokens, dtype=object)
    order = np.argsort(tokens, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return tokens[order], place
