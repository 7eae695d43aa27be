"""The pass of a full-ranking loader: score, mask, rank, one batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from recbole_mm.evaluator.auc import pooled_auc
from recbole_mm.evaluator.query import Batch, EvalTask, by_row
from recbole_mm.evaluator.rank import BatchRanks, rank_batch
from recbole_mm.evaluator.record import Record, Wanted
from recbole_mm.evaluator.registered import Registered
from recbole_mm.evaluator.sampled import rank_lists
from recbole_mm.evaluator.score import Scorer

Progress = Callable[[Sequence[Any]], Any]


class Share(Protocol):
    """A process that evaluates with others (`recbole_mm.trainer.workers.Workers`)."""

    def part(self, count: int) -> range:
        """The share of ``count`` batches that is done here."""

    def merge(self, arrays: Sequence[tuple[np.ndarray, slice]]) -> None:
        """Fill the rows of the other processes; ``slice``: this process's own."""


def full_pass(
    scorer: Scorer,
    eval_data: Any,
    task: EvalTask,
    wanted: Wanted,
    negatives: dict[str, np.ndarray],
    progress: Progress,
    own: Registered | None = None,
    share: Share | None = None,
) -> Record:
    """Rank the positives of every query; ``negatives``: item ids [P, N] of each sampled protocol.

    ``own`` sees what is ranked, too. ``share``: other processes rank the rest of the queries, whose ranks are then
    here.
    """
    pos_score = np.empty(len(task.pos_query))
    record = Record(task.user, task.domain, task.n_pos, task.pos_query, task.pos_item, pos_score, task.items)
    record.make_room(wanted)
    neg_score = {name: np.empty(ids.shape) for name, ids in negatives.items()}
    numbers = range(len(task.batches)) if share is None else share.part(len(task.batches))
    for index in progress(numbers):
        batch = task.batches[index]
        # Results go into arrays made before: small blocks that stay would lie between the large ones that malloc
        # is to use again, and the heap would grow by a batch every few batches (measured: 3.4 GiB).
        part = task.positives_of(batch)
        row, item = _positives(task, part, batch, scorer.device)
        interaction = interaction_of(eval_data, task, batch)
        scores = scorer(interaction, task.columns.get(batch.domain))
        for name, ids in negatives.items():
            columns = torch.from_numpy(ids[part]).to(scorer.device).clamp_min(0)
            neg_score[name][part] = scores[row.unsqueeze(1), columns].cpu().numpy()
        scores, col = candidates_of(scores, task, batch, item)
        cell = row * scores.shape[1] + col
        kept = scores.view(-1).index_select(0, cell)
        pos_score[part] = kept.cpu().numpy()
        if wanted.ranking:
            mask(scores, task.mask_of(index))
            scores.view(-1)[cell] = kept  # a positive is never masked, whatever the history says
            if own is not None:
                own.collect(_all_items(scores, task, batch), interaction, row, item)
            ranked = rank_batch(
                scores, row, col, kept, wanted.k, need_auc=wanted.query_auc, need_list=wanted.lists
            )
            record.store(_global_items(ranked, task, batch), slice(batch.start, batch.stop), part)
        del scores
    if share is not None:
        _merge(share, task, numbers, record, [pos_score, *neg_score.values()])
    for name, values in neg_score.items():
        record.sampled[name] = rank_lists(pos_score, values, negatives[name] >= 0)
    if wanted.pooled_auc:
        record.pooled = pooled_auc(pos_score, _negative_scores(scorer, eval_data, task))
    return record


def _merge(
    share: Share, task: EvalTask, numbers: range, record: Record, of_positives: Sequence[np.ndarray]
) -> None:
    """Exchange the ranks of the queries: this process has those of the batches ``numbers``."""
    mine = [task.batches[index] for index in numbers]
    queries = slice(mine[0].start, mine[-1].stop) if mine else slice(0, 0)
    start, stop = np.searchsorted(task.pos_query, [queries.start, queries.stop])
    positives = slice(int(start), int(stop))
    arrays = [(array, positives) for array in (*of_positives, record.position, record.mean_rank)]
    arrays += [(array, queries) for array in (record.candidates, record.lists)]
    share.merge([(array, rows) for array, rows in arrays if array is not None])


def interaction_of(eval_data: Any, task: EvalTask, batch: Batch) -> Any:
    """The loader's own rows for the queries of a batch (a slice where they are consecutive: no copy)."""
    rows = task.row[batch.start : batch.stop]
    consecutive = rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all()
    index = slice(int(rows[0]), int(rows[-1]) + 1) if consecutive else rows
    if not by_row(eval_data):
        return eval_data.user_df[index]
    dataset = eval_data._dataset
    return eval_data.transform(dataset, dataset[index])


def candidates_of(scores: Tensor, task: EvalTask, batch: Batch, item: Tensor) -> tuple[Tensor, Tensor]:
    """The batch's candidate columns, and the columns of its positives. PAD is masked or no candidate."""
    if not torch.is_floating_point(scores):
        scores = scores.float()
    if batch.domain not in task.columns:
        scores[:, 0] = -torch.inf
        return scores, item
    columns = task.columns[batch.domain]
    local = torch.from_numpy(task.local).to(scores.device)[item]
    if columns[-1] - columns[0] == len(columns) - 1:
        return scores[:, int(columns[0]) : int(columns[-1]) + 1].contiguous(), local
    return scores.index_select(1, torch.from_numpy(columns).to(scores.device)), local


def _all_items(scores: Tensor, task: EvalTask, batch: Batch) -> Tensor:
    """Scores of all items [B, I], -inf where one is no candidate."""
    if batch.domain not in task.columns:
        return scores
    wide = scores.new_full((len(scores), task.items), -torch.inf)
    wide[:, torch.from_numpy(task.columns[batch.domain]).to(scores.device)] = scores
    return wide


def mask(scores: Tensor, cells: np.ndarray) -> None:
    """Put -inf on flat cells, in place."""
    if scores.device.type == "cpu":
        scores.view(-1).numpy()[cells] = -np.inf  # half the time of index_fill_
    else:
        scores.view(-1).index_fill_(0, torch.from_numpy(cells).to(scores.device), -torch.inf)


def _positives(task: EvalTask, part: slice, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Row in the batch and item of its positives."""
    row = torch.from_numpy(task.pos_query[part] - batch.start).to(device)
    return row, torch.from_numpy(task.pos_item[part]).to(device)


def _negative_scores(scorer: Scorer, eval_data: Any, task: EvalTask) -> Iterator[np.ndarray]:
    """All candidates' scores but the positives', one batch at a time: a second pass, so that none are kept."""
    for index, batch in enumerate(task.batches):
        row, item = _positives(task, task.positives_of(batch), batch, scorer.device)
        scores = scorer(interaction_of(eval_data, task, batch), task.columns.get(batch.domain))
        scores, col = candidates_of(scores, task, batch, item)
        mask(scores, task.mask_of(index))
        scores[row, col] = -torch.inf
        yield scores[scores > -torch.inf].cpu().numpy()


def _global_items(ranked: BatchRanks, task: EvalTask, batch: Batch) -> BatchRanks:
    """Columns of a domain back to item ids."""
    if ranked.columns is None or batch.domain not in task.columns:
        return ranked
    items = np.where(ranked.columns < 0, -1, task.columns[batch.domain][ranked.columns])
    return replace(ranked, columns=items)
