"""Review vectors: text features of interactions, for models that describe a user by what the user wrote.

``recbole-mm extract text --reviews`` writes them at ``<modality_path>/<dataset>.reviews/text``, with
``domains: [a, b]`` at ``a.reviews/text`` and ``b.reviews/text``. A row's token is the
:func:`~recbole_mm.modality.review_key` of the tokens in the atomic files, so vectors from elsewhere can be stored too:

>>> ModalityStore.write(path, vectors, list(map(review_key, users, items)), modality="text", encoder="minilm")

A review belongs to one interaction. Only rows of the data set that is passed in are looked up, so with the training
part no review of a validation or test interaction is ever read.
"""

from __future__ import annotations

from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_mm.data.link import own_tokens
from recbole_mm.data.modality import ItemModality, Stacked, controlled
from recbole_mm.data.seen import joined, pair_key
from recbole_mm.data.split import PARTS
from recbole_mm.errors import WrongUse
from recbole_mm.modality import SEPARATOR, ModalityStore, align, reviews_folder

TEXT = "text"


def review_vectors(config: Any, dataset: Any, with_items: bool = True) -> ItemModality:
    """The review vector of each row of ``dataset.inter_feat``; -1 in ``rows`` where it has none.

    Config keys: ``modality_path``, ``feature_control``, ``feature_missing``, ``split_seed``, and what names domains.
    The items' scaling applies where both went through one encoder; else they are as the store has them.

    Args:
        config: the configuration.
        dataset: the **training** part, its modalities loaded.
        with_items: the model has one map for reviews and the items' texts, so they must be of one encoder.

    Raises:
        WrongUse: no store, one that covers no row, another width or encoder than the items' texts have where they
            share a map, or a pair of user and item in several rows, so that a review could belong to another part.
    """
    if with_items and TEXT not in dataset.modality:
        raise WrongUse(
            f"user_text: reviews needs the item modality 'text' too, there is {list(dataset.modality)}; see modalities"
        )
    keys, domain = _keys_of_rows(dataset)
    elsewhere = _in_other_phases(dataset)
    rows, stores, offset = np.full(len(keys), -1, dtype=np.int64), [], 0
    scaled = TEXT in dataset.modality
    for path, k in review_places(config, dataset):
        store = _open(path)
        scaled = scaled and _alike(store, dataset, with_items)
        stores.append(store)
        mine = np.arange(len(keys)) if k is None else np.flatnonzero(domain == k)
        _refuse_repeated(keys[mine], elsewhere[mine], path)
        name = None if k is None else dataset.domain_names[k]
        # position 0 is padding to `align`
        found = align(_as_merged(config, name, store.tokens), np.concatenate([[""], keys[mine]])).rows[1:]
        rows[mine] = np.where(found >= 0, found + offset, -1)
        offset += store.rows
    places = ", ".join(str(store.path) for store in stores)
    covered = int((rows >= 0).sum())
    if not covered:
        raise WrongUse(
            f"{places}: no review of the {len(rows)} training interactions; its tokens must be user, U+001F, item, "
            f"such as {keys[0]!r}, and the first is {stores[0].tokens[0]!r}"
        )
    getLogger("recbole_mm.data").info(
        "reviews: %d of %d training interactions (%.1f %%), from %s",
        covered, len(rows), 100 * covered / len(rows), places,
    )  # fmt: skip
    source = stores[0].values if len(stores) == 1 else Stacked([store.values for store in stores])
    # another stream than the items' has, so that noise here is not theirs
    reviews = controlled(config, source, rows, np.random.default_rng([config["split_seed"], 1]), None)
    if scaled:
        reviews.scale = dataset.modality[TEXT].scale
    elif config["feature_scaling"]:
        getLogger("recbole_mm.data").warning(
            "feature_scaling: no item has text of the reviews' encoder, so reviews are not scaled"
        )
    return reviews


def review_places(config: Any, dataset: Any) -> list[tuple[Path, int | None]]:
    """Folder of each store and the index of its domain, None for all rows."""
    places = list(enumerate(dataset.domain_names)) if config["domains"] else [(None, config["dataset"])]
    return [(reviews_folder(config["modality_path"], name) / TEXT, k) for k, name in places]


def _open(path: Path) -> ModalityStore:
    if not path.is_dir():
        raise WrongUse(
            f"user_text: reviews, but there is no store {path}; write it with `recbole-mm extract text --reviews`"
        )
    store = ModalityStore.open(path)
    store.verify()
    return store


def _alike(store: ModalityStore, dataset: Any, needed: bool) -> bool:
    """Whether the items' texts are of the store's encoder. Raises ``WrongUse`` where they are not and it is needed."""
    items = ModalityStore.open(dataset.store_parts()[TEXT][0][0])
    alike = (store.encoder, store.width) == (items.encoder, items.width)
    if needed and not alike:
        raise WrongUse(
            f"{store.path} holds {store.encoder} ({store.width}-d), {items.path} {items.encoder} ({items.width}-d); "
            "users and items share the text encoder, so extract both with one"
        )
    return alike


def _keys_of_rows(dataset: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Per row its review key ``[n]`` and its domain ``[n]``, None with one domain."""
    feat = dataset.inter_feat
    fields = (dataset.uid_field, dataset.iid_field)
    users, items = (dataset.field2id_token[f][feat[f].numpy()].astype(object) for f in fields)
    return users + SEPARATOR + items, feat["domain"].numpy() if dataset.domain_names else None


def _in_other_phases(dataset: Any) -> np.ndarray:
    """Of each row of a part, whether its pair is in another phase, too; bool ``[n]``."""
    if not hasattr(dataset, "pairs"):  # not divided yet
        return np.zeros(len(dataset.inter_feat), dtype=bool)
    others = joined(dataset, [phase for phase in PARTS if phase != dataset.phase])
    rows = tuple(dataset.inter_feat[field].numpy() for field in (dataset.uid_field, dataset.iid_field))
    return np.isin(pair_key(rows, dataset.item_num), pair_key(others, dataset.item_num))


def _as_merged(config: Any, domain: str | None, tokens: np.ndarray) -> np.ndarray:
    """A store's tokens as the merged data set has them: linked, and kept apart where domains do not overlap."""
    if domain is None:
        return tokens
    pairs = pd.Series(tokens).str.split(SEPARATOR, n=1, expand=True).reindex(columns=[0, 1]).fillna("")
    users, items = (own_tokens(config, kind, domain, pairs[k]) for k, kind in enumerate(("user", "item")))
    return (users + SEPARATOR + items).to_numpy(dtype=object)


def _refuse_repeated(keys: np.ndarray, elsewhere: np.ndarray, path: Path) -> None:
    several = ("in several training rows", pd.Series(keys).duplicated().to_numpy())
    for where, repeated in (several, ("in training and in validation or test", elsewhere)):
        if repeated.any():
            user, item = keys[repeated.argmax()].split(SEPARATOR, 1)
            raise WrongUse(
                f"user {user!r} and item {item!r} meet {where}, but {path} holds one review of theirs; keep one row "
                "with rm_dup_inter: first"
            )
