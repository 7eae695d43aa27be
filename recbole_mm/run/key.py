"""The one description of configuration keys beyond name, default and meaning, which stand in the yamls.

A key that is not here takes the type of its default, may differ between the lines of a table, decides the result and
must stay the same when a run goes on.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import replace
from typing import Any

from recbole_mm.run.key_type import Key, is_intervals

__all__ = ["KEYS", "Key", "keys_that"]


def _is_codec(name: str) -> bool:
    try:
        return bool(codecs.lookup(name))
    except LookupError:
        return False


def _are_shares(value: Any) -> bool:
    numbers = isinstance(value, (list, tuple)) and all(type(each) in (int, float) for each in value)
    return numbers and len(value) == 3 and min(value) >= 0 and sum(value) > 0


def _are_gpus(value: Any) -> bool:
    each = str(value).strip("()[]").split(",")
    return all(re.fullmatch(r"|-1|\d+|(GPU|MIG)-\S+", one.strip(" '")) for one in each)


_TEXT = Key((str,), test=bool, form="a text")
_TEXTS = Key((list,), each=_TEXT)
_NUMBER = Key((int, float))
_FLAG = Key((bool,))
_SEED = Key(low=0, high=2**32 - 1, form="a whole number from 0 to 4294967295")
_SHARES = Key(
    (list, tuple),
    test=_are_shares,
    form="the shares of training, validation and test, such as [0.8, 0.1, 0.1]",
)
_SPLIT = {
    "RS": _SHARES,
    "TS": _SHARES,
    "LS": Key((str,), choices=("valid_and_test", "valid_only", "test_only")),
}
_EVAL_ARGS = {
    "split": Key((dict,), test=lambda value: len(value) == 1, form="one of RS, TS and LS", parts=_SPLIT),
    "group_by": Key((str,), choices=("user", "none"), optional=True),
    "order": Key((str,), choices=("RO", "TO")),
    "mode": Key((str, dict)),
}
_NEGATIVES = {
    "distribution": Key((str,), choices=("uniform", "popularity", "none"), optional=True),
    "sample_num": Key((int,), low=1, optional=True),
    "alpha": Key((int, float), optional=True),
    "dynamic": Key((bool,), optional=True),
    "candidate_num": Key((int,), low=0, optional=True),
}
_CLIPPING = {
    "max_norm": Key((int, float), low=0, open=True),
    "norm_type": Key((int, float), low=0, open=True),
    "error_if_nonfinite": _FLAG,
    "foreach": _FLAG,
}
_BUCKETS = Key((dict,), parts={"method": Key((str,), choices=("ED", "LD")), "bucket": Key((int,), low=1)})
_OWN_SPLIT = {"random": _SHARES, "by": Key((list, tuple), each=_TEXT), "field": _TEXT}
_COUNTED = ("user_inter", "item_inter", "entity_kg", "relation_kg")
# of RecBole's fields and of what separates them: any text but none
_NAMES = (
    *(f"{what}_FIELD" for what in ("USER_ID", "ITEM_ID", "RATING", "TIME", "LABEL", "ITEM_LIST_LENGTH", "POSITION")),
    *(f"{what}_ID_FIELD" for what in ("HEAD_ENTITY", "TAIL_ENTITY", "RELATION", "ENTITY")),
    "field_separator", "seq_separator", "domain_rule_field",
)  # fmt: skip
_STORES = Key((str, list, tuple, dict), each=_TEXT, path=True)
_INTERVALS = Key((str,), test=is_intervals, form="intervals such as [5,inf) or (0,1];[3,4)")
_VALUES = Key((str, list, tuple), test=is_intervals, form="intervals such as [5,inf), or a list of tokens")
_COLUMNS = Key(
    (list, tuple, str),
    test=lambda fields: fields == "*" or not isinstance(fields, str),
    form="a list of fields, or *",
    each=_TEXT,
)
_MEASURED = ("loaded", "float")
_LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam")
_TRANSFORMS = ("mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq", "user_defined")

KEYS: dict[str, Key] = {
    # the machine and its reports
    "gpu_id": Key(
        (str, int, tuple, list), test=_are_gpus, form="numbers of GPUs such as 0,1", silent=True, resumable=True
    ),
    "worker": Key(low=0, silent=True),
    "device": Key(resumable=True),
    "nproc": Key((int,), low=1, silent=True, resumable=True),
    "world_size": Key((int,), low=1, resumable=True),
    "local_rank": Key((int,), low=0),
    "offset": Key((int,), low=0),
    "group_offset": Key((int,), low=0),
    "ip": Key((str,), silent=True),
    "port": Key((str, int), test=lambda port: str(port).isdecimal(), form="the number of a port", silent=True),
    "state": Key(
        (str,), choices=("critical", "error", "warning", "info", "debug"), folded=True, silent=True, resumable=True
    ),
    "show_progress": Key(silent=True, resumable=True),
    "verbose": _FLAG,
    "log_wandb": Key(silent=True, resumable=True),
    "log_mlflow": Key(silent=True, resumable=True),
    "mlflow_experiment": Key(silent=True, resumable=True),
    "wandb_project": Key((str,), silent=True, resumable=True),
    # files
    "checkpoint_dir": Key(needed=True, silent=True, resumable=True, path=True),
    "keep_checkpoints": Key(choices=("best", "all", "none"), silent=True, resumable=True),
    "save_last": Key(silent=True, resumable=True),
    "resume": Key((str,), silent=True, resumable=True, path=True),
    "init_from": Key((str,), resumable=True, path=True),
    "data_path": Key(needed=True, shared="run", resumable=True, path=True),
    "dataset_save_path": _TEXT,
    "dataloaders_save_path": _TEXT,
    "config_file": Key((str, list), each=_TEXT),
    "config_files": Key((str, list), each=_TEXT),
    "modality_path": Key(needed=True, resumable=True, path=True),
    "modalities": Key((str, list, tuple, dict), each=Key((str,), optional=True), path=True),
    **dict.fromkeys(["pretrained_items", "pretrained_users"], _STORES),
    "pretrained_use": Key((str, list, tuple), each=_TEXT),
    "pretrained_mode": Key(choices=("init", "add", "replace", "concat")),
    "freeze": Key((str, list, tuple), each=_TEXT),
    "pretrained_at": Key((str, list, tuple), choices=("input", "output"), optional=True),
    "user_link": Key((str,), path=True),
    "item_link": Key((str,), path=True),
    # the data
    "model": Key((str, type)),
    "dataset": Key((str, int)),
    "encoding": Key((str,), test=_is_codec, form="the name of an encoding such as utf-8 or gb18030", resumable=True),
    "load_col": Key((dict,), each=_COLUMNS, shared="run"),
    "unload_col": Key((dict,), each=_COLUMNS, fields=("known",)),
    "unused_col": Key((dict,), each=_COLUMNS, fields=("known",)),
    "additional_feat_suffix": Key((str, list), each=_TEXT),
    "benchmark_filename": Key((list,), each=_TEXT),
    **dict.fromkeys(_NAMES, _TEXT),
    **dict.fromkeys(["LIST_SUFFIX", "NEG_PREFIX"], replace(_TEXT, needed=True)),
    "seq_len": Key((dict,), each=Key((int,), low=1), fields=("known",)),
    "threshold": Key(
        (dict,), test=lambda given: len(given) == 1, form="one field and its number", each=_NUMBER,
        fields=("inter", *_MEASURED),
    ),
    "numerical_features": Key((list,), needed=True, each=_TEXT, fields=_MEASURED),
    "normalize_field": Key((list,), each=_TEXT, fields=_MEASURED),
    "normalize_all": _FLAG,
    "discretization": Key((dict,), each=_BUCKETS, fields=_MEASURED),
    "preload_weight": Key((dict,), each=_TEXT, fields=("loaded",)),
    **dict.fromkeys([f"alias_of_{what}_id" for what in ("user", "item", "entity", "relation")], _TEXTS),
    "rm_dup_inter": Key((str,), choices=("first", "last"), optional=True),
    "val_interval": Key((dict,), each=_VALUES, fields=("loaded",)),
    **dict.fromkeys([f"{what}_num_interval" for what in _COUNTED], _INTERVALS),
    "domains": Key((list,), each=_TEXT, shared="run"),
    "domain_field": Key((str,), shared="run"),
    "domain_rule": Key((str,), choices=("genre",), shared="run", optional=True),
    "domain_groups": Key((dict,), each=_TEXTS, shared="run"),
    "source_domain": Key((str, list), each=_TEXT),
    "target_domain": _TEXT,
    "eval_domain": _TEXT,
    "min_coverage": Key(low=0, high=1),
    "feature_missing": Key(low=0, high=1),
    "feature_memory_mib": Key(low=0),
    "neighbour_search": Key(choices=("exact", "hnsw")),
    "cold_items": Key(low=0, high=1),
    "cold_threshold": Key(low=0),
    "feature_scaling": Key((str, dict), choices=("standardize", "whiten", "l2"), optional=True),
    "whitening_shrinkage": Key(low=0, high=1),
    "finetune_from": _TEXT,
    "finetune_fields": Key((list,), each=_TEXT),
    "finetune_layers": Key(low=1, whole=True),
    "finetune_learning_rate": Key(low=0, open=True),
    "feature_control": Key((str,), choices=("shuffled", "noise"), optional=True),
    "MAX_ITEM_LIST_LENGTH": Key(low=1),
    # how long and by what a run is trained
    "train_sequences": Key(choices=("prefix", "shifted")),
    "sequence_loss": Key((str,), choices=("ce", "sampled_softmax", "gbce"), optional=True),
    "sequence_negatives": Key(low=1),
    "sequence_negatives_by": Key(choices=("uniform", "popularity")),
    "gbce_t": Key(low=0, high=1),
    "pretrain": Key((str, dict), resumable=True),  # a run that goes on has its vectors
    "seed": replace(_SEED, shared="run"),
    "epochs": Key(low=0, shared="budget", resumable=True),
    "train_epochs": Key((list, tuple), resumable=True),  # the stages have a check of their own
    "stopping_step": Key(low=0, shared="budget"),
    "eval_step": Key(low=0, shared="budget"),
    "valid_metric": Key((str,), needed=True, shared="budget"),
    "valid_metric_bigger": Key(shared="budget"),
    "train_batch_size": Key(low=1),
    "learner": Key(choices=_LEARNERS, folded=True),
    "fused_optimizer": _FLAG,
    "loss_decimal_place": Key(low=0),
    "transform": Key((str,), choices=_TRANSFORMS, optional=True),
    "double_tower": _FLAG,
    "train_neg_sample_args": Key((dict,), parts=_NEGATIVES),
    "learning_rate": Key(low=0, open=True),
    "lr_scheduler": Key((str,), choices=("cosine",), optional=True),
    "lr_warmup_epochs": Key(low=0),
    "loader": Key(choices=("recbole", "fast")),
    "gradient_accumulation": Key(low=1),
    "softmax_memory_mib": Key((int, float), low=0, open=True),
    "ema_decay": Key((float,), test=lambda d: 0 < d < 1, form="a value between 0 and 1, both excluded"),
    "weight_decay": Key(low=0),
    "clip_grad_norm": Key((dict,), parts=_CLIPPING),
    "embedding_size": Key((int,), low=1),
    # what it is evaluated on
    "split": Key((dict,), parts=_OWN_SPLIT, shared="split"),
    "split_seed": replace(_SEED, shared="split"),
    "ties": Key(choices=("file", "random", "drop"), shared="split"),
    "sequence_split": Key(choices=("interactions", "prefixes"), shared="split"),
    "eval_args": Key(parts=_EVAL_ARGS, shared="split"),
    "evaluator": Key(choices=("mm", "recbole")),
    "protocol": Key(
        (str, list), choices=("recbole", "mmrec", "sampled-N"), syntax=r"recbole|mmrec|sampled-[1-9]\d*",
        shared="protocol",
    ),
    "candidates": Key(choices=("interacted", "catalogue"), shared="protocol"),
    "mask_seen": Key(choices=("protocol", "train+valid", "train", "none"), shared="protocol"),
    "resample_eval": Key((bool,), shared="protocol"),
    "eval_candidates": Key(choices=("domain", "all"), shared="protocol"),
    "eval_memory_mib": Key((int, float), low=0, open=True),
    "tail_ratio": Key((int, float), low=0),
    "eval_groups": Key(
        (list, str), choices=("all", "domain", "cold", "popularity", "history", "modality"), shared="run"
    ),
    "metrics": Key((str, list), needed=True, each=_TEXT, shared="protocol", resumable=True),
    "topk": Key((int, list), low=1, form="a value made of positive integers", shared="protocol", resumable=True),
    "eval_batch_size": Key(low=1),
    "metric_decimal_place": Key(low=0, shared="run"),
}  # fmt: skip


def keys_that(flag: str) -> frozenset[str]:
    """The keys of which ``flag`` (``shared``, ``silent``, ``resumable``, ``path``) is true."""
    return frozenset(name for name, key in KEYS.items() if getattr(key, flag))
