"""Where the positives of a batch stand in their rows: list position, mean rank, number of candidates."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recbole_mm.layer.topk import top_k

SORT_NS, COMPARE_NS, CALL_NS = 8.0, 0.5, 4000.0
"""Measured cost of sorting one score, of comparing one with a positive, and of one numpy call pair."""


@dataclass(frozen=True)
class BatchRanks:
    """Ranks of one batch of B rows with P positives.

    position [P]      0-based place in the top-k list, -1 outside it
    mean_rank [P]     1-based rank in the row, ties averaged (None unless asked for)
    candidates [B]    columns that are not masked (None unless asked for)
    columns [B, k]    the list itself, -1 where only masked columns were left (None unless asked for)
    """

    position: np.ndarray
    mean_rank: np.ndarray | None
    candidates: np.ndarray | None
    columns: np.ndarray | None


def rank_batch(
    scores: Tensor,
    pos_row: Tensor,
    pos_col: Tensor,
    pos_score: Tensor,
    k: int,
    *,
    need_auc: bool,
    need_list: bool,
) -> BatchRanks:
    """Rank the positives. Masked columns hold -inf. ``scores`` is left as it was.

    *Shapes*: scores [B, n]; pos_row, pos_col, pos_score [P], rows ascending. k is cut to n.
    """
    k = min(k, scores.shape[1])
    mean_rank = candidates = columns = None
    if need_auc:
        greater, equal, candidates = _count(scores, pos_row, pos_score)
        mean_rank = greater + (equal + 1) / 2
    if need_auc and not need_list:
        # The order of a tie is the top-k's to decide: only rows where that matters need one.
        position = np.where(greater < k, greater, -1)
        tied = torch.from_numpy((equal > 1) & (greater < k)).to(scores.device)
        if bool(tied.any()):
            rows, local = torch.unique(pos_row[tied], return_inverse=True)
            values, indices = top_k(scores[rows], k)
            found = _positions(values, indices, local, pos_col[tied], pos_score[tied])
            position[tied.cpu().numpy()] = found.cpu().numpy()
    else:
        values, indices = top_k(scores, k)
        position = _positions(values, indices, pos_row, pos_col, pos_score).cpu().numpy()
        if need_list:
            columns = indices.masked_fill(values == -torch.inf, -1).cpu().numpy()
    return BatchRanks(position, mean_rank, candidates, columns)


def _positions(values: Tensor, indices: Tensor, row: Tensor, col: Tensor, score: Tensor) -> Tensor:
    """Place of each (row, col) in its list, -1 where it is not there; [P]."""
    position = torch.full_like(row, -1)
    # Few positives reach the list, so only those at or above its last value are looked up (NaN counts as above).
    near = (~(score < values[row, -1])).nonzero().squeeze(1)
    step = max(1, (1 << 22) // max(values.shape[1], 1))
    for part in near.split(step):
        match = indices[row[part]] == col[part].unsqueeze(1)
        place = match.to(torch.uint8).argmax(1)
        position[part] = torch.where(match.any(1), place, -1)
    return position


def _count(scores: Tensor, pos_row: Tensor, pos_score: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns above and equal to each positive (itself included) [P], and unmasked columns of each row [B]."""
    B, n = scores.shape
    P = len(pos_row)
    if scores.device.type != "cpu":
        return _search(scores.sort(dim=1).values, pos_row, pos_score)
    rows, values = scores.numpy(), pos_score.numpy()
    bounds = np.searchsorted(pos_row.numpy(), np.arange(B + 1))
    if P * (CALL_NS + COMPARE_NS * n) > B * n * SORT_NS:
        rows = rows.copy()
        _in_threads(lambda a, b: rows[a:b].sort(axis=1), B)
        return _search(torch.from_numpy(rows), pos_row, pos_score)
    greater, equal = np.empty(P, np.int64), np.empty(P, np.int64)
    candidates = np.empty(B, np.int64)

    def compare(start: int, stop: int) -> None:
        flags = np.empty(n, bool)
        for b in range(start, stop):
            row = rows[b]
            candidates[b] = np.count_nonzero(np.greater(row, -np.inf, out=flags))
            for p in range(bounds[b], bounds[b + 1]):
                greater[p] = np.count_nonzero(np.greater(row, values[p], out=flags))
                equal[p] = np.count_nonzero(np.equal(row, values[p], out=flags))

    _in_threads(compare, B)
    return greater, equal, candidates


def _search(ordered: Tensor, pos_row: Tensor, pos_score: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same counts by binary search in rows sorted ascending; each row's positives padded to one width."""
    B, n = ordered.shape
    count = torch.bincount(pos_row, minlength=B)
    first = count.cumsum(0) - count
    slot = torch.arange(len(pos_row), device=pos_row.device) - first[pos_row]
    # One column more asks for -inf: its right end is the number of masked columns.
    wanted = torch.full((B, int(count.max()) + 1), -torch.inf, dtype=ordered.dtype, device=ordered.device)
    wanted[pos_row, slot + 1] = pos_score
    right = torch.searchsorted(ordered, wanted, right=True)
    last = right[pos_row, slot + 1]
    equal = torch.ones_like(last)
    tied = ((ordered[pos_row, (last - 2).clamp_min(0)] == pos_score) & (last > 1)).nonzero().squeeze(1)
    if len(tied):  # rare: the score below a positive is its own
        left = torch.searchsorted(ordered[pos_row[tied]], pos_score[tied].unsqueeze(1)).squeeze(1)
        equal[tied] = last[tied] - left
    return (n - last).cpu().numpy(), equal.cpu().numpy(), (n - right[:, 0]).cpu().numpy()


def _in_threads(work: Callable[[int, int], object], rows: int) -> None:
    """Run ``work(start, stop)`` over equal parts of the rows, one thread for each of torch's (numpy frees the GIL)."""
    threads = min(torch.get_num_threads(), rows)
    if threads <= 1:
        work(0, rows)
        return
    edges = np.linspace(0, rows, threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, edges, edges[1:]))  # raises what a thread raised
