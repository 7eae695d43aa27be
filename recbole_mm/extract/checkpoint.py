"""A Hugging Face checkpoint: its tokenizer, its model with every weight that is used, and its JSON files."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from recbole_mm.errors import WrongUse

POOLER = "pooler."  # a layer on top of the last one, which no encoder of ours reads
# What a configuration says of its origin and of memory; weights are hashed as float32, whatever they were.
NO_MATTER = ("_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype")


def load_pretrained(checkpoint: str) -> tuple[Any, Any]:
    """The tokenizer and the encoder of a local folder, a package (`package:module`) or a hub name.

    Raises:
        NoCheckpoint: it is not here and could not be downloaded.
        WrongUse: a weight is missing, for which transformers would draw random numbers.
    """
    try:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging
    except ImportError as error:
        install = 'pip install "recbole_mm[extract]"'
        raise WrongUse(f"encoder {checkpoint} needs transformers: {install}") from error
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    options: dict[str, Any] = {"local_files_only": not connected()}
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, **options)
        options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
        model, info = AutoModel.from_pretrained(checkpoint, **options)
    except (OSError, ValueError) as error:
        what = f"neither a model folder nor a model that the hub gives us ({str(error).splitlines()[0]})"
        remedy = "without a connection use --encoder minilm, tfidf or a folder"
        raise NoCheckpoint(f"encoder {checkpoint}: {what}; {remedy}") from error
    drawn = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    return tokenizer, _encoder(model, drawn, checkpoint)


def _encoder(model: Any, drawn: Collection[str], checkpoint: str) -> Any:
    """The part of a model that encodes, without what was `drawn` at random: a pooler; all else must be there."""
    if any(name.startswith(POOLER) for name in drawn):
        import torch

        model.pooler = torch.nn.Identity()
    encoder = model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model
    tensors = model.state_dict(keep_vars=True)
    used = {id(tensor) for tensor in encoder.state_dict(keep_vars=True).values()}
    lacking = [
        n for n in sorted(drawn) if not n.startswith(POOLER) and (n not in tensors or id(tensors[n]) in used)
    ]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        what = f"its file lacks weights that fit its config.json ({lacking[0]}{more})"
        raise WrongUse(f"encoder {checkpoint}: {what}; download or save it again")
    return encoder


def config_digest(config: Any) -> str:
    """The SHA-256 of a model's configuration: with the weights, all that makes its values."""
    told = _without(json.loads(config.to_json_string(use_diff=True)))
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _without(told: Any) -> Any:
    if not isinstance(told, dict):
        return told
    return {key: _without(value) for key, value in told.items() if key not in NO_MATTER}


def longest(model: Any, config: Any) -> int | None:
    """The tokens that a model has positions for; None where its configuration names no number."""
    from torch import nn

    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return None
    for name, module in model.named_modules():  # RoBERTa and its like count from behind their padding id
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return positions - (0 if module.padding_idx is None else module.padding_idx + 1)
    return positions


class NoCheckpoint(WrongUse):
    """A checkpoint that is not on this machine and could not be downloaded."""


@cache
def connected() -> bool:
    """Whether the hub answers; without it only folders and what was downloaded before are tried.

    The hub's own client would retry for half a minute at every file.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if getproxies():  # then the address itself need not answer
        return True
    address = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((str(address.hostname), address.port or 443), timeout=5).close()
    except OSError:
        return False
    return True


def checkpoint_json(checkpoint: str, name: str) -> Any:
    """A JSON file of a checkpoint (folder or hub name); None when it has no such file."""
    from transformers.utils import cached_file

    kinds = ("missing_entries", "connection_errors")
    quiet = {f"_raise_exceptions_for_{kind}": False for kind in kinds}
    path = cached_file(checkpoint, name, local_files_only=not connected(), **quiet)
    return json.loads(Path(path).read_text(encoding="utf-8")) if path else None


def sentence_transformers_settings(checkpoint: str) -> dict[str, Any]:
    """Pooling, normalisation and length limit as a sentence-transformers checkpoint states them; else {}."""
    modules = checkpoint_json(checkpoint, "modules.json")
    if not modules:
        return {}
    found: dict[str, Any] = {"normalize": False}
    for module in modules:
        kind, folder = module["type"].rsplit(".", 1)[-1], module["path"]
        if kind == "Pooling":
            found["pooling"] = _pooling_name(checkpoint_json(checkpoint, f"{folder}/config.json") or {})
        elif kind == "Normalize":
            found["normalize"] = True
        elif kind != "Transformer":
            raise WrongUse(f"{checkpoint}: its sentence-transformers module {kind} is not one we read")
        elif folder:
            raise WrongUse(f"{checkpoint}: give its sub-folder {folder} as the encoder, with --pooling")
    limit = (checkpoint_json(checkpoint, "sentence_bert_config.json") or {}).get("max_seq_length")
    return {**found, "max_length": limit}


def _pooling_name(config: Mapping[str, Any]) -> str:
    modes = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"}
    chosen = [name for mode, name in modes.items() if config.get(f"pooling_mode_{mode}")]
    chosen = chosen or [str(config["pooling_mode"])] if config.get("pooling_mode") else chosen
    if len(chosen) != 1:
        raise WrongUse(
            f"sentence-transformers pooling {dict(config)}: say --pooling {', '.join(modes.values())}"
        )
    return chosen[0]
