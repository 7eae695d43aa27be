"""Weights of another run as the first ones, also where users and items have come or gone: rows go by token.

The tokens of a run's users and items stand in its checkpoints, in the order of its ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.utils import ModelType
from torch import Tensor

from recbole_mm.data.training_hash import pair_hashes
from recbole_mm.errors import WrongUse
from recbole_mm.model.traits import trait
from recbole_mm.run.folder import TRAINED_ON, RunFolder
from recbole_mm.trainer.checkpoint import read_checkpoint

_log = getLogger("recbole_mm.trainer")
#: blocks of rows of a parameter: ("user" | "item", rows for each) or ("", number of rows)
Blocks = Sequence[tuple[str, int]]


def tokens_of(dataset: Any) -> dict[str, str]:
    """Users and items in the order of their ids, each joined by line ends, which no token holds."""
    fields = {"user": dataset.uid_field, "item": dataset.iid_field}
    return {kind: "\n".join(dataset.field2id_token[field]) for kind, field in fields.items()}


def stores_of(dataset: Any) -> dict[str, str]:
    """Fingerprints of the stores behind the features of a data set's items, by modality, as they were read."""
    table = getattr(dataset, "modality", None)
    return {} if table is None else {name: origin.fingerprint for name, origin in table.origins.items()}


def check_same_data(state: dict[str, Any], dataset: Any, name: str) -> None:
    """Raise ``WrongUse`` where the rows of the weights in ``state`` belong to others than those of ``dataset``."""
    here = tokens_of(dataset)
    for kind, tokens in state.get("tokens", {}).items():
        if tokens != here[kind]:
            raise WrongUse(
                f"{name}: the {kind}s are not those of the checkpoint, or come in another order: the data files "
                f"in {dataset.dataset_path} have changed or are of another set; put them back, or start a new run with "
                "these weights by init_from"
            )
    for modality, stores in stores_of(dataset).items():
        if state.get("stores", {}).get(modality, stores) != stores:
            raise WrongUse(
                f"{name}: the store of {modality} is another than when the checkpoint was written; put it back, or "
                "start a new run with these weights by init_from"
            )


def warm_start(model: Any, dataset: Any, checkpoint: str) -> None:
    """Give ``model`` the weights in ``checkpoint``; rows of new users and items keep their first values.

    Raises:
        WrongUse: it is of another model or other sizes, it does not say its tokens, or whose rows a parameter has
            cannot be told.
    """
    state = read_checkpoint(checkpoint)
    if "tokens" not in state:
        raise WrongUse(f"init_from: {checkpoint} does not name its users and items; train it again")
    if model.type == ModelType.TRADITIONAL:
        raise WrongUse(f"init_from: {type(model).__name__} trains no weights; leave init_from out")
    there = {kind: pd.Index(text.split("\n")) for kind, text in state["tokens"].items()}
    here = {kind: pd.Index(text.split("\n")) for kind, text in tokens_of(dataset).items()}
    old, own = state["state_dict"], model.state_dict()
    strange = sorted(old.keys() ^ own.keys())
    if strange:
        raise WrongUse(
            f"init_from: {checkpoint} is of another model or other settings: {strange[0]} is in one alone"
        )
    known = {kind: there[kind].get_indexer(here[kind]) for kind in here}  # id there, -1 for new ones
    same = all(here[kind].equals(there[kind]) for kind in here)
    blocks = trait(model, "id_rows")()
    with torch.no_grad():
        for name, value in own.items():
            if same and value.shape == old[name].shape:
                value.copy_(old[name])
            else:
                of_rows = blocks.get(name) or _inferred(name, value, old[name], here, there)
                _take_rows(name, value, old[name], of_rows, known, there)
    _log.info(
        "weights of %s: %s",
        checkpoint,
        ", ".join(f"{(k[1:] >= 0).sum()} of {len(k) - 1} {kind}s" for kind, k in known.items()),
    )


def start_pairs(dataset: Any, checkpoint: str) -> np.ndarray:
    """What the weights in ``checkpoint`` learned from (`recbole_mm.data.training_hash.pair_hashes`).

    Tokens of another data set may be those of other users and items; there a warning must do.

    Raises:
        WrongUse: among it are pairs that ``dataset``, the training part, holds out.
    """
    file = Path(checkpoint).parent / TRAINED_ON
    if not file.is_file():
        _log.warning(
            "init_from: there is no %s, so whether its weights have seen held-out rows is not known", file
        )
        return np.zeros(0, dtype=np.uint64)
    seen = np.load(file)
    held_out = np.setdiff1d(pair_hashes(dataset, "valid", "test"), pair_hashes(dataset, "train"))
    if leaked := len(np.intersect1d(held_out, seen)):
        of, name = RunFolder.open(checkpoint).read_spec().dataset, dataset.config["dataset"]
        said = (
            f"init_from: {checkpoint} was trained on {leaked} of the {len(held_out)} pairs that this run holds out for "
            "validation and test"
        )
        if of == name:
            raise WrongUse(f"{said}; give both the same split, or one by time")
        _log.warning("%s, if a user and an item of %s are those of the same name in %s", said, of, name)
    return seen


def _inferred(name: str, value: Tensor, old: Tensor, here: dict[str, Any], there: dict[str, Any]) -> Blocks:
    """The blocks of a parameter by its number of rows here and there, and by its name where that leaves a choice."""
    rows = (len(value), len(old)) if value.dim() else (0, 0)

    def fits(*kinds: str) -> bool:
        extra = [
            n - sum(len(tokens[kind]) for kind in kinds)
            for n, tokens in zip(rows, (here, there), strict=True)
        ]
        return extra[0] == extra[1] and extra[0] in (0, 1, 2)  # BERT4Rec has a row for the mask

    candidates = [kinds for kinds in (("user",), ("item",), ("user", "item")) if value.dim() and fits(*kinds)]
    named = [kinds for kinds in candidates if all(kind in name for kind in kinds)] or candidates
    certain = rows[0] != rows[1] or any(kind in name for kinds in named for kind in kinds)
    if len(named) == 1 and certain:
        extra = rows[0] - sum(len(here[kind]) for kind in named[0])
        return [*((kind, 1) for kind in named[0]), *([("", extra)] if extra else [])]
    if not candidates and value.shape == old.shape:
        return [("", rows[0])]
    raise WrongUse(
        f"init_from: {name} has the shape {tuple(old.shape)} there and {tuple(value.shape)} here, and whose rows "
        "they are is not known; the model's id_rows() can say it"
    )


def _take_rows(
    name: str, value: Tensor, old: Tensor, blocks: Blocks, known: dict[str, np.ndarray], there: dict[str, Any]
) -> None:
    if not value.dim():
        value.copy_(old)
        return
    to, start, old_start = [], 0, 0
    for kind, size in blocks:
        ids = known[kind] if kind else np.arange(size)
        repeat, n_old = (size, len(there[kind])) if kind else (1, size)
        rows = np.where(ids[:, None] >= 0, ids[:, None] * repeat + np.arange(repeat) + old_start, -1).ravel()
        to.append(rows)
        start, old_start = start + len(rows), old_start + n_old * repeat
    source = torch.from_numpy(np.concatenate(to))
    if start != len(value) or old_start != len(old) or value.shape[1:] != old.shape[1:]:
        raise WrongUse(
            f"init_from: {name} has the shape {tuple(old.shape)} there and {tuple(value.shape)} here"
        )
    kept = source >= 0
    value[kept] = old[source[kept]].to(value.device, value.dtype)
