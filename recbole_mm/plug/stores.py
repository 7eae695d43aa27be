"""The stores that ``pretrained_items`` and ``pretrained_users`` name, and their vectors on a data set's ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_mm.data.modality import ItemModality, controlled
from recbole_mm.data.training_hash import TRAINING_ROWS, training_hash
from recbole_mm.errors import WrongUse, suggest
from recbole_mm.layer.feature import FeatureTable
from recbole_mm.modality import ModalityStore, align, check_coverage, find_stores
from recbole_mm.modality.format import MANIFEST

ITEMS, USERS = "pretrained_items", "pretrained_users"
#: configuration key -> whose vectors
KINDS = {ITEMS: "item", USERS: "user"}


def named_stores(config: Any, key: str) -> dict[str, Path]:
    """Name -> folder of each store that ``key`` names, before ``pretrained_use`` chooses; {} for None.

    A folder is a store or holds stores; one word that is no such folder is a modality of the data set, in
    ``modality_path``. A list joins several; a mapping gives the names.

    Raises:
        WrongUse: there is none, or two have one name.
    """
    given = config[key]
    if given is None:
        return {}
    if isinstance(given, Mapping):
        named = {str(name): Path(str(place)) for name, place in given.items()}
        for name, place in named.items():
            if not (place / MANIFEST).is_file():
                raise WrongUse(f"{key}: {name!r} points to {place}, where no store is")
        return named
    found: dict[str, Path] = {}
    for text in [given] if isinstance(given, str) else given:
        for name, place in _found(config, key, str(text)).items():
            if name in found:
                raise WrongUse(
                    f"{key}: {found[name]} and {place} are both named {name!r}; name them, such as {{a: {place}}}"
                )
            found[name] = place
    return found


def _found(config: Any, key: str, text: str) -> dict[str, Path]:
    place = Path(text).expanduser()
    if (place / MANIFEST).is_file():
        return {ModalityStore.open(place).name: place}
    if several := find_stores(place):
        return several
    usual = Path(str(config["modality_path"])) / str(config["dataset"])
    there = find_stores(usual)
    if key == ITEMS and text in there:
        return {text: there[text]}
    if place.is_dir():
        raise WrongUse(f"{key}: {text} is no store and holds none")
    near = there if key == ITEMS else ()
    raise WrongUse(f"{key}: no store {text}, neither a folder nor in {usual}{suggest(text, near)}")


def used_stores(config: Any) -> dict[str, dict[str, ModalityStore]]:
    """Key -> name -> store, those of ``pretrained_use``; only keys that are given.

    Raises:
        WrongUse: an unknown name, or a key of whose stores none is used.
    """
    named = {key: named_stores(config, key) for key in KINDS if config[key]}
    every = dict.fromkeys(name for stores in named.values() for name in stores)
    use = config["pretrained_use"]
    wanted = list(every) if use is None else [use] if isinstance(use, str) else list(use)
    for name in wanted:
        if name not in every:
            raise WrongUse(f"pretrained_use: no vectors named {name!r}{suggest(name, every)}")
    opened = {}
    for key, stores in named.items():
        chosen = {name: ModalityStore.open(stores[name]) for name in wanted if name in stores}
        if not chosen:
            raise WrongUse(
                f"pretrained_use: {', '.join(wanted) or 'an empty list'} is none of {key}: {', '.join(stores)}"
            )
        opened[key] = chosen
    return opened


def refuse_other_rows(key: str, stores: Mapping[str, ModalityStore], dataset: Any) -> None:
    """Refuse a store that was pre-trained on other training rows than those of ``dataset``, the training part.

    Raises:
        WrongUse: the manifest's ``training_rows`` is not the hash of these rows; both are named.
    """
    here = None
    for store in stores.values():
        there = (store.manifest.get("metadata") or {}).get(TRAINING_ROWS)
        if there is None:
            continue
        here = here or training_hash(dataset)
        if there != here:
            raise WrongUse(
                f"{key}: {store.path} was pre-trained on the training rows {there[:16]}, and those of this run are "
                f"{here[:16]}: it may have seen what is tested here; pre-train with this data set, its filters and "
                "its split"
            )


def vectors_of(
    config: Any, key: str, stores: Mapping[str, ModalityStore], tokens: np.ndarray
) -> dict[str, ItemModality]:
    """The vectors of each store on the ids of ``tokens [n]``.

    Config keys: ``min_coverage``, ``feature_scaling``, ``whitening_shrinkage``, ``feature_control``,
    ``feature_missing``, ``split_seed``.

    Raises:
        WrongUse: a store describes no id, or fewer than ``min_coverage``.
    """
    rng = np.random.default_rng(config["split_seed"])
    scaling = config["feature_scaling"]
    made = {}
    for name, store in stores.items():
        store.verify()
        found = align(store.tokens, tokens)
        what = f"{KINDS[key]}s"
        if not found.present.any():
            raise WrongUse(
                f"{key}: {store.path} holds vectors of {store.rows:,} {what}, none of them of {config['dataset']}; "
                f"one of the data set is {tokens[-1]!r}, one of the store {store.tokens[0]!r}"
            )
        check_coverage(name, found, config["min_coverage"], tokens, store.tokens)
        of_store = scaling.get(name) if isinstance(scaling, Mapping) else scaling
        made[name] = controlled(config, store.values, found.rows, rng, of_store)
    return made


def feature_table(config: Any, vectors: Mapping[str, Any]) -> FeatureTable:
    """The vectors as a part of a model: in memory up to ``feature_memory_mib``, else on disk."""
    present = torch.from_numpy(np.stack([each.present for each in vectors.values()], axis=1))
    return FeatureTable(vectors, present, int(config["feature_memory_mib"]) << 20)
