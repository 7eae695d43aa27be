"""Items that came after training, known by their vectors alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_mm.errors import WrongUse
from recbole_mm.modality import ModalityStore, align, find_stores
from recbole_mm.model.traits import trait

_CANNOT = "{} cannot score items that it was not trained with"
#: by modality, the stores that hold it
Stores = Mapping[str, Sequence[ModalityStore]]


class NewItems:
    """Items with vectors of the model's modalities, encoded by the model.

    Args:
        model: trained.
        dataset: with ``modality``, which knows how features were scaled.
        tokens: ``[n]``, none of which the data know.
        stores: of each modality.
        domain: number of the domain that they belong to, -1 where there is one.

    Raises:
        WrongUse: the model scores no new items, or one has no vector at all.
    """

    def __init__(
        self,
        model: Any,
        dataset: Any,
        tokens: Sequence[str],
        stores: Stores,
        domain: int,
    ) -> None:
        self.tokens, self._domain = list(tokens), domain
        if not (dataset.modality and trait(model, "scores_from_features")):
            raise WrongUse(_CANNOT.format(type(model).__name__))
        if control := dataset.config["feature_control"]:
            raise WrongUse(
                f"feature_control: {control}: features of this run mean nothing, so new items have none"
            )
        if dataset.config["finetune_encoder"]:
            raise WrongUse(
                "finetune_encoder: this model makes vectors of texts itself and has none of new items"
            )
        contents, present = features_of(dataset, self.tokens, stores)
        without = np.flatnonzero(~present.any(axis=1))
        if len(without):
            more = f" (and {len(without) - 1} more)" if len(without) > 1 else ""
            where = ", ".join(str(store.path) for each in stores.values() for store in each) or "no store"
            raise WrongUse(f"new item {self.tokens[without[0]]!r}{more} has no vector in {where}")
        self._vectors = encode_content(model, contents, present)

    def scores(self, model: Any, users: np.ndarray) -> Tensor:
        """``[B, n]`` for ``users [B]`` (ids)."""
        user_emb = model.user_vectors(torch.from_numpy(users).to(self._vectors.device))
        own = user_emb[:, 0 if user_emb.shape[1] == 1 else self._domain]
        return own @ self._vectors.t()


def encode_content(model: Any, contents: Sequence[np.ndarray], present: np.ndarray) -> Tensor:
    """Item vectors ``[n, d]`` from scaled features ``[n, D]`` of each modality and a mask ``[n, M]``.

    Raises:
        WrongUse: the model scores no items by their features alone.
    """
    device = next(model.parameters()).device
    given = [torch.from_numpy(values).to(device) for values in contents]
    with torch.no_grad():
        found = trait(model, "encode_content")(given, torch.from_numpy(present).to(device)) if given else None
    if found is None:
        raise WrongUse(_CANNOT.format(type(model).__name__))
    return found  # type: ignore[no-any-return]


def features_of(dataset: Any, tokens: Sequence[str], stores: Stores) -> tuple[list[np.ndarray], np.ndarray]:
    """Scaled vectors ``[n, D]`` by modality, as the model was trained on, and which there are ``[n, M]``."""
    contents, masks = [], []
    for name, modality in (dataset.modality or {}).items():
        values = np.zeros((len(tokens), modality.width), dtype=np.float32)
        found = np.zeros(len(tokens), dtype=bool)
        for store in stores.get(name, ()):
            if store.width != modality.width:
                raise WrongUse(
                    f"{store.path}: {store.width}-d vectors, the model was trained on {modality.width}-d"
                )
            rows = align(store.tokens, ["", *tokens]).rows[1:]
            here = (rows >= 0) & ~found
            values[here] = modality.scaled(np.asarray(store.values[rows[here]], dtype=np.float32))
            found |= here
        contents.append(values)
        masks.append(found)
    present = np.stack(masks, axis=1) if masks else np.zeros((len(tokens), 0), dtype=bool)
    return contents, present


def read_tokens(file: str | Path) -> list[str]:
    """Item tokens: a line each, or all of a store's where ``file`` is its folder.

    Raises:
        WrongUse: there is no such file, it is empty, or a token occurs twice.
    """
    path = Path(file).expanduser()
    if path.is_dir():
        return [str(token) for token in ModalityStore.open(path).tokens]
    if not path.is_file():
        raise WrongUse(f"{path}: no such file; it should hold an item's token a line")
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    tokens = [line.strip() for line in lines if line.strip()]
    if not tokens:
        raise WrongUse(f"{path}: no token in it; one a line")
    twice = [token for token, count in Counter(tokens).items() if count > 1]
    if twice:
        raise WrongUse(f"{path}: token {twice[0]!r} occurs twice")
    return tokens


def stores_of(dataset: Any, folder: str | Path | None) -> dict[str, list[ModalityStore]]:
    """By modality the stores below ``folder``, or where that is None those that the run was trained on.

    Raises:
        WrongUse: there is none of any of the modalities.
    """
    names = list(dataset.modality or {})
    if folder is None:
        parts = dataset.store_parts().items() if names else ()
        return {name: [ModalityStore.open(path) for path, _ in paths] for name, paths in parts}
    place = Path(folder).expanduser()
    found = {name: path for name, path in find_stores(place).items() if name in names}
    if not found:
        raise WrongUse(f"{place}: no store of {' or '.join(names) or 'any modality: the model has none'}")
    return {name: [ModalityStore.open(path)] for name, path in found.items()}
