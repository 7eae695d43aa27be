"""A trained model comes back with its data, whatever it is; weights go on in grown data; a dry run writes nothing."""

from __future__ import annotations

import doctest
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_mm.cli import main
from recbole_mm.errors import WrongUse
from recbole_mm.modality import ModalityStore
from recbole_mm.quick_start import session as module
from recbole_mm.quick_start.runs import run_one
from recbole_mm.quick_start.session import Session
from recbole_mm.run.folder import run_folders
from recbole_mm.run.spec import RunSpec
from recbole_mm.testing import write_toy
from recbole_mm.trainer import Callback, read_checkpoint

OWN_MODEL = """
from recbole.model.general_recommender import BPR

class TinyMF(BPR):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.bias = config["tiny_bias"]
"""
SEQUENTIAL = {
    "split": None,
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
    "train_neg_sample_args": None,
}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.py").write_text(OWN_MODEL)
    return write_toy(tmp_path, domains=2)


def run(model: str, settings: dict[str, Any], **options: Any) -> tuple[Session, Any]:
    session = Session.build(RunSpec.of(model, "toy", settings))
    return session, session.run(**options)


def folder_of(session: Session) -> Path:
    return session.trainer.folder.path


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("CMC", {}),
        ("LightGCN", {}),
        ("SASRec", SEQUENTIAL),
        ("tiny.py:TinyMF", {"tiny_bias": 1, "embedding_size": 8}),
        ("ItemKNN", {}),
        ("CMC", {"train_epochs": ["SOURCE:1", "TARGET:1"], "eval_groups": ["domain"]}),
    ],
)
def test_an_opened_run_gives_the_stored_test_metrics(
    toy: dict[str, Any], model: str, settings: dict[str, Any]
) -> None:
    made, result = run(model, {**toy, **settings})
    for place in (folder_of(made), made.trainer.folder.best):
        opened = Session.open(place)
        assert opened.evaluate() == result.record["test_result"]
        assert opened.evaluate("valid") == result.record["best_valid_result"]
    pd.testing.assert_frame_equal(opened.trainer.eval_result.queries.sort_index(axis=1),
                                  _valid_queries(made).sort_index(axis=1))  # fmt: skip
    assert opened.spec == made.spec
    assert {path.name for path in folder_of(made).parent.iterdir()} == {
        folder_of(made).name
    }  # nothing was written


def _valid_queries(session: Session) -> pd.DataFrame:
    session.trainer.evaluate(session.valid_data)
    return session.trainer.eval_result.queries


def test_a_run_may_be_moved_and_names_no_absolute_path(toy: dict[str, Any], tmp_path: Path) -> None:
    made, result = run("CMC", toy)
    moved = folder_of(made).rename(tmp_path / "elsewhere")
    assert Session.open(moved).evaluate() == result.record["test_result"]
    for file in ("spec.yaml", "record.json", "history.jsonl"):
        assert str(tmp_path) not in (moved / file).read_text()
    stored = read_checkpoint(moved / "best.pth")
    assert str(tmp_path) not in json.dumps([stored["config"], stored["spec"]])


def test_what_cannot_be_opened_is_one_line(toy: dict[str, Any], tmp_path: Path) -> None:
    made, _ = run("BPR", {**toy, "keep_checkpoints": "none"})
    with pytest.raises(WrongUse, match="its weights were not kept"):
        Session.open(folder_of(made))
    torch.save({"state_dict": {}}, tmp_path / "foreign.pth")
    with pytest.raises(WrongUse, match="does not say how it was made"):
        Session.open(tmp_path / "foreign.pth")
    with pytest.raises(WrongUse, match="no such run"):
        Session.open(tmp_path / "saved/nothing")


def test_the_docstring_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert found.attempted >= 4 and found.failed == 0


def test_made_classes_are_pickled_by_name(toy: dict[str, Any]) -> None:
    session = Session.build(RunSpec("CMC", "toy", toy))
    for each in (session.dataset, session.trainer):
        assert pickle.loads(pickle.dumps(type(each))) is type(each)


# ---- callbacks


class StopAt(Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch, self.heard = epoch, []

    def on_run_start(self, trainer: Any) -> None:
        self.heard.append("run")

    def on_stage_start(self, stage: Any) -> None:
        self.heard.append(str(stage.spec))

    def on_validation(self, record: dict[str, Any]) -> bool:
        self.heard.append(f"valid {record['epoch']}")
        return record["epoch"] == self.epoch

    def on_epoch_end(self, record: dict[str, Any]) -> None:
        self.heard.append(f"epoch {record['epoch']}")

    def on_run_end(self, outcome: str) -> None:
        self.heard.append(outcome)


def test_a_callback_hears_and_ends_a_run(toy: dict[str, Any]) -> None:
    stop = StopAt(2)
    settings = {**toy, "train_epochs": ["SOURCE:2", "TARGET:4", "BOTH:1"], "eval_step": 1}
    session = Session.build(RunSpec.of("BPR", "toy", settings), [stop])
    result = session.run()
    assert stop.heard == [
        "run", "SOURCE:2", "valid 0", "epoch 0", "valid 1", "epoch 1", "TARGET:4", "valid 2", "epoch 2", "StopAt",
    ]  # fmt: skip
    assert result.record["stopped_by"] == "StopAt" and result.record["epochs_run"] == 3


def test_a_loop_of_its_own_is_not_stopped_and_says_so(
    toy: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    stop = StopAt(0)
    settings = {**toy, "train_neg_sample_args": None, "epochs": 2}
    result = Session.build(RunSpec("RecVAE", "toy", settings), [stop]).run()
    if Session.build(RunSpec("RecVAE", "toy", settings)).trainer.staged:
        assert result.record["epochs_run"] == 1
    else:
        assert result.record["epochs_run"] == 2
        assert "StopAt asks for an end, but RecVAE has a training loop of its own" in caplog.text


def test_a_run_of_a_table_goes_on_where_it_was_cut_off(
    toy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Session.build(RunSpec("BPR", "toy", {**toy, "epochs": 4})).spec
    _, whole = run_one(spec, [], tmp_path / "log")
    steps = []

    def cut(self: Any, batch: Any) -> Any:
        steps.append(1)
        if len(steps) == 12:  # in the third epoch
            raise KeyboardInterrupt
        return calculate_loss(self, batch)

    model_class = Session.open(max((tmp_path / "saved").iterdir())).config.model_class
    calculate_loss = model_class.calculate_loss
    cut_off = replace(spec, settings={**spec.settings, "checkpoint_dir": "cut"})
    with monkeypatch.context() as patch:
        patch.setattr(model_class, "calculate_loss", cut)
        with pytest.raises(KeyboardInterrupt):
            run_one(cut_off, [], tmp_path / "log")
    before = run_folders("cut")[spec.key]
    assert not before.finished and len(before.read_history()) == 2
    epochs = CountEpochs()
    folder, result = run_one(cut_off, [epochs], tmp_path / "log", before)
    assert folder.path == before.path and epochs.heard == 2
    assert result.record["test_result"] == whole.record["test_result"]
    assert [r["loss"] for r in result.history] == [r["loss"] for r in whole.history]
    again, _ = run_one(cut_off, [epochs], tmp_path / "log", folder)
    assert again is folder and epochs.heard == 2  # it is whole: nothing is trained


class CountEpochs(Callback):
    heard = 0

    def on_epoch_end(self, record: dict[str, Any]) -> None:
        self.heard += 1


@pytest.mark.parametrize("what", ["users", "text"])
def test_rows_of_weights_are_never_those_of_others(toy: dict[str, Any], tmp_path: Path, what: str) -> None:
    before, _ = run("CMC", {**toy, "epochs": 1, "keep_checkpoints": "all"})
    if what == "users":  # the same rows in another order, so other ids
        file = tmp_path / "toy/toy.inter"
        head, *rows = file.read_text().splitlines()
        file.write_text("\n".join([head, *rows[::-1]]) + "\n")
    else:
        store = next((tmp_path / "modality/toy").glob("text"))
        old = ModalityStore.open(store)
        values = np.asarray(old.values)[::-1].copy()
        ModalityStore.write(store, values, list(old.tokens), modality="text", encoder="other", overwrite=True)
    said = {"users": "the users are not those of the checkpoint", "text": "the store of text is another"}[
        what
    ]
    with pytest.raises(WrongUse, match=said):
        Session.open(folder_of(before))
    again = Session.build(RunSpec.of("CMC", "toy", {**toy, "epochs": 2, "keep_checkpoints": "all"}))
    with pytest.raises(WrongUse, match=said):
        again.run(resume=folder_of(before))


# ---- from other weights


def grow(folder: Path, rows: list[str]) -> None:
    """The same set with more rows in front, so that every id is another."""
    file = folder / "toy" / "toy.inter"
    head, *old = file.read_text().splitlines()
    file.write_text("\n".join([head, *rows, *old]) + "\n")


@pytest.mark.parametrize("model", ["CMC", "GCE", "BPR", "LightGCN"])
def test_weights_go_on_by_token_in_grown_data(toy: dict[str, Any], tmp_path: Path, model: str) -> None:
    before, _ = run(model, {**toy, "epochs": 1})
    same = Session.build(RunSpec.of(model, "toy", {**toy, "init_from": str(folder_of(before))}))
    best = read_checkpoint(before.trainer.folder.best)["state_dict"]
    for name, value in same.model.state_dict().items():
        assert torch.equal(value, best[name]), name
    rows = [f"new{u}\t{item}\t1.0\t0\td0\ttrain" for u in range(3) for item in ("itemX", "item01", "item02")]
    grow(tmp_path, rows)
    grown = Session.build(RunSpec.of(model, "toy", {**toy, "init_from": str(folder_of(before))}))
    assert grown.dataset.user_num == before.dataset.user_num + 3
    assert grown.dataset.item_num == before.dataset.item_num + 1
    assert grown.dataset.token2id("user_id", "u5") != before.dataset.token2id("user_id", "u5")
    vectors = [_vectors(session, best if session is before else None) for session in (before, grown)]
    for kind, tokens in (("user_id", ["u0", "u5", "u39"]), ("item_id", ["item00", "item17"])):
        for token in tokens:
            one, other = (
                table[kind][session.dataset.token2id(kind, token)]
                for session, table in zip((before, grown), vectors, strict=True)
            )
            assert torch.equal(one, other), (kind, token)
    fresh = Session.build(RunSpec.of(model, "toy", toy))
    new = grown.dataset.token2id("item_id", "itemX")
    assert torch.equal(_vectors(grown)["item_id"][new], _vectors(fresh)["item_id"][new])
    assert grown.run().record["test_result"]


def _vectors(session: Session, state: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """The free vectors of users (of all domains) and items."""
    state = state or session.model.state_dict()
    users, items = session.dataset.user_num, session.dataset.item_num
    if "node.weight" in state:  # GCE
        table = state["node.weight"]
        return {"user_id": table[:users], "item_id": table[users : users + items]}
    tables = {
        kind: next(v for k, v in state.items() if k.startswith(kind[:4])) for kind in ("user_id", "item_id")
    }
    return {
        kind: value.reshape(n, -1) for (kind, value), n in zip(tables.items(), (users, items), strict=True)
    }


def test_weights_that_have_seen_what_is_held_out_are_refused(
    toy: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, _ = run("BPR", {**toy, "epochs": 1})
    start = str(folder_of(before))
    other = {**toy, "split": {"random": [0.6, 0.2, 0.2]}}
    with pytest.raises(
        WrongUse, match=r"^init_from: .* was trained on \d+ of the \d+ pairs that this run holds out"
    ):
        Session.build(RunSpec.of("BPR", "toy", {**other, "init_from": start}))
    # what a run learned from goes on with its weights
    again, _ = run("BPR", {**toy, "epochs": 1, "init_from": start})
    seen = [np.load(folder_of(each) / "trained_on.npy") for each in (before, again)]
    assert np.array_equal(*seen) and len(seen[0]) == len(before.train_data._dataset.inter_feat)
    file = tmp_path / "toy" / "toy.inter"
    file.write_text(file.read_text().replace("\ttrain", "\tvalid", 1))
    for folder in (start, str(folder_of(again))):
        with pytest.raises(WrongUse, match="was trained on 1 of the"):
            Session.build(RunSpec.of("BPR", "toy", {**toy, "init_from": folder}))
    spec = Path(start) / "spec.yaml"
    spec.write_text(spec.read_text().replace("dataset: toy", "dataset: other"))
    Session.build(RunSpec.of("BPR", "toy", {**toy, "init_from": start}))
    assert "if a user and an item of other are those of the same name in toy" in caplog.text


def test_weights_that_do_not_say_what_they_learned_from_are_taken_with_a_word(
    toy: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of(run("BPR", {**toy, "epochs": 1})[0])
    (folder / "trained_on.npy").unlink()
    Session.build(RunSpec.of("BPR", "toy", {**toy, "init_from": str(folder)}))
    assert "whether its weights have seen held-out rows is not known" in caplog.text


def test_weights_that_do_not_fit_are_one_line(toy: dict[str, Any]) -> None:
    folder = str(folder_of(run("BPR", {**toy, "epochs": 1})[0]))
    for model, settings, words in (
        ("NeuMF", {}, "of another model or other settings"),
        ("BPR", {"embedding_size": 8}, "user_embedding.weight has the shape"),
        ("ItemKNN", {}, "ItemKNN trains no weights"),
    ):
        with pytest.raises(WrongUse, match=words) as caught:
            Session.build(RunSpec.of(model, "toy", {**toy, **settings, "init_from": folder}))
        assert "\n" not in str(caught.value)


# ---- dry run


def test_a_dry_run_says_what_would_happen_and_writes_nothing(
    toy: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy.yaml").write_text(json.dumps(toy))
    before = {path for path in tmp_path.rglob("*") if "log" not in str(path)}
    words = ["run", "--model=CMC", "--dataset=toy", "--config_files=toy.yaml", "--dry-run"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "40 users, 30 items (d0 15, d1 15)" in said and "306 training, 40 validation, 40 test" in said
    assert "16,896 parameters" in said and "the items of the query's domain" in said
    assert main([*words, "--json=-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == {"train": 306, "valid": 40, "test": 40} and found["epoch_seconds"] > 0
    assert {path for path in tmp_path.rglob("*") if "log" not in str(path)} - before <= {tmp_path / "saved"}
    assert not list((tmp_path / "saved").iterdir())


def test_a_record_names_the_store_that_was_read_and_not_what_lies_there_at_the_end(
    toy: dict[str, Any],
) -> None:
    session = Session.build(RunSpec.of("VBPR", "toy", {**toy, "epochs": 1}))
    store = ModalityStore.open(Path(toy["modality_path"]) / "toy" / "text")
    ModalityStore.write(
        store.path, store.values * 2, store.tokens, modality="text", encoder="b", overwrite=True
    )
    features = session.run().record["data"]["features"]["text"]
    assert (features["encoder"], features["hash"]) == ("toy", store.fingerprint)
    assert read_checkpoint(session.trainer.folder.best)["stores"]["text"] == store.fingerprint
