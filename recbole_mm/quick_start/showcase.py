"""What a page shows of a trained model beside its figures: lists of some users, and a map of the items."""

from __future__ import annotations

from logging import getLogger
from typing import Any

import numpy as np

from recbole_mm.data.describe import describe_items
from recbole_mm.errors import WrongUse, one_line
from recbole_mm.evaluator.query import EvalTask
from recbole_mm.quick_start.session import Session
from recbole_mm.run.folder import RunFolder
from recbole_mm.serve.linear import history_weights
from recbole_mm.serve.vectors import Vectors

#: users, items of a list, items of a history, items on the map
USERS, LIST, HISTORY, MAP = 60, 10, 10, 2000


def showcase(session: Session) -> dict[str, Any]:
    """Lists, histories, the map and what its items are called, as plain values.

    ``users``: a record a query: ``user``, ``domain``, ``history`` (tokens, the latest first where ``in_time``, which
    takes a column of times) with its whole length ``seen``, ``held`` (the positives of the test), ``list``.
    ``map``: ``item`` tokens, ``x``, ``y``, ``share`` of the variance on each axis; None where the model has no item
    vectors. ``items``: token -> title, category, image.
    """
    dataset = session.dataset
    tokens = np.asarray(dataset.field2id_token[dataset.iid_field], dtype=object)
    users, shown = _lists(session, tokens)
    plane = _map(session, tokens)
    text = describe_items(dataset)
    if plane is not None:
        shown = shown | set(plane.pop("ids"))
    domains = dataset.item_domain
    items = {}
    for i in sorted(shown):
        entry = {"title": text.title[i], "category": text.category[i], "image": text.image[i]}
        if domains is not None and domains[i] >= 0:
            entry["domain"] = dataset.domain_names[int(domains[i])]
        items[str(tokens[i])] = {key: str(value) for key, value in entry.items() if value}
    return {"users": users, "map": plane, "items": items}


def leave_showcase(session: Session) -> None:
    """Write the showcase into the run's folder, where it has one and a test; the run stands without it, too."""
    if session.trainer.folder is None or session.test_data is None:
        return
    try:
        session.trainer.folder.write_showcase(showcase(session))
    except Exception as error:  # a model of somebody's own may score in its own way
        getLogger("recbole_mm.run").warning("no lists and no map for the page: %s", one_line(error))


def showcase_of(folder: RunFolder) -> dict[str, Any] | None:
    """The showcase in the folder of a run, made from its weights where it has none yet; None without weights."""
    stored = folder.read_showcase()
    if stored is None and folder.best.is_file():
        stored = showcase(Session.open(folder.path))
        folder.write_showcase(stored)
    return stored


def _lists(session: Session, tokens: np.ndarray) -> tuple[list[dict[str, Any]], set[int]]:
    """The records of ``users``, and the ids of their items; none where the test ranks no whole catalogue."""
    evaluator, loader = session.trainer.mm_evaluator, session.test_data
    if evaluator is None or loader is None:
        return [], set()
    part = loader._dataset
    user, item, in_time = _histories(session)
    names = np.asarray(part.field2id_token[part.uid_field], dtype=object)
    length = np.bincount(user, minlength=part.user_num)

    def choose(task: EvalTask) -> np.ndarray:
        """Queries of users from the shortest to the longest history, whatever the order of ids."""
        users = np.unique(task.user)
        users = users[np.lexsort([names[users].astype(str), length[users]])]
        users = users[np.linspace(0, len(users) - 1, min(USERS, len(users))).round().astype(int)]
        return np.flatnonzero(np.isin(task.user, users))

    top = evaluator.top_lists(session.model, loader, LIST, choose)
    if top is None:
        return [], set()
    task, lists = top
    records, shown = [], set()
    for q, u in enumerate(task.user):
        history = item[user == u][::-1]
        held, listed = task.pos_item[task.pos_query == q], lists[q][lists[q] >= 0]
        shown |= {*history[:HISTORY].tolist(), *held.tolist(), *listed.tolist()}
        record = {"user": str(names[u]), "seen": len(history), "history": history[:HISTORY]}
        record["in_time"] = in_time
        record |= {"held": held, "list": listed}
        record = {k: tokens[v].tolist() if isinstance(v, np.ndarray) else v for k, v in record.items()}
        if task.domain is not None:
            record["domain"] = part.domain_names[int(task.domain[q])]
        records.append(record)
    return records, shown


def _histories(session: Session) -> tuple[np.ndarray, np.ndarray, bool]:
    """Users and items of the training and validation pairs, and whether they are in the order of time.

    Not where the rows have no times, or are other rows than the pairs.
    """
    parts = [loader._dataset for loader in (session.train_data, session.valid_data) if loader is not None]
    pairs = [parts[0].pairs[phase] for phase in ("train", "valid")]
    fields = parts[0].uid_field, parts[0].iid_field, parts[0].time_field
    timed = all(fields[2] in part.inter_feat for part in parts)
    if not timed or sum(len(part.inter_feat) for part in parts) != sum(len(users) for users, _ in pairs):
        user, item = (np.concatenate(each) for each in zip(*pairs, strict=True))
        return user, item, False
    # of one row each: a loader may have put the rows into another order than the pairs
    user, item, at = (np.concatenate([part.inter_feat[field].numpy() for part in parts]) for field in fields)
    order = np.argsort(at, kind="stable")
    return user[order], item[order], True


def _vectors(session: Session) -> np.ndarray | None:
    """``[I, d]``, the vectors of the items in the model's scores; None where a score is no product of vectors."""
    try:
        ranker = session.recommender.ranker
        if history_weights(ranker.model, np.array([1]), np.array([1])) is not None:
            return None  # a row of weights for each item: as wide as the catalogue
        return Vectors(ranker).items
    except WrongUse:
        return None


def _map(session: Session, tokens: np.ndarray) -> dict[str, Any] | None:
    """The first two principal components of the vectors of the most popular items; None where nothing is ranked."""
    evaluator = session.trainer.mm_evaluator
    if evaluator is not None and evaluator.labelled:  # such models score pair by pair, hours for a catalogue
        return None
    vectors = _vectors(session)
    if vectors is None:
        return None
    count = np.bincount(session.train_data._dataset.pairs["train"][1], minlength=len(tokens))
    ids = np.sort(np.argsort(-count, kind="stable")[:MAP])
    ids = ids[(ids > 0) & (count[ids] > 0)]
    x = vectors[ids].astype(np.float64)
    x -= x.mean(axis=0)
    width = x.shape[1]
    if len(ids) < 3 or width < 2 or not np.isfinite(x).all():
        return None
    from scipy.linalg import eigh

    values, axes = eigh(x.T @ x, subset_by_index=[width - 2, width - 1])
    axes = axes[:, ::-1]
    axes *= np.sign(
        axes[np.abs(axes).argmax(axis=0), [0, 1]]
    )  # a sign is arbitrary: make it the same each time
    plane = x @ axes / max(np.abs(x @ axes).max(), 1e-12)
    share = (values[::-1] / max((x**2).sum(), 1e-12)).round(4)
    points = {
        "item": tokens[ids].tolist(),
        "x": plane[:, 0].round(3),
        "y": plane[:, 1].round(3),
        "share": share,
    }
    return {"ids": ids.tolist()} | {
        k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in points.items()
    }
