"""``pretrained_items`` and ``pretrained_users``: vectors into a model that is built and not yet loaded or trained."""

from __future__ import annotations

from collections.abc import Mapping
from logging import getLogger
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_mm.errors import WrongUse, suggest
from recbole_mm.layer.feature import FeatureTable
from recbole_mm.modality import ModalityStore
from recbole_mm.plug.stores import KINDS, feature_table, refuse_other_rows, used_stores, vectors_of
from recbole_mm.plug.table import IN, OUT, Plug, Use, plug_into
from recbole_mm.plug.target import SEPARABLE, Target, no_table, tables_of

_log = getLogger("recbole_mm.plug")
_DONE = {
    "init": "first values of",
    "add": "added to",
    "replace": "in the place of",
    "concat": "beside, through a linear layer,",
}


def plug(config: Any, dataset: Any, model: Any) -> list[dict[str, Any]]:
    """Put the vectors that ``config`` names into the embeddings of ``model``; says what it did.

    Config keys: ``pretrained_items``, ``pretrained_users``, ``pretrained_use``, ``pretrained_mode``, ``freeze``,
    ``pretrained_at``, and those of `vectors_of`.

    Args:
        config: the configuration.
        dataset: the training part.
        model: built, on its device.

    Returns:
        For each store a plain dict: ``of``, ``name``, ``path``, ``fingerprint``, ``covered``, ``total``, ``width``,
        ``tables`` (name -> width). [] where nothing is asked for.

    Raises:
        WrongUse: the model has no such table, a store or a name is unknown, or the vectors may know the test.
    """
    stores = used_stores(config)
    use = _use(config, stores)
    generator = torch.Generator().manual_seed(int(config["seed"]))
    said = []
    for key, opened in stores.items():
        kind = KINDS[key]
        targets = tables_of(model, dataset, kind)
        if not targets:
            raise WrongUse(f"{key}: {config['model']} cannot take them: {no_table(model, kind)}")
        at = _places(config, targets)
        refuse_other_rows(key, opened, dataset)
        field = {"item": dataset.iid_field, "user": dataset.uid_field}[kind]
        vectors = vectors_of(config, key, opened, np.asarray(dataset.field2id_token[field], dtype=object))
        table = feature_table(config, vectors)
        if not table.resident and set(table.names) - set(use.frozen):
            raise WrongUse(
                f"freeze: vectors that are trained must be in memory, and those of {key} exceed feature_memory_mib: "
                f"{config['feature_memory_mib']}; raise it, or freeze them"
            )
        warm = _with_training_row(dataset, kind)
        prints = {name: store.fingerprint for name, store in opened.items()}
        for target in targets:
            # the rows of entities learn from the graph
            knows = torch.ones_like(warm) if target.entities else warm
            rest = _stay(table, knows) if _write(target, table, use, at) else (table, use)
            if rest is not None:
                part = Plug(_rows(target, len(warm)).cpu(), *rest, knows, generator, prints)
                plug_into(target.embedding, kind, target.start, part, at)
        said += [_said(kind, opened[name], name, table, targets) for name in table.names]
        _tell(said[-len(opened) :], use, at)
    if "item" in {each["of"] for each in said}:
        model.scores_from_features = True
    return said


def _use(config: Any, stores: Mapping[str, Mapping[str, ModalityStore]]) -> Use:
    mode, freeze = config["pretrained_mode"], config["freeze"]
    names = dict.fromkeys(name for opened in stores.values() for name in opened)
    if freeze == "auto":
        freeze = "none" if mode == "init" else list(names)
    freeze = "none" if freeze is None else freeze  # as yaml and the command line read that word
    if freeze in ("all", "none"):
        return Use(mode, frozenset(names if freeze == "all" else ()), freeze == "all")
    listed = [freeze] if isinstance(freeze, str) else list(freeze)
    for name in listed:
        if name not in names:
            known = [*names, "all", "none"]
            raise WrongUse(f"freeze: no vectors named {name!r}{suggest(name, known)}")
    return Use(mode, frozenset(listed))


def _places(config: Any, targets: list[Target]) -> frozenset[str]:
    """Where the vectors are seen. Raises ``WrongUse`` where input and output are not one table, or not told apart."""
    given = config["pretrained_at"]
    at = frozenset([IN, OUT] if given is None else [given] if isinstance(given, str) else given)
    if at == {IN, OUT}:
        return at
    if not at:
        raise WrongUse("pretrained_at: an empty list; name input, output or both")
    model = config["model"]
    several = len(targets) > 1
    if several or config.home.__name__ not in SEPARABLE:
        why = (
            f"its tables are {', '.join(t.name for t in targets)}"
            if several
            else "input and output are not told apart in it"
        )
        raise WrongUse(
            f"pretrained_at: {model} takes vectors at input and output alike ({why}); leave pretrained_at out"
        )
    if config.home.__name__ == "BERT4Rec" and config["loss_type"] == "BPR":
        raise WrongUse(
            "pretrained_at: BERT4Rec looks up its targets as its input under loss_type: BPR; use loss_type: CE"
        )
    return at


def _with_training_row(dataset: Any, kind: str) -> Tensor:
    """BoolTensor ``[n]``: the ids with a training row."""
    n = {"user": dataset.user_num, "item": dataset.item_num}[kind]
    warm = torch.zeros(n, dtype=torch.bool)
    warm[torch.from_numpy(np.unique(dataset.pairs["train"][("user", "item").index(kind)]))] = True
    return warm


def _rows(target: Target, n: int) -> Tensor:
    """The rows ``[n, d]`` of the ids in the parameter itself."""
    own = target.embedding._parameters["weight"]
    assert own is not None
    return own.detach()[target.start : target.start + n]


def _write(target: Target, table: FeatureTable, use: Use, at: frozenset[str]) -> bool:
    """Write first values that nothing is added to, of the table's width, into its rows; whether it could."""
    (first, *more), rows = table.names, _rows(target, len(table.present))
    if use.mode != "init" or more or use.frozen or len(at) < 2 or table.widths[first] != rows.shape[1]:
        return False
    present = table.present[:, 0]
    rows[present.to(rows.device)] = table(first)[present].to(rows.device)
    return True


def _stay(table: FeatureTable, knows: Tensor) -> tuple[FeatureTable, Use] | None:
    """Vectors that were written and that no training row is about stay as they are; None where there are none."""
    cold = table.present & ~knows.unsqueeze(1)
    sources = {name: table.source(name) for name in table.names}
    return (FeatureTable(sources, cold), Use("replace", table.names)) if bool(cold.any()) else None


def _said(
    kind: str, store: ModalityStore, name: str, table: FeatureTable, targets: list[Target]
) -> dict[str, Any]:
    present = table.present[:, table.names.index(name)]
    return {
        "of": kind,
        "name": name,
        "path": str(store.path),
        "encoder": store.encoder,
        "fingerprint": store.fingerprint,
        "covered": int(present.sum()),
        "total": len(present) - 1,
        "width": store.width,
        "tables": {target.name: target.embedding.embedding_dim for target in targets},
    }


def _tell(said: list[dict[str, Any]], use: Use, at: frozenset[str]) -> None:
    """One line a store."""
    for each in said:
        learned = {d for d in each["tables"].values() if use.mode == "concat" or d != each["width"]}
        through = "".join(
            f", {each['width']} -> {d} by a {'fixed' if use.fixed else 'learned'} projection"
            for d in sorted(learned)
        )
        _log.info(
            "pretrained %ss, %s: %d of %d (%.1f %%) have a vector, %d-d, %s, from %s; %s %s%s%s; the vectors are %s",
            each["of"], each["name"], each["covered"], each["total"], 100 * each["covered"] / max(each["total"], 1),
            each["width"], each["encoder"], each["path"], _DONE[use.mode], ", ".join(each["tables"]), through,
            "" if len(at) == 2 else f", at the {min(at)} alone",
            "frozen" if each["name"] in use.frozen else "trained",
        )  # fmt: skip
