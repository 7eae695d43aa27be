"""What a checkpoint's folder must hold, and what of it makes an encoder's identity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("safetensors")

import torch
from safetensors.torch import load_file, save_file
from toy_models import tiny_bert, tiny_clip, tokenizer

from recbole_mm.errors import WrongUse
from recbole_mm.extract.encoder import Encoder
from recbole_mm.extract.settings import build_encoders, read_settings


def build(folder: Path, kind: str = "text", **overrides: Any) -> Encoder:
    return build_encoders(read_settings(kind, str(folder), overrides), "cpu")["text"]


def drop(folder: Path, start: str) -> Path:
    """The checkpoint without its weights of that name."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith(start)}
    assert len(kept) < len(weights)
    save_file(kept, file, metadata={"format": "pt"})
    return folder


def test_a_pooler_that_is_missing_is_not_drawn(tmp_path: Path) -> None:
    expected = build(tiny_bert(tmp_path / "whole"))
    folder = drop(tiny_bert(tmp_path / "bert"), "pooler.")
    first, second = build(folder), build(folder)
    assert first.identity == second.identity
    rows = [encoder.encode(encoder.collate(encoder.prepare(["red shirt"]))) for encoder in (expected, first)]
    assert np.array_equal(*rows)


def test_any_other_weight_that_is_missing_or_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match=r"encoder\.layer\.1\..* and 15 more"):
        build(drop(tiny_bert(tmp_path / "bert"), "encoder.layer.1."))
    with pytest.raises(WrongUse, match="lacks weights"):
        build(drop(tiny_clip(tmp_path / "clip"), "visual_projection"), "clip")
    folder = tiny_bert(tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    with pytest.raises(WrongUse, match=r"intermediate\.dense"):
        build(folder)


def test_a_decoder_may_be_missing(tmp_path: Path) -> None:
    from transformers import T5Config, T5EncoderModel

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": 14}
    tokenizer(tmp_path, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")
    with torch.random.fork_rng():
        T5EncoderModel(T5Config(**sizes)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"is_encoder_decoder": True})
    )  # as the hub's are
    assert build(tmp_path).identity == build(tmp_path).identity
    drop(tmp_path, "encoder.block.0.")
    with pytest.raises(WrongUse, match=r"encoder\.block\.0"):
        build(tmp_path)


@pytest.mark.parametrize(
    ("change", "same"), [({"hidden_act": "relu"}, False), ({"_name_or_path": "x"}, True)]
)
def test_identity_holds_the_models_configuration(tmp_path: Path, change: dict[str, str], same: bool) -> None:
    folder = tiny_bert(tmp_path / "bert")
    before = build(folder).identity
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    assert (build(folder).identity == before) == same


def test_a_length_that_the_model_cannot_read_is_refused(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "bert")
    build(folder, max_length=32)
    with pytest.raises(WrongUse, match="at most 32 tokens"):
        build(folder, max_length=33)
    with pytest.raises(WrongUse, match="its own 2 around a text"):
        build(folder, max_length=2)


def test_positions_behind_a_padding_id_are_not_counted(tmp_path: Path) -> None:
    from transformers import RobertaConfig, RobertaModel

    tokenizer(tmp_path, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = RobertaConfig(**sizes, vocab_size=14, max_position_embeddings=20, pad_token_id=1)
    RobertaModel(config).save_pretrained(tmp_path)
    encoder = build(tmp_path)  # the tokenizer would allow 32
    assert encoder.encode(encoder.collate(encoder.prepare(["red " * 40]))).shape == (1, 16)
    assert encoder.identity["max_length"] == 18
    with pytest.raises(WrongUse, match="at most 18 tokens"):
        build(tmp_path, max_length=19)
