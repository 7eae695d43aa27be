"""Text encoders: any Hugging Face checkpoint with pooled token vectors, and TF-IDF behind the same face."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_mm.errors import WrongUse
from recbole_mm.extract.checkpoint import (
    config_digest,
    load_pretrained,
    longest,
    sentence_transformers_settings,
)
from recbole_mm.extract.encoder import Absent, Cut, Placement, fingerprint
from recbole_mm.extract.tfidf import encode_tfidf

if TYPE_CHECKING:
    import torch

BLANK = "▁"  # what SentencePiece makes of a space, beside an unknown character too
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
        self.model = placement.place(model)

        own = sentence_transformers_settings(checkpoint)
        self.pooling = str(settings["pooling"] or own.get("pooling") or "mean")
        if self.pooling not in POOLINGS:
            raise WrongUse(f"pooling {self.pooling} of encoder {self.name}: use {', '.join(POOLINGS)}")
        normalize = settings["normalize"]
        self.normalize = bool(own.get("normalize", False) if normalize is None else normalize)
        positions = longest(self.model, model.config) or sys.maxsize
        limit = min(int(own.get("max_length") or min(self.tokenizer.model_max_length, LONGEST)), positions)
        self.max_length = int(settings["max_length"] or limit)
        if self.max_length > positions:
            raise WrongUse(
                f"max_length {self.max_length} of encoder {self.name}: it reads at most {positions} tokens"
            )
        self.prefix = str(settings["prefix"] or "")
        rows = {"pooling": self.pooling, "normalize": self.normalize, "prefix": self.prefix}
        self.finish(kind="text", weights=fingerprint(self.model), config=config_digest(model.config), **rows)

    def finish(self, **identity: Any) -> None:
        """What every encoder of tokens needs beyond its model: padding, identity, width."""
        if self.tokenizer.pad_token_id is None:  # padding is masked, so any token will do
            self.tokenizer.pad_token = self.tokenizer.eos_token or self.tokenizer.unk_token
        bare = self.tokenizer(self.prefix)["input_ids"]
        if self.max_length <= len(bare):
            what = f"its own {len(bare)} around a text leave no room for it"
            raise WrongUse(f"max_length {self.max_length} of encoder {self.name}: {what}; give more")
        self.nothing = {self.tokenizer.unk_token_id, self.tokenizer.convert_tokens_to_ids(BLANK)}
        self.bare_length = self._known(bare)
        limits = {"max_length": self.max_length, "precision": self.placement.precision}
        self.identity = {**identity, "tokenizer": _tokenizer_digest(self.tokenizer), **limits}
        self.prepare([""])  # sets the tokenizer's truncation, which threads must not do at the same time
        self.width = int(self.encode(self.collate([bare or [0]])).shape[1])

    def prepare(self, raws: Sequence[str]) -> list[Any]:
        """Token ids [L] of each text, `Cut` of a longer one; absent if it has none that the tokenizer knows."""
        texts = [self.prefix + raw for raw in raws]
        found = self.tokenizer(texts, truncation=True, max_length=self.max_length)
        prepared: list[Any] = []
        for place, row in enumerate(found["input_ids"]):
            if self._known(row) <= self.bare_length:
                prepared.append(Absent("text without a known token"))
            else:
                prepared.append(Cut(row) if self._is_cut(found, place, texts[place]) else row)
        return prepared

    def _known(self, ids: Sequence[int]) -> int:
        return sum(token not in self.nothing for token in ids)

    def _is_cut(self, found: Any, place: int, text: str) -> bool:
        if len(found["input_ids"][place]) < self.max_length:
            return False
        if found.encodings:
            return bool(found.encodings[place].overflowing)
        return len(self.tokenizer(text, verbose=False)["input_ids"]) > self.max_length  # written in Python

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

    whole = True  # some of the catalogue alone must not be encoded

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


def _tokenizer_digest(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return hashlib.sha256(state.encode()).hexdigest()
