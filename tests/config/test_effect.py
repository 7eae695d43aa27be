"""Keys without effect are said, one line each; a key that has one is never said to have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_mm.config import Config
from recbole_mm.model import get_model, model_names
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec
from recbole_mm.testing import write_toy


def lines(model: str | type, **given: Any) -> list[str]:
    bare = Config(model, "ml-100k", None, {"use_gpu": False}).notes
    made = Config(model, "ml-100k", None, {"use_gpu": False, **given})
    return [note for note in made.notes if note not in bare]


SAID: list[tuple[str, dict[str, Any], str]] = [
    ("BPR", {"preload_weight": {"item_id": "rating"}, "load_col": None},
     "preload_weight: no effect with BPR: it reads no preloaded weights"),
    ("EASE", {"stopping_step": 5}, "stopping_step: no effect with EASE: it learns in one pass, without gradients"),
    ("ItemKNN", {"learning_rate": 0.1},
     "learning_rate: no effect with ItemKNN: it learns in one pass, without gradients"),
    ("BPR", {"modalities": ["text"]}, "modalities: no effect with BPR: it reads no vectors of items"),
    ("BPR", {"min_coverage": 0.1}, "min_coverage: no effect with BPR: it reads no vectors of items"),
    ("BPR", {"freeze": "all"},
     "freeze: no effect with BPR: no vectors are given (pretrained_items, pretrained_users)"),
    ("CMC", {"modalities": [], "min_coverage": 0.1},
     "min_coverage: no effect with CMC: modalities: [] leaves the vectors of items out"),
    ("BPR", {"finetune_encoder": True}, "finetune_encoder: no effect with BPR: it reads no vectors of items"),
    ("CMC", {"modalities": [], "finetune_encoder": True},
     "finetune_encoder: no effect with CMC: modalities: [] leaves the vectors of items out"),
    ("CMC", {"finetune_layers": 3}, "finetune_layers: no effect with CMC: finetune_encoder is False"),
    ("BPR", {"hidden_size": 32}, "hidden_size: no effect with BPR: it has no such key"),
    ("Pop", {"embedding_size": 32}, "embedding_size: no effect with Pop: it has no such key"),
    ("BPR", {"MAX_ITEM_LIST_LENGTH": 20}, "MAX_ITEM_LIST_LENGTH: no effect with BPR: it reads no sequences"),
    ("SASRec", {"kg_reverse_r": True}, "kg_reverse_r: no effect with SASRec: it reads no knowledge graph"),
    ("CFKG", {"shuffle": False}, "shuffle: no effect with CFKG: the triples of a knowledge graph are always shuffled"),
    ("BPR", {"require_pow": True}, "require_pow: no effect with BPR: its loss has no such term"),
    ("CMC", {"source_domain": "A"}, "source_domain: no effect with CMC: there is one domain"),
    ("CMC", {"domain_groups": {"A": ["Drama"]}}, "domain_groups: no effect with CMC: there is no domain_rule"),
    ("CMC", {"item_overlap": False}, "item_overlap: no effect with CMC: no sets are joined (domains)"),
    ("BPR", {"cold_threshold": 3}, "cold_threshold: no effect with BPR: eval_groups has no 'cold'"),
    ("BPR", {"resample_eval": True}, "resample_eval: no effect with BPR: eval_args.mode draws nothing"),
    ("EASE", {"loader": "fast"}, "loader: no effect with EASE: it learns in one pass, without gradients"),
    ("CFKG", {"loader": "fast"}, "loader: no effect with CFKG: it does not train on rows of interactions alone"),
    ("MultiVAE", {"loader": "fast"},
     "loader: no effect with MultiVAE: it does not train on rows of interactions alone"),
    ("BPR", {"loader": "fast", "train_neg_sample_args": {"dynamic": True}},
     "loader: no effect with BPR: the model chooses its negatives batch by batch (dynamic)"),
    ("STAMP", {"loader": "fast", "transform": "inverse_itemseq"},
     "loader: no effect with STAMP: transform changes single batches"),
    ("SASRec", {"loader": "fast", "train_sequences": "shifted", "sequence_split": "interactions"},
     "loader: no effect with SASRec: it trains on windows (train_sequences: shifted)"),
    ("BPR", {"loader": "fast", "worker": 2},
     "worker: no effect with BPR: loader: fast makes batches in the process itself"),
    ("BPR", {"sequence_split": "interactions"}, "sequence_split: no effect with BPR: it reads no sequences"),
    ("BPR", {"train_sequences": "shifted"}, "train_sequences: no effect with BPR: it reads no sequences"),
    ("SASRec", {"sequence_loss": "gbce"}, "sequence_loss: no effect with SASRec: train_sequences is prefix"),
    ("EASE", {"ema_decay": 0.9}, "ema_decay: no effect with EASE: it learns in one pass, without gradients"),
    ("BPR", {"softmax_memory_mib": 9}, "softmax_memory_mib: no effect with BPR: its loss is no softmax in blocks"),
    ("BPR", {"evaluator": "recbole", "eval_memory_mib": 3},
     "eval_memory_mib: no effect with BPR: evaluator: recbole knows none of it"),
    ("DeepFM", {"topk": [5]}, "topk: no effect with DeepFM: none of the metrics is cut off at k"),
    ("BPR", {"wandb_project": "mine"}, "wandb_project: no effect with BPR: log_wandb is False"),
    ("BPR", {"enable_scaler": True}, "enable_scaler: no effect with BPR: gradients are scaled on a GPU alone"),
    ("BPR", {"device": "tpu"}, "device: no effect with BPR: it follows from use_gpu and gpu_id"),
    ("BPR", {"gpu_id": "1"}, "gpu_id: no effect with BPR: use_gpu is False"),
    ("BPR", {"neg_sampling": 3},
     "neg_sampling: no effect with BPR: RecBole reads it no more: see train_neg_sample_args"),
    ("BPR", {"split": {"random": [0.8, 0.1, 0.1]}, "eval_args": {"order": "TO"}},
     "eval_args.order: no effect: split gives the parts"),
]  # fmt: skip


SHIFTED: list[tuple[dict[str, Any], list[str]]] = [
    ({"sequence_loss": "ce", "softmax_memory_mib": 9}, []),
    ({"gbce_t": 0.5}, ["gbce_t: no effect with SASRec: sequence_loss is another"]),
    (
        {"sequence_loss": "gbce", "sequence_negatives": 9, "softmax_memory_mib": 9},
        ["softmax_memory_mib: no effect with SASRec: its loss is no softmax in blocks"],
    ),
    (
        {"sequence_negatives_by": "popularity"},
        ["sequence_negatives_by: no effect with SASRec: sequence_loss draws none of them"],
    ),
]


@pytest.mark.parametrize(("given", "wanted"), SHIFTED)
def test_keys_of_the_loss_over_positions(given: dict[str, Any], wanted: list[str]) -> None:
    split = "SASRec: sequence_split: interactions (train_sequences: shifted)"
    assert lines("SASRec", train_sequences="shifted", **given) == [split, *wanted]


@pytest.mark.parametrize(("model", "given", "line"), SAID)
def test_a_key_without_effect_is_said(model: str, given: dict[str, Any], line: str) -> None:
    assert lines(model, **given) == [line]


@pytest.mark.parametrize(
    ("model", "given"),
    [
        ("EASE", {"epochs": 0}),
        ("BPR", {"loader": "fast"}),
        ("VBPR", {"loader": "fast"}),
        ("SASRec", {"loader": "fast"}),
        ("BPR", {"resample_eval": True, "eval_args": {"mode": {"valid": "full", "test": "uni9"}}}),
        ("BPR", {"stopping_step": 5, "learning_rate": 0.1, "epochs": 3, "embedding_size": 8}),
        ("SASRec", {"MAX_ITEM_LIST_LENGTH": 20, "hidden_size": 32, "loss_type": "CE"}),
        ("DeepFM", {"embedding_size": 8}),
        ("LightGCN", {"require_pow": True}),
        ("SimpleX", {"history_len": 5}),
        ("S3Rec", {"mask_ratio": 0.3}),
        ("BERT4Rec", {"mask_ratio": 0.3}),
        ("CFKG", {"kg_reverse_r": True}),
        ("CMC", {"min_coverage": 0.1, "feature_learning_rate": 0.1, "lambda": 0.5}),
        ("CMC", {"finetune_encoder": True, "finetune_layers": 3}),
        ("CMC", {"domain_rule": "genre", "domain_groups": {"A": ["Drama"]}, "eval_domain": "A"}),
        ("BPR", {"eval_groups": ["cold"], "cold_threshold": 3}),
        ("BPR", {"pretrained_items": "text", "freeze": "all", "min_coverage": 0.1, "modality_path": "x"}),
    ],
)
def test_one_that_has_an_effect_is_not(model: str, given: dict[str, Any]) -> None:
    assert lines(model, **given) == []


@pytest.mark.parametrize("model", [m for m in model_names() if m not in ("LightGBM", "XGBoost")])
def test_a_models_own_hyper_parameters_have_one(model: str) -> None:
    from recbole_mm.config.effect import _read, keys_of_models
    from recbole_mm.config.properties import load_internal, recbole_dir
    from recbole_mm.files import properties_dir

    own = {
        key: value
        for root in (recbole_dir() / "properties", properties_dir())
        for key, value in load_internal(root / f"model/{model}.yaml").items()
    }
    assert {*own} & keys_of_models() <= _read(_Plain(get_model(model)))


class _Plain(dict[str, Any]):
    """As much of a configuration as `_read` asks for."""

    def __init__(self, model_class: type) -> None:
        self.model_class = self.home = model_class
        self["transform"] = None


def test_a_persons_own_model_may_read_what_its_source_does_not_show() -> None:
    own = type("Own", (get_model("BPR"),), {})
    assert lines(own, hidden_size=32) == [] and lines(own, modalities=["text"]) != []
    weights = {"preload_weight": {"item_id": "rating"}, "load_col": None}
    assert lines(Weighted, **weights) == []


class Weighted(get_model("BPR")):  # type: ignore[misc]
    """Reads what `preload_weight` loads."""

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.weights = dataset.get_preload_weight("item_id")


def test_what_is_said_to_have_no_effect_has_none(tmp_path: Path) -> None:
    """Trained weights and test figures are those of the run without the keys."""
    toy = write_toy(tmp_path, ()) | {"epochs": 1}
    more = {
        "MAX_ITEM_LIST_LENGTH": 3, "hidden_size": 7, "feature_control": "noise", "kg_reverse_r": True,
        "require_pow": True, "cold_threshold": 2, "source_domain": "A", "user_overlap": False,
        "eval_args": {"order": "TO", "group_by": None},
    }  # fmt: skip
    runs, results = [], []
    for given in ({}, more):
        runs.append(Session.build(RunSpec("BPR", "toy", {**toy, **given}, seed=3)))
        record = runs[-1].run().record
        results.append(record["test_result"])
        assert {*runs[-1].config.notes} <= {*record["remarks"]}
    said = {note.partition(":")[0] for note in set(runs[1].config.notes) - set(runs[0].config.notes)}
    assert said == {*more, "eval_args.order", "eval_args.group_by"} - {"eval_args"}
    assert results[0] == results[1]
    states = [run.model.state_dict() for run in runs]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
