"""The pre-training that a run asks for with ``pretrain``, as a configuration of its own on the same training rows."""

from __future__ import annotations

import os
from typing import Any

from recbole_mm.config import Config
from recbole_mm.config.effect import keys_of_models
from recbole_mm.config.known import hyper_parameters, own_keys
from recbole_mm.errors import WrongUse, suggest
from recbole_mm.model import get_model, model_names
from recbole_mm.model.traits import pretrains
from recbole_mm.run.key import KEYS

#: below ``checkpoint_dir``
FOLDER = "pretrained"
# how a run is trained, what it plugs in and how long its sequences are: the pre-training has its own
_WORDS = """
    pretrain pretrained_items pretrained_users pretrained_use pretrained_mode pretrained_at freeze
    train_epochs learner learning_rate lr_scheduler lr_warmup_epochs gradient_accumulation ema_decay weight_decay
    clip_grad_norm enable_amp enable_scaler train_batch_size train_neg_sample_args embedding_size init_from resume
    transform feature_scaling whitening_shrinkage feature_control feature_missing sequence_split MAX_ITEM_LIST_LENGTH
    loss_decimal_place metrics topk protocol eval_groups fused_optimizer
    train_sequences sequence_loss sequence_negatives sequence_negatives_by gbce_t
"""
_OWN = frozenset(_WORDS.split())


def check_pretrains(model: Any) -> None:
    """Raise ``WrongUse`` where a model is no pre-training."""
    if not pretrains(get_model(model)):
        names = [
            name for name, where in model_names().items() if _is_ours(where) and pretrains(get_model(name))
        ]
        raise WrongUse(f"pretrain: {model} leaves no vectors to other models{suggest(model, names)}")


def pretraining_of(config: Config, seed: int | None = None) -> Config | None:
    """What ``config['pretrain']`` asks for: the model's own defaults, the data and the split of the run.

    Args:
        config: of the run.
        seed: of the run; None: as ``config`` says.

    Raises:
        WrongUse: it names no pre-training, or a setting of it is wrong.
    """
    asked = config["pretrain"]
    if asked is None:
        return None
    own = {"model": asked} if isinstance(asked, str) else dict(asked)
    model = own.pop("model", None)
    if model is None:
        raise WrongUse(f"pretrain: {asked!r} names no model, such as {{model: CPMM, epochs: 50}}")
    check_pretrains(model)
    settings = {**_of_the_data(config), **own}
    settings["seed"] = config["seed"] if seed is None else seed
    settings["checkpoint_dir"] = os.path.join(config["checkpoint_dir"], FOLDER)
    settings["keep_checkpoints"] = "best"  # the vectors are made of it
    settings["pretrain"] = None  # the data set's own yaml may name one
    return Config(model, config["dataset"], None, settings, typed=True)


def _of_the_data(config: Config) -> dict[str, Any]:
    """What was given and decides the data, and the split as it is for this family of models."""
    of_models = keys_of_models() | own_keys(config.model_class) | hyper_parameters(config.home)
    mine = _OWN | (of_models - KEYS.keys())
    mine |= {name for name, key in KEYS.items() if key.shared == "budget"}
    # with paths as seen from here, so that one pre-training has one key
    settings = {key: value for key, value in config.spec.settings.items() if key not in mine}
    if config["split"] is None and config["benchmark_filename"] is None:
        parts = ("split", "group_by", "order")
        settings["eval_args"] = {part: config["eval_args"][part] for part in parts}
    else:
        settings.pop("eval_args", None)
    return settings


def _is_ours(where: str) -> bool:
    return where.startswith("recbole_mm.")
