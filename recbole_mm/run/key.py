"""The one description of configuration keys beyond name, default and meaning, which stand in the yamls.

A key that is not here takes the type of its default, may differ between the lines of a table, decides the result and
must stay the same when a run goes on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recbole_mm.errors import suggest


@dataclass(frozen=True)
class Key:
    """What one key may hold, and what depends on it.

    takes      types, where they are more than that of the default
    low, high  bounds of a number; ``low`` itself is excluded if ``open``
    choices    the texts it may hold
    syntax     regular expression that a text matches in full, where one of the choices has a variable part
    form       words for the bounds
    parts      the names inside a mapping, each with what it may hold
    shared     the same for all lines of a table and never searched, being a part of this: ``budget``, ``split``,
               ``protocol`` (compared before anything runs) or ``run`` (given once)
    silent     no figure depends on it
    resumable  may differ between two parts of one run
    path       a file or a folder

    Bounds, choices and syntax hold for each element of a list or a mapping; None is always within them.
    """

    takes: tuple[type, ...] = ()
    low: float | None = None
    high: float | None = None
    open: bool = False
    choices: tuple[str, ...] = ()
    syntax: str = ""
    form: str = ""
    parts: Mapping[str, Key] = field(default_factory=dict)
    shared: str = ""
    silent: bool = False
    resumable: bool = False
    path: bool = False

    @property
    def allowed(self) -> str:
        """The values it may hold, in words; empty where any of its type will do."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.form or self.low is None:
            return self.form
        if self.high is not None:
            return f"a value between {self.low:g} and {self.high:g}"
        return f"a value {'>' if self.open else '>='} {self.low:g}"

    def problem(self, value: Any) -> str | None:
        """Why a value of the right type may not be held, or None."""
        values = list(value.values()) if isinstance(value, dict) else value
        each = values if isinstance(values, (list, tuple)) else [values]
        wrong = [one for one in each if one is not None and not self._fits(one)]
        if not wrong:
            return None
        near = suggest(wrong[0], self.choices, listed=False) if isinstance(wrong[0], str) else ""
        return f"expected {self.allowed}, got {value!r}{near}"

    def _fits(self, value: Any) -> bool:
        if self.syntax:
            return isinstance(value, str) and re.fullmatch(self.syntax, value) is not None
        if self.choices:
            return value in self.choices
        if self.low is None:
            return True
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return (
            number
            and (value > self.low if self.open else value >= self.low)
            and (self.high is None or value <= self.high)
        )


_EVAL_ARGS = {
    "split": Key((dict,)),
    "group_by": Key((str,)),
    "order": Key((str,)),
    "mode": Key((str, dict)),
}
_NEGATIVES = {
    "distribution": Key((str,)),
    "sample_num": Key((int,), low=1),
    "alpha": Key((int, float)),
    "dynamic": Key((bool,)),
    "candidate_num": Key((int,)),
}

KEYS: dict[str, Key] = {
    # the machine and its reports
    "gpu_id": Key((str, int, tuple, list), silent=True, resumable=True),
    "worker": Key(low=0, silent=True),
    "device": Key(resumable=True),
    "nproc": Key((int,), low=1, silent=True, resumable=True),
    "world_size": Key((int,), resumable=True),
    "ip": Key(silent=True),
    "port": Key(silent=True),
    "state": Key(silent=True, resumable=True),
    "show_progress": Key(silent=True, resumable=True),
    "log_wandb": Key(silent=True, resumable=True),
    "wandb_project": Key(silent=True, resumable=True),
    # files
    "checkpoint_dir": Key(silent=True, resumable=True, path=True),
    "keep_checkpoints": Key(choices=("best", "all", "none"), silent=True, resumable=True),
    "save_last": Key(silent=True, resumable=True),
    "resume": Key(silent=True, resumable=True, path=True),
    "init_from": Key((str,), resumable=True, path=True),
    "data_path": Key(shared="run", resumable=True, path=True),
    "modality_path": Key(resumable=True, path=True),
    "modalities": Key(path=True),
    "user_link": Key(path=True),
    "item_link": Key(path=True),
    # the data
    "dataset": Key((str, int)),
    "encoding": Key((str,), resumable=True),
    "load_col": Key(shared="run"),
    "additional_feat_suffix": Key((str, list)),
    "benchmark_filename": Key((list,)),
    "domains": Key(shared="run"),
    "domain_field": Key(shared="run"),
    "domain_rule": Key(shared="run"),
    "domain_groups": Key(shared="run"),
    "min_coverage": Key(low=0, high=1),
    "feature_scaling": Key((str, dict), choices=("standardize", "whiten", "l2")),
    "feature_control": Key((str,), choices=("shuffled", "noise")),
    "MAX_ITEM_LIST_LENGTH": Key(low=1),
    # how long and by what a run is trained
    "seed": Key(low=0, shared="run"),
    "epochs": Key(low=0, shared="budget", resumable=True),
    "train_epochs": Key(resumable=True),  # the stages have a check of their own
    "stopping_step": Key(low=0, shared="budget"),
    "eval_step": Key(low=0, shared="budget"),
    "valid_metric": Key(shared="budget"),
    "valid_metric_bigger": Key(shared="budget"),
    "train_batch_size": Key(low=1),
    "train_neg_sample_args": Key(parts=_NEGATIVES),
    "learning_rate": Key(low=0, open=True),
    "lr_scheduler": Key((str,), choices=("cosine",)),
    "lr_warmup_epochs": Key(low=0),
    "gradient_accumulation": Key(low=1),
    "ema_decay": Key((float,), low=0, high=1),
    "weight_decay": Key(low=0),
    "clip_grad_norm": Key((dict,)),
    "embedding_size": Key(low=1),
    # what it is evaluated on
    "split": Key(shared="split"),
    "split_seed": Key(low=0, shared="split"),
    "eval_args": Key(parts=_EVAL_ARGS, shared="split"),
    "evaluator": Key(choices=("mm", "recbole")),
    "protocol": Key(
        (str, list), choices=("recbole", "mmrec", "sampled-N"), syntax=r"recbole|mmrec|sampled-[1-9]\d*",
        shared="protocol",
    ),
    "eval_candidates": Key(choices=("domain", "all"), shared="protocol"),
    "eval_groups": Key(choices=("domain", "cold", "popularity", "history", "modality")),
    "metrics": Key((str, list), shared="protocol", resumable=True),
    "topk": Key((int, list), low=1, form="a value made of positive integers", shared="protocol", resumable=True),
    "eval_batch_size": Key(low=1),
    "metric_decimal_place": Key(low=0, shared="run"),
}  # fmt: skip


def keys_that(flag: str) -> frozenset[str]:
    """The keys of which ``flag`` (``shared``, ``silent``, ``resumable``, ``path``) is true."""
    return frozenset(name for name, key in KEYS.items() if getattr(key, flag))
