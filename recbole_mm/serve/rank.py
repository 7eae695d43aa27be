"""The best items of any users, block by block: the evaluator's scores, candidates, mask and top-k."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_mm.errors import WrongUse
from recbole_mm.evaluator.evaluator import CPU_MIB, GPU_MIB
from recbole_mm.evaluator.full import candidates_of, mask
from recbole_mm.evaluator.query import pool_of, user_task
from recbole_mm.evaluator.score import Scorer
from recbole_mm.layer.topk import top_k
from recbole_mm.serve.history import score_history
from recbole_mm.serve.new_items import NewItems
from recbole_mm.serve.query import Queries

#: the seen items that are left out, by the name that ``mask_seen`` has for them
SEEN = {"train+valid": ("train", "valid"), "train": ("train",), "none": ()}


@dataclass(frozen=True)
class Lists:
    """The best items of B queries.

    Attributes:
        users: ids ``[B]``.
        domain: number of the domain that was asked for, -1: all items.
        items: ids ``[B, k]``, the best first, -1 where a list ends; I + n is the n-th new item.
        scores: ``[B, k]``.
    """

    users: np.ndarray
    domain: int
    items: np.ndarray
    scores: np.ndarray


def check_length(k: int) -> None:
    """Raise ``WrongUse`` where a list of ``k`` items is none."""
    if k < 1:
        raise WrongUse(f"k: expected a number of items from 1 on, got {k}")


class Ranker:
    """Ranks items for the users of a run.

    Args:
        config: of the run.
        model: trained.
        parts: training, validation and test, None for one that the split leaves empty.
    """

    def __init__(self, config: Any, model: Any, parts: Sequence[Any]) -> None:
        if not isinstance(model, torch.nn.Module):
            raise WrongUse(f"{type(model).__name__} is a tree model: it scores rows and ranks no catalogue")
        self.config, self.model, self.train = config, model.eval(), parts[0]
        self._queries = Queries(config, *parts)
        given = SimpleNamespace(_dataset=self.train)
        self._scorer = Scorer(model, given, self.train.item_num, config["eval_batch_size"])
        mib = config["eval_memory_mib"] or (CPU_MIB if self._scorer.device.type == "cpu" else GPU_MIB)
        self._budget = int(mib * 2**20) // 4

    @cached_property
    def pool(self) -> np.ndarray:
        """Bool ``[I]``, the candidates of the run, whatever their domain."""
        pool = pool_of(self.train, self.config["candidates"]).copy()
        pool[0] = False
        return pool

    def domains(self, asked: int | None) -> list[int] | None:
        """The domains that users get a list of each: the one that is asked for, or what the run was evaluated on."""
        if asked is not None:
            return [asked]
        if self.train.item_domain is None or self.config["eval_candidates"] != "domain":
            return None
        return list(range(len(self.train.domain_names)))

    @torch.no_grad()
    def scores(self, users: np.ndarray, in_order: bool = False) -> Tensor:
        """``[n, I]`` of ``users [n]`` (ids): all items, nothing left out; ``in_order`` as of `Scorer`."""
        return self._scorer(self._queries(users), in_order=in_order)

    @torch.no_grad()
    def lists(
        self,
        users: np.ndarray,
        k: int,
        mask_seen: str = "train+valid",
        domain: int | None = None,
        new: NewItems | None = None,
    ) -> Iterator[Lists]:
        """The ``k`` best items of ``users [n]`` (ids, no two alike), some users at a time; domain by domain."""
        phases, domains = SEEN[mask_seen], self.domains(domain)
        task = user_task(self.train, self.config, users, domains, phases, budget=self._budget)
        none = torch.empty(0, dtype=torch.long, device=self._scorer.device)
        for index, batch in enumerate(task.batches):
            part = task.user[batch.start : batch.stop]
            scores = self._scorer(self._queries(part), task.columns.get(batch.domain))
            scores, _ = candidates_of(scores, task, batch, none)
            mask(scores, task.mask_of(index))
            columns = task.columns.get(batch.domain)
            yield Lists(part, batch.domain, *self._best(scores, columns, k, new, part))

    @torch.no_grad()
    def of_history(
        self, items: np.ndarray, k: int, mask_seen: str = "train+valid", domain: int | None = None
    ) -> Iterator[Lists]:
        """The ``k`` best items for someone who is not in the data and took ``items`` (ids), by domain."""
        row = self._queries.of_history(items) if self._queries.sequential else None
        whole = score_history(self.model, self._scorer, items, row)
        for number in self.domains(domain) or [-1]:
            allowed = self.pool & (number < 0 or np.asarray(self.train.item_domain) == number)
            if mask_seen != "none":
                allowed[items] = False
            scores = whole.masked_fill(~torch.from_numpy(allowed).to(whole.device), -torch.inf).unsqueeze(0)
            yield Lists(np.zeros(1, np.int64), number, *self._best(scores, None, k, None, items))

    def _best(
        self, scores: Tensor, columns: np.ndarray | None, k: int, new: NewItems | None, users: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Items ``[B, k]`` and scores of the candidates' ``columns``, and of the new items behind them."""
        ids = np.arange(self.train.item_num) if columns is None else columns
        if new is not None:
            scores = torch.cat([scores, new.scores(self.model, users)], dim=1)
            ids = np.concatenate([ids, self.train.item_num + np.arange(len(new.tokens))])
        values, at = top_k(scores, min(k, scores.shape[1]))
        items = np.where((values == -torch.inf).cpu().numpy(), -1, ids[at.cpu().numpy()])
        return items, values.cpu().numpy()
