"""The one description of configuration keys: what they take beyond the type of their default, and what they are for.

Defaults and a line on each key stand in ``properties/``; a key without anything special is not listed here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


@dataclass(frozen=True)
class Range:
    """A test of a value, and what it wants in words."""

    holds: Callable[[Any], bool]
    words: str


POSITIVE = Range(lambda value: value > 0, "> 0")
COUNT = Range(lambda value: value >= 1, ">= 1")
NOT_NEGATIVE = Range(lambda value: value >= 0, ">= 0")
SHARE = Range(lambda value: 0 <= value <= 1, "between 0 and 1")
COUNTS = Range(
    lambda value: all(map(_is_count, value if isinstance(value, (list, tuple)) else [value])),
    "made of positive integers",
)


@dataclass(frozen=True)
class Key:
    """What is special about a key.

    Attributes:
        kinds: the types it takes, where they are more than that of its default.
        range: what its values must hold.
        choices: all its values.
        parts: of a mapping, the names and types of its values.
        shared: the rows of a table must agree on it, and it is never searched: ``budget``, ``split``, ``protocol``
            (said in the caption) or ``data``.
        silent: it changes no result.
        resumable: two parts of one run may differ in it.
        path: it names files or folders.
    """

    kinds: tuple[type, ...] = ()
    range: Range | None = None
    choices: tuple[str, ...] = ()
    parts: Mapping[str, tuple[type, ...]] | None = None
    shared: str = ""
    silent: bool = False
    resumable: bool = False
    path: bool = False


_WITHOUT_EFFECT = Key(silent=True, resumable=True)
_FILE = Key(path=True, shared="data")

KEYS: dict[str, Key] = {
    "epochs": Key(range=NOT_NEGATIVE, shared="budget", resumable=True),
    "stopping_step": Key(range=NOT_NEGATIVE, shared="budget"),
    "eval_step": Key(range=NOT_NEGATIVE, shared="budget"),
    "valid_metric": Key(shared="budget"),
    "valid_metric_bigger": Key(shared="budget"),
    "split": Key(shared="split"),
    "split_seed": Key(range=NOT_NEGATIVE, shared="split"),
    "eval_args": Key(
        parts={"split": (dict,), "group_by": (str,), "order": (str,), "mode": (str, dict)}, shared="split"
    ),
    "protocol": Key(kinds=(str, list), shared="protocol"),
    "eval_candidates": Key(choices=("domain", "all"), shared="protocol"),
    "metrics": Key(kinds=(str, list), shared="protocol", resumable=True),
    "topk": Key(kinds=(int, list), range=COUNTS, shared="protocol", resumable=True),
    "metric_decimal_place": Key(range=NOT_NEGATIVE, shared="data"),
    "seed": Key(range=NOT_NEGATIVE, shared="data"),
    "load_col": Key(shared="data"),
    "domains": Key(shared="data"),
    "domain_rule": Key(shared="data"),
    "domain_field": Key(shared="data"),
    "domain_groups": Key(shared="data"),
    "data_path": Key(path=True, shared="data", resumable=True),
    "modality_path": Key(path=True, resumable=True),
    "modalities": Key(path=True),
    "user_link": _FILE,
    "item_link": _FILE,
    "init_from": Key(path=True, resumable=True),
    "resume": Key(path=True, silent=True, resumable=True),
    "checkpoint_dir": Key(path=True, silent=True, resumable=True),
    "keep_checkpoints": Key(choices=("best", "all", "none"), silent=True, resumable=True),
    "save_last": _WITHOUT_EFFECT,
    "show_progress": _WITHOUT_EFFECT,
    "state": _WITHOUT_EFFECT,
    "log_wandb": _WITHOUT_EFFECT,
    "wandb_project": _WITHOUT_EFFECT,
    "nproc": _WITHOUT_EFFECT,
    "ip": _WITHOUT_EFFECT,
    "port": _WITHOUT_EFFECT,
    "worker": Key(range=NOT_NEGATIVE, silent=True),
    "gpu_id": Key(kinds=(str, int, tuple, list), silent=True, resumable=True),
    "device": Key(resumable=True),
    "train_epochs": Key(resumable=True),  # stages have a check of their own
    "evaluator": Key(choices=("mm", "recbole")),
    "additional_feat_suffix": Key(kinds=(str, list)),
    "benchmark_filename": Key(kinds=(list,)),
    "clip_grad_norm": Key(kinds=(dict,)),
    "dataset": Key(kinds=(str, int)),
    "train_batch_size": Key(range=COUNT),
    "eval_batch_size": Key(range=COUNT),
    "learning_rate": Key(range=POSITIVE),
    "weight_decay": Key(range=NOT_NEGATIVE),
    "embedding_size": Key(range=COUNT),
    "min_coverage": Key(range=SHARE),
    "MAX_ITEM_LIST_LENGTH": Key(range=COUNT),
    "train_neg_sample_args": Key(
        parts={
            "distribution": (str,),
            "sample_num": (int,),
            "alpha": (int, float),
            "dynamic": (bool,),
            "candidate_num": (int,),
        }
    ),
}


@cache
def keys_that(flag: str, value: str | None = None) -> tuple[str, ...]:
    """The keys whose ``flag`` (``shared``, ``silent``, ``resumable``, ``path``) is set, or is ``value``."""
    found = {name: getattr(key, flag) for name, key in KEYS.items()}
    return tuple(name for name, is_set in found.items() if (is_set == value if value else is_set))
