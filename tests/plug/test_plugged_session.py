"""Runs with plugged vectors: the record, the log, checkpoints, what is refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recbole_mm.config import Config
from recbole_mm.data.training_hash import training_hash
from recbole_mm.errors import WrongUse
from recbole_mm.modality import ModalityStore
from recbole_mm.quick_start.fingerprint import run_key
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec
from recbole_mm.testing import Built, write_toy


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings of the toy set; stores ``text`` (6-d) and ``image`` (9-d) of 24 of the 30 items."""
    monkeypatch.chdir(tmp_path)
    settings = write_toy(tmp_path)
    del settings["modalities"]
    return settings


def store(path: str, tokens: list[str], width: int = 64, **more: Any) -> str:
    """Random vectors."""
    values = np.random.default_rng(width).standard_normal((len(tokens), width)).astype(np.float32)
    ModalityStore.write(path, values, tokens, modality=Path(path).name, encoder="drawn", **more)
    return path


def test_the_log_and_the_record_say_what_was_plugged(
    toy: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    users = store("taste", [f"u{u}" for u in range(20)], width=5)
    given = {"pretrained_items": ["text", "image"], "pretrained_users": users, "pretrained_mode": "add"}
    with caplog.at_level(logging.INFO, "recbole_mm.plug"):
        result = Session.build(RunSpec("BPR", "toy", {**toy, **given, "freeze": ["text", "taste"]})).run()
    text, image, taste = result.record["pretrained"]
    path = "modality/toy/text"
    assert text == {
        "of": "item", "name": "text", "path": path, "encoder": "toy",
        "fingerprint": ModalityStore.open(path).fingerprint, "covered": 24, "total": 30, "width": 6,
        "tables": {"item_embedding": 64},
    }  # fmt: skip
    assert (image["name"], taste["of"], taste["covered"], taste["total"]) == ("image", "user", 20, 40)
    told = [message for message in caplog.messages if message.startswith("pretrained")]
    here = Path().resolve()
    assert told == [
        f"pretrained items, text: 24 of 30 (80.0 %) have a vector, 6-d, toy, from {here}/modality/toy/text; added to "
        "item_embedding, 6 -> 64 by a learned projection; the vectors are frozen",
        f"pretrained items, image: 24 of 30 (80.0 %) have a vector, 9-d, toy, from {here}/modality/toy/image; added "
        "to item_embedding, 9 -> 64 by a learned projection; the vectors are trained",
        "pretrained users, taste: 20 of 40 (50.0 %) have a vector, 5-d, drawn, from taste; added to user_embedding, "
        "5 -> 64 by a learned projection; the vectors are frozen",
    ]


def test_checkpoints(toy: dict[str, Any]) -> None:
    """k epochs and k resumed are 2k; a run opens, starts another one, and asks for the store it was made with."""
    path = store("mine", [f"item{i:02d}" for i in range(25)], width=7)
    given = {**toy, "pretrained_items": path, "pretrained_mode": "concat", "sequence_split": "interactions"}
    given["keep_checkpoints"] = "all"
    whole = Session.build(RunSpec("SASRec", "toy", {**given, "epochs": 4}, seed=1))
    whole.run()
    half = Session.build(RunSpec("SASRec", "toy", {**given, "epochs": 2}, seed=1))
    half.run()
    resumed = Session.build(RunSpec("SASRec", "toy", {**given, "epochs": 4}, seed=1))
    resumed.run(resume=half.trainer.folder.path)
    for name, value in whole.trainer.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    found = Session.open(whole.trainer.folder.path)
    assert found.evaluate() == whole.evaluate()
    warm = Session.build(RunSpec("SASRec", "toy", given, init_from=str(whole.trainer.folder.path)))
    assert torch.equal(warm.model.item_embedding.weight, found.model.item_embedding.weight)
    store(path, [f"item{i:02d}" for i in range(24)], width=7, overwrite=True)
    with pytest.raises(WrongUse, match="the store is another than when"):
        Session.open(whole.trainer.folder.path)


def test_first_values_leave_a_plain_model(toy: dict[str, Any]) -> None:
    plain = Built("BPR", toy)
    tokens = [str(t) for t in plain.train_data._dataset.field2id_token["item_id"][1:]]
    path = store("mine", tokens[:20])
    found = Built("BPR", {**toy, "pretrained_items": path}).model
    assert type(found.item_embedding) is torch.nn.Embedding
    assert found.state_dict().keys() == plain.model.state_dict().keys()
    vectors = torch.from_numpy(np.array(ModalityStore.open(path).values))
    assert torch.equal(found.item_embedding.weight[1:21], vectors)
    for rows in (slice(0, 1), slice(21, None)):
        assert torch.equal(found.item_embedding.weight[rows], plain.model.item_embedding.weight[rows])
    assert torch.equal(found.user_embedding.weight, plain.model.user_embedding.weight)


@pytest.mark.parametrize("mode", ["init", "add", "replace", "concat"])
def test_an_item_without_training_rows_has_the_vector_alone_and_keeps_it(
    toy: dict[str, Any], mode: str
) -> None:
    width = 64 if mode == "init" else 7
    path = store("mine", [f"item{i:02d}" for i in range(30)], width=width)
    given = {**toy, "cold_items": 0.2, "pretrained_items": path, "pretrained_mode": mode}
    built = Built("BPR", given)
    cold = torch.from_numpy(built.test_data._dataset.cold_items)
    part = built.fit().model.item_embedding.plugs["item"]
    vectors = part.features("mine", cold)
    if mode != "init":
        vectors = vectors @ part.projections["of_mine"].t()
    torch.testing.assert_close(built.model.item_embedding.weight[cold], vectors)
    assert built.model.scores_from_features


def test_another_store_is_another_run(toy: dict[str, Any]) -> None:
    tokens = [f"item{i:02d}" for i in range(30)]
    keys = set()
    for width in (5, 6):
        store("mine", tokens, width=width, overwrite=True)
        for place in ("mine", ["mine"], {"a": "mine"}):
            config = Config("BPR", "toy", config_dict={**toy, "pretrained_items": place})
            keys.add(run_key(config, 1))
    keys.add(run_key(Config("BPR", "toy", config_dict=toy), 1))
    assert len(keys) == 7


def test_vectors_that_saw_other_rows_are_refused(toy: dict[str, Any]) -> None:
    tokens = [f"item{i:02d}" for i in range(30)]
    here = training_hash(Built("BPR", toy).train_data._dataset)
    path = store("mine", tokens, metadata={"training_rows": here})
    Built("SASRec", {**toy, "pretrained_items": path, "sequence_split": "interactions"})
    other = {**toy, "pretrained_items": path, "split": {"random": [0.8, 0.1, 0.1]}}
    with pytest.raises(WrongUse) as error:
        Built("BPR", other)
    there = training_hash(Built("BPR", {**other, "pretrained_items": None}).train_data._dataset)
    assert str(error.value) == (
        f"pretrained_items: mine was pre-trained on the training rows {here[:16]}, and those of this run are "
        f"{there[:16]}: it may have seen what is tested here; pre-train with this data set, its filters and its split"
    )


USUAL = "modality/toy"


@pytest.mark.parametrize(
    ("model", "given", "line"),
    [
        ("BPR", {"pretrained_items": "no/store"},
         f"pretrained_items: no store no/store, neither a folder nor in {{here}}/{USUAL}; there are image, text"),
        ("BPR", {"pretrained_items": "txt"},
         f"pretrained_items: no store txt, neither a folder nor in {{here}}/{USUAL}; did you mean 'text'?"),
        ("BPR", {"pretrained_items": "toy"}, "pretrained_items: toy is no store and holds none"),
        ("BPR", {"pretrained_items": {"a": "b"}}, "pretrained_items: 'a' points to b, where no store is"),
        ("BPR", {"pretrained_items": ["text", f"{USUAL}/text"]},
         f"pretrained_items: {{here}}/{USUAL}/text and {USUAL}/text are both named 'text'; name them, such as "
         f"{{{{a: {USUAL}/text}}}}"),
        ("BPR", {"pretrained_items": "text", "pretrained_use": ["image"]},
         "pretrained_use: no vectors named 'image'; there are text"),
        ("BPR", {"pretrained_items": "text", "pretrained_use": []}, "pretrained_use: an empty list is none of "
         "pretrained_items: text"),
        ("BPR", {"pretrained_items": "text", "freeze": ["tex"]},
         "freeze: no vectors named 'tex'; did you mean 'text'?"),
        ("BPR", {"pretrained_items": "other"},
         "pretrained_items: other holds vectors of 2 items, none of them of toy; one of the data set is 'item01', one "
         "of the store 'x'"),
        ("EASE", {"pretrained_items": "text"}, "pretrained_items: EASE cannot take them: it learns no vectors"),
        ("LR", {"pretrained_items": "text"},
         "pretrained_items: LR cannot take them: it scores by one number an id, and reads no vector"),
        ("MultiVAE", {"pretrained_items": "text"},
         "pretrained_items: MultiVAE cannot take them: it holds no embedding with a row for each item"),
        ("SASRec", {"pretrained_users": "other", "sequence_split": "interactions"},
         "pretrained_users: SASRec cannot take them: it holds no embedding with a row for each user"),
        ("NeuMF", {"pretrained_items": "text", "pretrained_at": ["input"]},
         "pretrained_at: NeuMF takes vectors at input and output alike (its tables are item_mf_embedding, "
         "item_mlp_embedding); leave pretrained_at out"),
        ("BPR", {"pretrained_items": "text", "pretrained_at": ["output"]},
         "pretrained_at: BPR takes vectors at input and output alike (input and output are not told apart in it); "
         "leave pretrained_at out"),
        ("BPR", {"pretrained_items": "text", "freeze": "none", "feature_memory_mib": 0},
         "freeze: vectors that are trained must be in memory, and those of pretrained_items exceed "
         "feature_memory_mib: 0; raise it, or freeze them"),
    ],
)  # fmt: skip
def test_one_line_each(toy: dict[str, Any], model: str, given: dict[str, Any], line: str) -> None:
    store("other", ["x", "y"])
    with pytest.raises(WrongUse) as error:
        Session.build(RunSpec(model, "toy", {**toy, **given}))
    assert str(error.value) == line.format(here=Path().resolve())


def test_users_that_have_a_row_for_each_domain_take_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {
        **write_toy(tmp_path, domains=2),
        "pretrained_users": store("taste", [f"u{u}" for u in range(20)]),
    }
    with pytest.raises(WrongUse) as error:
        Session.build(RunSpec("CMC", "toy", {**given, "user_id": "per_domain"}))
    assert str(error.value) == (
        "pretrained_users: CMC cannot take them: user_id.weight has 2 rows for each user, one for each domain, and a "
        "store has one"
    )
    both = Session.build(RunSpec("CMC", "toy", {**given, "user_id": "both"}))
    (said,) = both.plugged
    assert list(said["tables"]) == ["shared_user_id"]
