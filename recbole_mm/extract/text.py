"""Text encoders: any Hugging Face checkpoint with pooled token vectors, and TF-IDF behind the same face."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np

from recbole_mm.errors import WrongUse
from recbole_mm.extract.encoder import Absent, Placement, fingerprint
from recbole_mm.extract.tfidf import encode_tfidf

if TYPE_CHECKING:
    import torch

LONGEST = 512  # where neither the settings nor the checkpoint say how long a text may be


class TextEncoder:
    """A Hugging Face encoder with `cls`, `mean` or `max` pooling over its last layer.

    Sentence-transformers folders are read as they are: their pooling, length limit and normalisation hold
    wherever the settings leave them open (`~`). Prepared items are token id lists; a batch is padded to
    its longest text only, which is why the pipeline sorts by length.
    """

    def __init__(self, settings: Mapping[str, Any], placement: Placement) -> None:
        self.name = str(settings["name"])
        self.placement = placement
        self.batch_size = placement.batch_size(settings["batch_size"])
        self.shard_size = int(settings["shard_size"])
        checkpoint = str(settings["checkpoint"])
        self.tokenizer, model = load_pretrained(checkpoint)
        encoder_only = not getattr(model.config, "is_encoder_decoder", False)
        self.model = placement.place(model if encoder_only else model.get_encoder())

        own = sentence_transformers_settings(checkpoint)
        self.pooling = str(settings["pooling"] or own.get("pooling") or "mean")
        if self.pooling not in POOLINGS:
            raise WrongUse(f"pooling {self.pooling} of encoder {self.name}: use {', '.join(POOLINGS)}")
        normalize = settings["normalize"]
        self.normalize = bool(own.get("normalize", False) if normalize is None else normalize)
        limit = min(self.tokenizer.model_max_length, LONGEST)
        self.max_length = int(settings["max_length"] or own.get("max_length") or limit)
        self.prefix = str(settings["prefix"] or "")
        rows = {"pooling": self.pooling, "normalize": self.normalize, "prefix": self.prefix}
        self.finish(kind="text", weights=fingerprint(self.model), **rows)

    def finish(self, **identity: Any) -> None:
        """What every encoder of tokens needs beyond its model: padding, identity, width."""
        if self.tokenizer.pad_token_id is None:  # padding is masked, so any token will do
            self.tokenizer.pad_token = self.tokenizer.eos_token or self.tokenizer.unk_token
        self.bare_length = len(self.tokenizer("")["input_ids"])
        limits = {"max_length": self.max_length, "precision": self.placement.precision}
        self.identity = {**identity, "tokenizer": _tokenizer_digest(self.tokenizer), **limits}
        self.width = int(self.encode(self.collate(self.prepare(["a"]))).shape[1])

    def prepare(self, raws: Sequence[str]) -> list[Any]:
        """Token ids [L] of each text."""
        texts = [self.prefix + raw for raw in raws]
        ids = self.tokenizer(texts, truncation=True, max_length=self.max_length)["input_ids"]
        return [row if len(row) > self.bare_length else Absent("text without a token") for row in ids]

    def size(self, prepared: list[int]) -> int:
        """The number of tokens."""
        return len(prepared)

    def collate(self, prepared: Sequence[list[int]]) -> dict[str, torch.Tensor]:
        """Ids and mask [B, L], padded on the right to the longest."""
        import torch

        width = max(len(row) for row in prepared)
        ids = np.full((len(prepared), width), self.tokenizer.pad_token_id, dtype=np.int64)
        mask = np.zeros((len(prepared), width), dtype=np.int64)
        for row, tokens in enumerate(prepared):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}

    def encode(self, batch: Mapping[str, torch.Tensor]) -> np.ndarray:
        """Rows [B, D], float32; of length one if `normalize`."""
        inputs = {key: tensor.to(self.placement.device, non_blocking=True) for key, tensor in batch.items()}
        with self.placement.running():
            return self.vectors(inputs).cpu().numpy()

    def vectors(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """As `encode`, from ids and mask [B, L] on the device, in the mode that is on; gradients flow."""
        import torch

        rows = self.rows(inputs)
        return torch.nn.functional.normalize(rows, dim=-1) if self.normalize else rows

    def rows(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Pooled rows [B, D]."""
        hidden = self.model(**inputs).last_hidden_state.float()  # [B, L, D]
        return POOLINGS[self.pooling](hidden, inputs["attention_mask"])


def _cls(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden[:, 0]


def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weight = mask[..., None].to(hidden.dtype)  # [B, L, 1]
    return (hidden * weight).sum(1) / weight.sum(1)


def _max(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden.masked_fill(mask[..., None] == 0, float("-inf")).amax(1)


POOLINGS = {"cls": _cls, "mean": _mean, "max": _max}


class TfidfEncoder:
    """TF-IDF and SVD over the whole catalogue at once: one shard, and any change re-encodes all of it."""

    def __init__(self, settings: Mapping[str, Any], texts: Sequence[str]) -> None:
        self.name = str(settings["name"])
        self.width = int(settings["width"])
        self.seed = int(settings["seed"])
        self.batch_size = self.shard_size = max(1, len(texts))
        collection = hashlib.sha256()
        for text in texts:
            collection.update(hashlib.sha256(text.encode()).digest())
        made_by = {"kind": "tfidf", "width": self.width, "seed": self.seed}
        self.identity = {**made_by, "collection": collection.hexdigest()}

    def prepare(self, raws: Sequence[str]) -> list[Any]:
        """The texts themselves."""
        return list(raws)

    def size(self, prepared: str) -> int:
        """One: the order of the catalogue is kept."""
        return 1

    def collate(self, prepared: Sequence[str]) -> list[str]:
        """The texts themselves."""
        return list(prepared)

    def encode(self, batch: Sequence[str]) -> np.ndarray:
        """Rows [N, D]; a text without a word gets a zero row, which the pipeline takes as absent."""
        return encode_tfidf(batch, self.width, self.seed)[0]


def load_pretrained(checkpoint: str) -> tuple[Any, Any]:
    """The tokenizer and the model of a local folder, a package (`package:module`) or a hub name."""
    try:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging
    except ImportError as error:
        install = 'pip install "recbole_mm[extract]"'
        raise WrongUse(f"encoder {checkpoint} needs transformers: {install}") from error
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    local = not connected()
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=local)
        return tokenizer, AutoModel.from_pretrained(checkpoint, local_files_only=local)
    except (OSError, ValueError) as error:
        what = f"neither a model folder nor a model that the hub gives us ({str(error).splitlines()[0]})"
        remedy = "without a connection use --encoder minilm, tfidf or a folder"
        raise NoCheckpoint(f"encoder {checkpoint}: {what}; {remedy}") from error


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
        raise WrongUse(f"sentence-transformers pooling {dict(config)}: say --pooling {', '.join(POOLINGS)}")
    return chosen[0]


def _tokenizer_digest(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return hashlib.sha256(state.encode()).hexdigest()
