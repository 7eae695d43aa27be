"""Keys that were given and on which nothing in this run depends: of another model, or of a part left out."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from recbole_mm.config.family import no_negatives, takes_no_negatives
from recbole_mm.config.known import hyper_parameters, keys_read, own_keys, source_texts
from recbole_mm.config.properties import load_internal, recbole_dir
from recbole_mm.config.sequence import cuts_padding
from recbole_mm.data.build import without_blocks
from recbole_mm.data.shifted import SAMPLED, sequence_loss
from recbole_mm.data.ties import by_time
from recbole_mm.files import properties_dir
from recbole_mm.run.key import KEYS
from recbole_mm.run.metric import METRICS

_GRADIENT = (
    "learner fused_optimizer learning_rate weight_decay clip_grad_norm lr_scheduler enable_amp enable_scaler "
    "lr_warmup_epochs gradient_accumulation ema_decay"
)
_VECTORS = (
    "modality_path min_coverage feature_scaling whitening_shrinkage feature_control feature_missing "
    "feature_memory_mib"
)

_FINETUNE = "finetune_from finetune_fields finetune_layers finetune_learning_rate finetune_checkpointing"

_SHIFTED = "sequence_loss sequence_negatives sequence_negatives_by gbce_t"

_Rule = tuple[str, str, Callable[[Any], Any]]
#: keys, why they have no effect, and whether that is so in a run of this configuration
_RULES: tuple[_Rule, ...] = (
    ("neg_sampling training_neg_sample_num", "RecBole reads it no more: see train_neg_sample_args", lambda c: True),
    ("device", "it follows from use_gpu and gpu_id", lambda c: True),
    ("data_path", "there is no folder ml-100k, so RecBole's own is read",
     lambda c: c["dataset"] == "ml-100k" and Path(c["data_path"]).is_relative_to(recbole_dir())),
    ("valid_metric_bigger", "it follows from valid_metric", lambda c: True),
    ("config_file config_files", "files are read from the call or the command line alone", lambda c: True),
    ("ip port offset group_offset", "a run is one process", lambda c: c["single_spec"]),
    ("gpu_id", "use_gpu is False", lambda c: not c["use_gpu"]),
    ("enable_scaler", "gradients are scaled on a GPU alone", lambda c: c["device"].type != "cuda"),
    ("wandb_project", "log_wandb is False", lambda c: not c["log_wandb"]),
    ("mlflow_experiment", "log_mlflow is False", lambda c: not c["log_mlflow"]),
    (f"epochs stopping_step eval_step loader {_GRADIENT}", "it learns in one pass, without gradients",
     lambda c: _one_pass(c)),
    (f"train_batch_size save_last {_GRADIENT}", "trees are grown by their library",
     lambda c: c["MODEL_TYPE"].name == "DECISIONTREE"),
    ("modalities", "it reads no vectors of items", lambda c: not c.trait("multimodal")),
    (_VECTORS, "it reads no vectors of items", lambda c: not (c.trait("multimodal") or _plugged(c))),
    (_VECTORS, "modalities: [] leaves the vectors of items out",
     lambda c: c.trait("multimodal") and c["modalities"] == [] and not _plugged(c)),
    ("neighbour_search", "it makes no graph of items near by content", lambda c: c["graph_k"] is None),
    ("whitening_shrinkage", "feature_scaling has no whiten", lambda c: "whiten" not in str(c["feature_scaling"])),
    (f"finetune_encoder {_FINETUNE}", "it reads no vectors of items", lambda c: not c.trait("multimodal")),
    (f"finetune_encoder {_FINETUNE}", "modalities: [] leaves the vectors of items out",
     lambda c: c.trait("multimodal") and c["modalities"] == []),
    (_FINETUNE, "finetune_encoder is False", lambda c: not c["finetune_encoder"]),
    ("pretrained_use pretrained_mode pretrained_at freeze", "no vectors are given (pretrained_items, pretrained_users)",
     lambda c: not _plugged(c)),
    ("epochs", "train_epochs says how many there are", lambda c: bool(c["train_epochs"])),
    ("domain_rule_field domain_groups", "there is no domain_rule", lambda c: not c["domain_rule"]),
    ("user_link item_link user_overlap item_overlap", "no sets are joined (domains)", lambda c: not c["domains"]),
    ("source_domain target_domain eval_domain eval_candidates", "there is one domain",
     lambda c: not (c["domains"] or c["domain_field"] or c["domain_rule"])),
    ("sequence_split MAX_ITEM_LIST_LENGTH ITEM_LIST_LENGTH_FIELD POSITION_FIELD LIST_SUFFIX", "it reads no sequences",
     lambda c: c["MODEL_TYPE"].name != "SEQUENTIAL"),
    (f"train_sequences {_SHIFTED}", "it reads no sequences", lambda c: c["MODEL_TYPE"].name != "SEQUENTIAL"),
    (_SHIFTED, "train_sequences is prefix", lambda c: c["train_sequences"] == "prefix"),
    ("sequence_negatives sequence_negatives_by", "sequence_loss draws none of them",
     lambda c: sequence_loss(c) not in SAMPLED),
    ("gbce_t", "sequence_loss is another", lambda c: sequence_loss(c) != "gbce"),
    ("train_neg_sample_args", "sequence_loss is given",
     lambda c: c["train_sequences"] == "shifted" and c["sequence_loss"] is not None),
    ("kg_reverse_r entity_kg_num_interval relation_kg_num_interval", "it reads no knowledge graph",
     lambda c: c["MODEL_TYPE"].name != "KNOWLEDGE"),
    ("shuffle", "the triples of a knowledge graph are always shuffled", lambda c: c["MODEL_TYPE"].name == "KNOWLEDGE"),
    ("preload_weight", "it reads no preloaded weights", lambda c: not _calls(c.model_class, "get_preload_weight")),
    ("require_pow", "its loss has no such term", lambda c: not _calls(c.model_class, "require_pow")),
    ("softmax_memory_mib", "its loss is no softmax in blocks",
     lambda c: c["train_sequences"] != "shifted" or sequence_loss(c) != "ce"),
    ("train_neg_sample_args", "it learns without negatives",
     lambda c: takes_no_negatives(c.model_class) or c.trait("item_batches")),
    ("worker", "loader: fast makes batches in the process itself",
     lambda c: c["loader"] == "fast" and not without_blocks(c) and {*c["eval_args"]["mode"].values()} == {"full"}),
    ("eval_candidates", "eval_args.mode uniN and popN draw from the items of all domains",
     lambda c: all(mode[:3] in ("uni", "pop") for mode in c["eval_args"]["mode"].values())),
    ("resample_eval", "eval_args.mode draws nothing",
     lambda c: not any(mode[:3] in ("uni", "pop") for mode in c["eval_args"]["mode"].values())),
    ("ties", "the order of time decides no part of the data", lambda c: not by_time(c)),
    ("cold_threshold", "eval_groups has no 'cold'",
     lambda c: not any(name in str(c["eval_groups"]) for name in ("cold", "all"))),
    ("protocol candidates eval_groups eval_candidates eval_memory_mib", "evaluator: recbole knows none of it",
     lambda c: c["evaluator"] == "recbole"),
    ("candidates mask_seen eval_candidates", "rows with labels are scored, nothing is ranked",
     lambda c: set(c["eval_args"]["mode"].values()) == {"labeled"}),
    ("topk", "none of the metrics is cut off at k",
     lambda c: all(name.lower() in METRICS and not METRICS[name.lower()].at_k for name in c["metrics"])),
)  # fmt: skip


def without_effect(config: Any) -> list[str]:
    """A sentence for each key that was given and on which nothing depends in a run of this configuration."""
    return [*_processes(config.external_config_dict), *_lines(config)]


def _lines(config: Any) -> Iterator[str]:
    given, model, read = config.external_config_dict, config["model"], _read(config)
    known = config.model_class.__module__.split(".")[0] in ("recbole", "recbole_mm")
    for key, value in given.items():
        if (key == "epochs" and value == 0) or (key == "train_neg_sample_args" and no_negatives(value)):
            continue  # the model as it is; none are asked for
        reasons = [
            why
            for keys, why, holds in _RULES
            if key in keys.split() and (key not in read or key == "device") and holds(config)
        ]
        if key == "loader" and value == "fast" and not cuts_padding(config):
            reasons += filter(None, [without_blocks(config)])
        # a person's own model may hand its configuration on to other code
        if known and key in keys_of_models() and key not in read:
            reasons.append("it has no such key")
        if reasons:
            yield f"{key}: no effect with {model}: {reasons[0]}"
    parts = next((key for key in ("split", "benchmark_filename") if config[key]), None)
    for name in ("split", "order", "group_by"):
        if parts and name in (given.get("eval_args") or {}):
            yield f"eval_args.{name}: no effect: {parts} gives the parts"


def _processes(given: dict[str, Any]) -> list[str]:
    several = [key for key in ("nproc", "world_size") if (given.get(key) or 1) > 1]
    if "local_rank" in given:  # one process of `recbole.quick_start.run`
        return []
    return [
        f"{key}: {given[key]} has no effect, a run is one process; recbole.quick_start.run(..., {key}={given[key]}) "
        "uses several GPUs, and runs of their own take one each (--gpu_id)"
        for key in several
    ]


def _plugged(config: Any) -> bool:
    return bool(config["pretrained_items"] or config["pretrained_users"] or config["pretrain"])


def _one_pass(config: Any) -> bool:
    return config["MODEL_TYPE"].name == "TRADITIONAL"  # type: ignore[no-any-return]


@cache
def keys_of_models() -> frozenset[str]:
    """Hyper-parameters: what yamls of models alone declare."""
    theirs, ours = recbole_dir() / "properties", properties_dir()
    files = [file for root in (theirs, ours) for file in root.glob("model/*.yaml")]
    common = [theirs / "overall.yaml", theirs / "dataset/sample.yaml", ours / "overall.yaml"]
    of_models, general = (set().union(*map(load_internal, each)) for each in (files, common))
    return frozenset(of_models - general - (KEYS.keys() - {"embedding_size"}))


def _read(config: Any) -> frozenset[str]:
    """The keys that the model's classes read, with those of what transforms its batches."""
    keys = frozenset().union(*(keys_read(text) for text in _texts(config.model_class)))
    keys |= own_keys(config.model_class) | hyper_parameters(config.home)
    return keys | (frozenset(["mask_ratio", "ft_ratio", "eta"]) if config["transform"] else frozenset())


def _calls(model_class: type, name: str) -> bool:
    """Whether the sources of a model, or the code of a class that has none, hold a name."""
    return name in own_keys(model_class) or any(name in text for text in _texts(model_class))


def _texts(model_class: type) -> list[str]:
    """The files of the model's classes; of a base of many models its own lines alone."""
    texts: list[str] = []
    for each in model_class.__mro__:
        package, _, file = each.__module__.partition(".")
        if file.endswith("abstract_recommender"):
            texts.append(textwrap.dedent(inspect.getsource(each)))
        elif package not in ("builtins", "abc", "typing", "torch"):
            texts += source_texts(each).values()
    return texts
