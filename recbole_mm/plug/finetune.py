"""``finetune_encoder``: the text encoder inside a model, in the place of the vectors that it left in a store.

The vectors of the modality ``text`` are made anew from the texts in every step, so that the last layers of the encoder
learn with the model; without a step they are those of the store, scaled as those. It is a part of the features that a
model holds, so it serves every model that reads them (`recbole_mm.layer.feature.FeatureTable`), none of which knows of
it. All texts pass through the encoder in each evaluation, those of a batch in each step: for small sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_mm.data.scaling import Scaler, Transform
from recbole_mm.errors import WrongUse
from recbole_mm.extract.checkpoint import NoCheckpoint
from recbole_mm.extract.encoder import Absent, Placement
from recbole_mm.extract.items import read_texts
from recbole_mm.extract.settings import read_settings
from recbole_mm.extract.text import TextEncoder
from recbole_mm.layer.feature import FeatureTable
from recbole_mm.layer.transformer import length_buckets
from recbole_mm.modality import ModalityStore
from recbole_mm.model.traits import trait

TEXT, KEY = "text", "finetune_encoder"
#: padded tokens that go through the encoder at once
TOKENS_AT_ONCE = 1 << 13
#: texts on which the encoder is compared with the store, and the least cosine of what they give
TRIED, ALIKE = 16, 0.99


class TextTower(nn.Module):
    """The vectors of items by their texts: a pooled Hugging Face encoder, of which the last layers are trained.

    The other layers and the embeddings stay as they are and drop nothing out. In evaluation all texts are encoded once,
    until the mode or the weights change.

    Args:
        encoder: that of ``recbole-mm extract text``.
        texts: token ids of each of N texts.
        rows: ``[I]``, the text of each item, -1 for none.
        scale: what `feature_scaling` does with a vector.
        layers: how many of the last layers are trained.
        checkpointing: keep only the inputs of layers for the backward pass and compute the rest once more.

    Raises:
        WrongUse: it has fewer layers, or cannot keep inputs alone.
    """

    rows: Tensor
    ids: Tensor
    size: Tensor

    def __init__(
        self,
        encoder: TextEncoder,
        texts: Sequence[list[int]],
        rows: np.ndarray,
        scale: Transform | None,
        layers: int,
        checkpointing: bool,
    ):
        super().__init__()
        self.model, self._encoder = encoder.model, encoder
        self.scale = Scaler(scale)
        batch = encoder.collate(texts)
        self.register_buffer("rows", torch.from_numpy(rows), persistent=False)
        self.register_buffer("ids", batch["input_ids"], persistent=False)
        self.register_buffer("size", batch["attention_mask"].sum(dim=1), persistent=False)
        every = layers_of(self.model)
        if layers > len(every):
            raise WrongUse(f"finetune_layers: {layers}, and {encoder.name} has {len(every)} layers")
        self.trained = [*every[len(every) - layers :]]
        self.model.requires_grad_(False)
        for layer in self.trained:
            layer.requires_grad_(True)
        if checkpointing:
            _keep_inputs_alone(self.model, encoder.name)
        self._known: list[Tensor] = []  # in a list, so that no checkpoint takes it for a state
        self.register_load_state_dict_post_hook(lambda *_: self._known.clear())

    def forward(self, items: Tensor, stored: Tensor) -> Tensor:
        """``[n, D]`` of ``items [n]``; of those without a text the row of ``stored [n, D]``."""
        rows = self.rows[items]
        there = (rows >= 0).nonzero().squeeze(1)
        if self.training or torch.is_grad_enabled():
            needed, at = torch.unique(rows[there], return_inverse=True)
            vectors = F.embedding(at, self._encode(needed))
        else:
            if not self._known:
                self._known.append(self._encode(torch.arange(len(self.ids), device=rows.device)))
            vectors = self._known[0][rows[there]]
        return stored.index_put((there,), vectors)

    def _encode(self, texts: Tensor) -> Tensor:
        """``[n, D]`` of the texts ``[n]``."""
        size = self.size[texts]
        order, parts = [texts[:0]], [self.size.new_zeros(0, self._encoder.width, dtype=torch.float32)]
        for bucket in length_buckets(size, tokens=TOKENS_AT_ONCE):
            column = torch.arange(int(size[bucket].max()), device=size.device)
            mask = (column < size[bucket].unsqueeze(1)).long()
            given = {"input_ids": self.ids[texts[bucket]][:, : len(column)], "attention_mask": mask}
            parts.append(self.scale(self._encoder.vectors(given)))
            order.append(bucket)
        return torch.cat(parts)[torch.argsort(torch.cat(order))]

    def train(self, mode: bool = True) -> TextTower:
        """Set the mode, of what is trained alone; forgets computed vectors."""
        self._known.clear()
        super().train(mode)
        self.model.eval()
        for layer in self.trained:
            layer.train(mode)
        return self


def finetune(config: Any, dataset: Any, model: Any) -> dict[str, Any] | None:
    """Put the encoder of ``finetune_encoder`` into the features of ``model``; says what it did.

    Config keys: ``finetune_encoder``, ``finetune_from``, ``finetune_fields``, ``finetune_layers``,
    ``finetune_learning_rate``, ``finetune_checkpointing``.

    Args:
        config: the configuration.
        dataset: the training part.
        model: built, on its device.

    Returns:
        a plain dict for the record, None where it is not asked for or the model reads no features.

    Raises:
        WrongUse: there are no vectors or no texts, no such encoder, or it did not make the vectors.
    """
    table = trait(model, "held_features")() if config[KEY] else None
    if not (isinstance(table, FeatureTable) and table.names):
        return None  # `without_effect` says so
    log = getLogger("recbole_mm.plug")
    if config["feature_control"] == "noise":
        log.info("%s: noise in the place of the vectors has no texts, so no encoder is trained", KEY)
        return None
    if TEXT not in table.names:
        raise WrongUse(f"{KEY}: no modality {TEXT!r} in this run, there is {', '.join(table.names)}")
    stores = [ModalityStore.open(path) for path, _ in dataset.store_parts()[TEXT]]
    modality = dataset.modality[TEXT]
    encoder = _encoder(config, stores[0])
    used = modality.rows[modality.present]
    texts = _prepared(config, stores, used, encoder)
    _refuse_other_vectors(encoder, stores, texts, np.asarray(modality.source[used[:TRIED]]))
    of_item = np.where(modality.present, np.cumsum(modality.present) - 1, -1)
    layers, rate = config["finetune_layers"], config["finetune_learning_rate"]
    tower = TextTower(encoder, texts, of_item, modality.scale, layers, config["finetune_checkpointing"])
    table.train_encoder(TEXT, tower.to(table.present.device), rate)
    log.info(
        "%s: %s reads %d texts of at most %d tokens; the last %d of its %d layers learn, %d of its %d weights",
        KEY, encoder.name, len(texts), tower.ids.shape[1], layers, len(layers_of(tower.model)),
        sum(p.numel() for p in tower.parameters() if p.requires_grad), sum(p.numel() for p in tower.parameters()),
    )  # fmt: skip
    return {"encoder": encoder.name, "weights": encoder.identity["weights"], "texts": len(texts)}


def layers_of(model: nn.Module) -> nn.ModuleList:
    """The layers of a Hugging Face encoder: its longest list of modules."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len, default=nn.ModuleList())


def _keep_inputs_alone(model: Any, name: str) -> None:
    # renamed in transformers 5
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False})
    except ValueError as error:
        raise WrongUse(f"finetune_checkpointing: {name} cannot ({error})") from error


def _encoder(config: Any, store: ModalityStore) -> TextEncoder:
    """The encoder that is named, or the one that the store names."""
    name = str(config["finetune_from"] or store.encoder)
    settings = read_settings("text", name, {})
    if settings["family"] != "huggingface":
        raise WrongUse(f"{KEY}: {name} has no layers to train; extract with a Hugging Face encoder")
    try:
        with torch.random.fork_rng():  # weights that a checkpoint leaves out are drawn
            return TextEncoder(settings, Placement.pick(str(config["device"]), "float32"))
    except NoCheckpoint as error:
        remedy = f"name the folder of the encoder that made {store.path} (finetune_from)"
        raise WrongUse(f"{KEY}: {name} is no model folder and no model of the hub here; {remedy}") from error


def _prepared(
    config: Any, stores: Sequence[ModalityStore], used: np.ndarray, encoder: TextEncoder
) -> list[list[int]]:
    """Token ids of the texts of the rows ``used`` of the stores, one store behind the other."""
    place = Path(str(config["data_path"]))
    texts: list[str] = []
    files = []
    for store in stores:
        folder = place.parent / store.path.parent.name if config["domains"] else place
        files.append(folder / "items.parquet")
        if not files[-1].is_file():
            raise WrongUse(
                f"{KEY}: there are no texts of the items, {files[-1]} is missing; recbole-mm convert writes it"
            )
        items, _ = read_texts(files[-1], config["finetune_fields"], ". ")
        known = dict(zip(items.tokens, items.raws, strict=True))
        texts += [known.get(token, "") for token in store.tokens]
    prepared = encoder.prepare([texts[row] for row in used])
    without = [row for row, tokens in zip(used, prepared, strict=True) if isinstance(tokens, Absent)]
    if without:
        token = np.concatenate([store.tokens for store in stores])[without[0]]
        more = f" (and {len(without) - 1} more)" if len(without) > 1 else ""
        raise WrongUse(f"{KEY}: item {token!r}{more} has a vector and no text in {_listed(files)}")
    return prepared


def _refuse_other_vectors(
    encoder: TextEncoder, stores: Sequence[ModalityStore], texts: Sequence[list[int]], stored: np.ndarray
) -> None:
    """The encoder starts where the store is, by which its vectors are scaled: else they are not its own."""
    where, made = _listed([store.path for store in stores]), encoder.encode(encoder.collate(texts[:TRIED]))
    if made.shape != stored.shape:
        raise WrongUse(
            f"{KEY}: {encoder.name} gives {made.shape[1]}-d vectors, {where} has {stored.shape[1]}-d"
        )
    ours, theirs = (torch.from_numpy(np.asarray(each, dtype=np.float32)) for each in (made, stored))
    alike = F.cosine_similarity(ours, theirs)
    if not bool((alike > ALIKE).all()):
        raise WrongUse(
            f"{KEY}: {encoder.name} does not make the vectors of {where} from these texts (cosine "
            f"{float(alike.min()):.2f}); extract them again, or name its encoder and columns (finetune_from, "
            "finetune_fields)"
        )


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))
