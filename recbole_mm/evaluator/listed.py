"""The pass of RecBole's ``uniN`` and ``popN`` loaders, without its users × items matrix."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from recbole_mm.evaluator.auc import pooled_auc
from recbole_mm.evaluator.full import Progress
from recbole_mm.evaluator.question import Asked
from recbole_mm.evaluator.rank import BatchRanks, rank_batch
from recbole_mm.evaluator.record import Record, Wanted
from recbole_mm.evaluator.registered import Registered
from recbole_mm.evaluator.score import predict_rows


def listed_pass(
    model: Any,
    eval_data: Any,
    wanted: Wanted,
    size: int,
    device: Any,
    progress: Progress,
    own: Registered | None = None,
    asked: Asked | None = None,
) -> Record:
    """Rank the positives among the negatives that RecBole's own loader draws (the same, in the same order).

    RecBole writes the scores into a matrix of -inf, so an item drawn twice for a user counts once. Here a user's
    distinct items are the columns of a narrow row. ``size``: rows of one call of ``predict``. ``own`` gets the matrix,
    ``asked`` what was drawn.
    """
    dataset = eval_data._dataset
    I = dataset.item_num  # noqa: E741
    ranks: list[BatchRanks] = []
    users: list[np.ndarray] = []
    pos: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    negatives: list[np.ndarray] = []
    done = 0
    for interaction, row_of, positive_u, positive_i in progress(eval_data):
        scores = predict_rows(model, interaction, device, size).float().cpu()
        cell = row_of.numpy() * I + interaction[dataset.iid_field].cpu().numpy()
        cell, first = np.unique(cell, return_index=True)
        row, item = np.divmod(cell, I)
        B = int(row[-1]) + 1
        count = np.bincount(row, minlength=B)
        slot = np.arange(len(row)) - (np.cumsum(count) - count)[row]
        narrow = _matrix((B, int(count.max())), row, slot, scores[torch.from_numpy(first)])
        item_at = np.full(narrow.shape, -1, np.int64)
        item_at[row, slot] = item
        pos_cell = np.unique(positive_u.numpy() * I + positive_i.numpy())
        at = np.searchsorted(cell, pos_cell)
        pos_row, pos_col = torch.from_numpy(row[at]), torch.from_numpy(slot[at])
        score = narrow[pos_row, pos_col]
        if own is not None:
            wide = _matrix((B, I), row, item, scores[torch.from_numpy(first)])
            own.collect(wide, interaction, positive_u, positive_i)
        ranked = rank_batch(
            narrow, pos_row, pos_col, score, wanted.k, need_auc=wanted.query_auc, need_list=wanted.lists
        )
        ranks.append(ranked if ranked.columns is None else _items(ranked, item_at))
        user = np.empty(B, np.int64)
        user[row_of.numpy()] = interaction[dataset.uid_field].cpu().numpy()
        users.append(user)
        if asked is not None:
            asked.lists(user, row, item, at)
        pos.append((row[at] + done, item[at], score.numpy()))
        if wanted.pooled_auc:
            narrow[pos_row, pos_col] = -torch.inf
            negatives.append(narrow[narrow > -torch.inf].numpy())
        done += B
    record = _record(users, pos, ranks, wanted, I)
    if wanted.pooled_auc:
        record.pooled = pooled_auc(record.pos_score, negatives)
    return record


def _matrix(
    shape: tuple[int, int], row: np.ndarray, column: np.ndarray, values: torch.Tensor
) -> torch.Tensor:
    """``values`` [N] at (row, column), -inf elsewhere."""
    matrix = torch.full(shape, -torch.inf)
    matrix[torch.from_numpy(row), torch.from_numpy(column)] = values
    return matrix


def _record(
    users: list[np.ndarray],
    pos: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    ranks: list[BatchRanks],
    wanted: Wanted,
    items: int,
) -> Record:
    """From the users [B], the positives (query, item, score) and the ranks of each batch."""
    user = np.concatenate(users)
    query, item, score = (np.concatenate(p) for p in zip(*pos, strict=True))
    record = Record(user, None, np.bincount(query, minlength=len(user)), query, item, score, items)
    record.make_room(wanted)
    first_query = first_positive = 0
    for user, ranked in zip(users, ranks, strict=True):
        queries = slice(first_query, first_query + len(user))
        positives = slice(first_positive, first_positive + len(ranked.position))
        record.store(ranked, queries, positives)
        first_query, first_positive = queries.stop, positives.stop
    return record


def _items(ranked: BatchRanks, item_at: np.ndarray) -> BatchRanks:
    columns = ranked.columns
    assert columns is not None
    items = np.where(columns < 0, -1, np.take_along_axis(item_at, np.maximum(columns, 0), axis=1))
    return replace(ranked, columns=items)
