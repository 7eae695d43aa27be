"""The evaluator: one pass over a loader of RecBole or ours, every metric, several protocols."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator.register import metric_types
from recbole.utils import EvaluatorType
from tqdm import tqdm

from recbole_mm.data.dataloader import of_interactions
from recbole_mm.data.seen import joined, pairs_of
from recbole_mm.data.sequence import BY_PARTS
from recbole_mm.errors import WrongUse
from recbole_mm.evaluator import aggregate
from recbole_mm.evaluator.full import Progress, Share, full_pass
from recbole_mm.evaluator.group import Group, TrainStats, groups_of
from recbole_mm.evaluator.labelled import labelled_pass
from recbole_mm.evaluator.listed import listed_pass
from recbole_mm.evaluator.protocol import protocols
from recbole_mm.evaluator.query import EvalTask, build_task, some_of
from recbole_mm.evaluator.question import Asked, full_question, rows_question
from recbole_mm.evaluator.record import Record, Wanted
from recbole_mm.evaluator.registered import Registered
from recbole_mm.evaluator.result import EvalResult
from recbole_mm.evaluator.sampled import draw_lists
from recbole_mm.evaluator.score import Scorer
from recbole_mm.model.traits import trait
from recbole_mm.run.metric import METRICS
from recbole_mm.run.question import Question

Ask = Callable[[], Question] | None
NOT_APPLICABLE = "not applicable"
CPU_MIB, GPU_MIB = 16, 512
"""Scores of a batch where ``eval_memory_mib`` is None. On a CPU a batch that stays in the cache, and that malloc
reuses instead of mapping anew (under 32 MiB), takes half the time of one of 256 MiB."""


class Evaluator:
    """Evaluates a model on RecBole's loaders. Values equal RecBole's wherever RecBole has the metric.

    Keys: ``metrics``, ``topk``, ``metric_decimal_place``, ``eval_batch_size`` (rows of one ``predict``), and ours:
    ``protocol`` (a name or a list), ``mask_seen``, ``candidates``, ``eval_candidates`` (``domain`` or ``all``),
    ``eval_groups``, ``cold_threshold``, ``cold_items``, ``split_seed``, ``eval_memory_mib``.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self.protocols = protocols(config)
        self.names = [protocol.name for protocol in self.protocols]
        asked = config["eval_groups"]
        self.groups = [asked] if isinstance(asked, str) else asked
        names = [name.lower() for name in config["metrics"]]
        self.labelled = config["eval_type"] == EvaluatorType.VALUE
        own = [name for name in names if name not in METRICS]
        for name in () if self.labelled else names:
            ranks = (
                metric_types.get(name) == EvaluatorType.RANKING
                if name in own
                else METRICS[name].reads != "labels"
            )
            if not ranks:
                raise WrongUse(f"metrics: {name!r} is not a ranking metric")
        self.own = Registered(config, own) if own else None
        self.wanted = Wanted(
            [name for name in names if name in METRICS],
            config["topk"],
            any(p.is_full for p in self.protocols),
        )
        if own and not (self.wanted.ranking or self.labelled):
            raise WrongUse(
                f"metrics: {own[0]!r} is made of whole rankings; put recbole or mmrec into protocol"
            )
        self._train: TrainStats | None = None
        self._tasks: WeakKeyDictionary[Any, tuple[EvalTask, dict[str, np.ndarray]]] = WeakKeyDictionary()

    def data_collect(self, train_data: Any) -> None:
        """Take item counts and histories from the training loader, as RecBole does."""
        loader = of_interactions(train_data)
        if self.own is not None:
            self.own.data_collect(loader)
        dataset = loader._dataset
        # sequences that were cut from a part begin with rows that are asked for nowhere
        cut = dataset.sequence_split == BY_PARTS
        self._train = _train_stats(dataset, *(dataset.pairs["train"] if cut else pairs_of(dataset)))

    @torch.no_grad()
    def evaluate(
        self, model: Any, eval_data: Any, show_progress: bool = False, share: Share | None = None
    ) -> EvalResult:
        """Evaluate; the model is put into eval mode.

        ``share``: other processes rank a part of the queries; each gets the metrics of all. What is no full ranking,
        and a person's own metrics, every process computes by itself.
        """
        if not eval_data:
            return EvalResult(OrderedDict(), self.names)
        model.eval()
        progress = partial(tqdm, desc="Evaluate", leave=False, disable=None) if show_progress else iter
        size = self.config["eval_batch_size"]
        dataset = eval_data._dataset
        scorer = Scorer(model, eval_data, dataset.item_num, size)
        if self.own is not None:
            if not self.own.knows_training:
                parts = getattr(eval_data._sampler, "datasets", None) or [eval_data._dataset]
                self.own.data_collect(SimpleNamespace(dataset=parts[0]))
            self.own.start()
        if self.labelled:
            metrics, rows = labelled_pass(
                model, eval_data, self.config, self.wanted.metrics, size, scorer.device, progress, self.own
            )
            ids = [rows[name].to_numpy() for name in ("user", "item", "label")]
            rows["user"] = dataset.id2token(dataset.uid_field, ids[0])
            table = rows.drop(columns="item")
            question = partial(rows_question, dataset, *ids)
            return EvalResult(metrics, ["labelled"], lambda: table, question=question)
        return self._result(*self._ranked(scorer, eval_data, progress, share), model, eval_data)

    def _ranked(
        self, scorer: Scorer, eval_data: Any, progress: Progress, share: Share | None
    ) -> tuple[Record, Ask]:
        """The record of a loader that ranks, and what gives its question."""
        dataset = eval_data._dataset
        if isinstance(eval_data, FullSortEvalDataLoader):
            task, negatives = self._task(eval_data, scorer.device)
            share = None if self.own is not None else share
            record = full_pass(scorer, eval_data, task, self.wanted, negatives, progress, self.own, share)
            return record, partial(full_question, dataset, task, negatives, self.wanted.ranking)
        if self.names != ["recbole"]:
            raise WrongUse(
                f"protocol: {self.names} needs eval_args: {{mode: full}}; uniN and popN go with recbole"
            )
        # what is drawn for a validation is not hashed: it would take as long as to rank it
        asked = Asked(dataset) if dataset.phase == "test" else None
        how = self.wanted, scorer.pairs, scorer.device, progress, self.own, asked
        record = listed_pass(scorer.model, eval_data, *how)
        return record, None if asked is None else partial(getattr, asked, "question")

    @torch.no_grad()
    def top_lists(
        self, model: Any, eval_data: Any, k: int, choose: Callable[[EvalTask], np.ndarray]
    ) -> tuple[EvalTask, np.ndarray] | None:
        """The ``k`` items ranked first for the queries that ``choose`` names, as the evaluation ranks them.

        Returns those queries and their item ids [Q, k], -1 where a list ends; None of a loader that ranks no whole
        catalogue.
        """
        if self.labelled or not (self.wanted.ranking and isinstance(eval_data, FullSortEvalDataLoader)):
            return None
        model.eval()
        scorer = Scorer(model, eval_data, eval_data._dataset.item_num, self.config["eval_batch_size"])
        task, _ = self._task(eval_data, scorer.device)
        part = some_of(task, choose(task), budget=CPU_MIB << 18)
        record = full_pass(scorer, eval_data, part, Wanted(["itemcoverage"], [k], True), {}, iter)
        assert record.lists is not None
        return part, record.lists

    def question(self, eval_data: Any) -> Question | None:
        """What will be asked over a loader that ranks; None where negatives are still to be drawn."""
        if self.labelled or not isinstance(eval_data, FullSortEvalDataLoader):
            return None
        task, negatives = self._task(eval_data, torch.device(self.config["device"]))
        return full_question(eval_data._dataset, task, negatives, self.wanted.ranking)

    def _task(self, eval_data: Any, device: torch.device) -> tuple[EvalTask, dict[str, np.ndarray]]:
        """The queries and sampled lists of a loader, made at its first evaluation."""
        if eval_data in self._tasks:
            return self._tasks[eval_data]
        dataset = eval_data._dataset
        mib = self.config["eval_memory_mib"]
        if mib is None:
            mib = CPU_MIB if device.type == "cpu" else GPU_MIB
        task = build_task(eval_data, self.config, budget=int(mib * 2**20) // 4)
        negatives = {}
        for protocol in self.protocols:
            if not protocol.is_full:
                # of its own in validation: what is chosen by these lists has not seen those of the test
                seed = [self.config["split_seed"], protocol.negatives, *[1] * (dataset.phase == "valid")]
                rng = np.random.default_rng(seed)
                negatives[protocol.name] = draw_lists(task, *joined(dataset), protocol.negatives, rng)
        self._tasks[eval_data] = task, negatives
        return task, negatives

    def _result(self, record: Record, question: Ask, model: Any, eval_data: Any) -> EvalResult:
        dataset, primary = eval_data._dataset, self.protocols[0]
        keys = {"full" if p.is_full else p.name: "" if p == primary else f"{p.name}/" for p in self.protocols}
        table = aggregate.full_queries(record, self.wanted) if self.wanted.ranking else None
        lists = {name: aggregate.list_table(ranks, self.wanted) for name, ranks in record.sampled.items()}
        notes: list[str] = []
        found: dict[str, float] = {}
        for protocol in self.protocols:
            key = "full" if protocol.is_full else protocol.name
            if protocol.is_full and table is not None:
                count = self._stats(eval_data).count if self.wanted.lists else None
                part = aggregate.full_metrics(record, table, self.wanted, count, self.config["tail_ratio"])
            else:
                part = aggregate.list_metrics(lists[protocol.name], self.wanted)
            found |= {keys[key] + name: value for name, value in part.items()}
        if self.own is not None:
            found |= {keys["full"] + name: value for name, value in self.own.values().items()}
        places = self.config["metric_decimal_place"]
        metrics = OrderedDict((key, round(float(value), places)) for key, value in found.items())
        cold = bool(self.config["cold_items"])
        if cold and not trait(model, "scores_from_features"):
            notes.append(f"cold items: {NOT_APPLICABLE}, {type(model).__name__} does not score from features")

        def queries() -> pd.DataFrame:
            return aggregate.query_table(record, dataset, table, lists, keys)

        def groups() -> pd.DataFrame:
            stats = self._stats(eval_data)
            threshold = self.config["cold_threshold"]
            asked = list(groups_of(self.groups, dataset, record.user, record.domain, stats, threshold))
            if cold:
                held = dataset.cold_items
                held_out = stats.count == 0 if held is None else np.isin(np.arange(record.items), held)
                asked.append(Group("cold start", "held-out items", items=held_out))
            frame = aggregate.group_table(record, self.wanted, asked, table, lists, keys)
            if cold and not trait(model, "scores_from_features"):
                last = frame.index[-1]
                frame.loc[last, frame.columns[4:]] = np.nan
                frame.loc[last, "value"] = f"held-out items: {NOT_APPLICABLE}"
            return frame

        return EvalResult(
            metrics, self.names, queries, groups if self.groups or cold else None, notes, question
        )

    def _stats(self, eval_data: Any) -> TrainStats:
        """Training counts: of the training loader if it was given, else of the training rows."""
        return self._train or _train_stats(eval_data._dataset, *eval_data._dataset.pairs["train"])


def _train_stats(dataset: Any, users: np.ndarray, items: np.ndarray) -> TrainStats:
    return TrainStats(np.bincount(items, minlength=dataset.item_num), users, items)
