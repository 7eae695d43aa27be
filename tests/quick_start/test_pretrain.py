"""A pre-training as a run of its own, and before another run: found again, gone on with, on the same training rows."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_mm.cli import main
from recbole_mm.config import Config
from recbole_mm.data.training_hash import training_hash
from recbole_mm.errors import Interrupted, WrongUse
from recbole_mm.modality import ModalityStore
from recbole_mm.quick_start.dry_run import describe_run
from recbole_mm.quick_start.fingerprint import run_key
from recbole_mm.quick_start.pretrain_config import pretraining_of
from recbole_mm.quick_start.pretrain_vectors import pretrained, vectors_of
from recbole_mm.quick_start.session import Session
from recbole_mm.run.folder import RunFolder
from recbole_mm.testing import write_toy
from recbole_mm.trainer import Callback, read_checkpoint
from recbole_mm.trainer.mixin import TrainerMixin

OWN = """
from recbole.model.general_recommender import BPR

class Own(BPR):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.my_dim = config["my_dim"]
"""
CPMM = {"model": "CPMM", "embedding_size": 8, "input_size": 6, "train_batch_size": 8, "epochs": 3}


@pytest.fixture
def toy(tmp_path: Path) -> dict[str, Any]:
    return write_toy(tmp_path)


def asked(toy: dict[str, Any], model: str = "BPR", **settings: Any) -> Config:
    """The pre-training that a run asks for."""
    found = pretraining_of(Config(model, "toy", config_dict={**toy, "pretrain": CPMM, **settings}))
    assert found is not None
    return found


def made_of(config: Config) -> RunFolder:
    return pretrained(config, Session)


def values_of(folder: RunFolder) -> dict[str, np.ndarray]:
    return {
        path.name: np.array(ModalityStore.open(path).values) for path in vectors_of(folder)["items"].iterdir()
    }


def test_a_run_without_one_has_none(toy: dict[str, Any]) -> None:
    assert pretraining_of(Config("BPR", "toy", config_dict=toy)) is None


def test_it_has_the_data_of_the_run_and_settings_of_its_own(toy: dict[str, Any]) -> None:
    given = {"seed": 5, "epochs": 7, "learning_rate": 0.3, "embedding_size": 12, "min_coverage": 0.2}
    config = asked(toy, "LightGCN", **given, n_layers=3, topk=[5], pretrain={**CPMM, "lambda1": 0.0})
    own = {"epochs": 3, "learning_rate": 0.0001, "embedding_size": 8, "lambda1": 0.0, "seed": 5}
    assert {key: config[key] for key in own} == own
    same = ("split", "modality_path", "min_coverage", "data_path")
    assert {key: config[key] for key in same} == {
        **{"split": toy["split"], "modality_path": os.path.relpath(toy["modality_path"])},
        "min_coverage": 0.2,
        "data_path": f"{os.path.relpath(toy['data_path'])}/toy",
    }
    assert config["checkpoint_dir"] == f"{toy['checkpoint_dir']}/pretrained" and config["n_layers"] is None


def test_what_other_models_read_stays_with_the_run(toy: dict[str, Any], tmp_path: Path) -> None:
    assert asked(toy, "BPR", lambda1=0.0, pretrain=CPMM)["lambda1"] != 0.0
    (tmp_path / "own.py").write_text(OWN)
    assert asked(toy, f"{tmp_path}/own.py:Own", my_dim=3, pretrain=CPMM)["my_dim"] is None


@pytest.mark.parametrize("model", ["SASRec", pytest.param("DeepFM", marks=pytest.mark.slow)])
def test_it_has_the_split_of_the_family_and_so_its_training_rows(toy: dict[str, Any], model: str) -> None:
    del toy["split"]
    first = asked(toy, model)
    run = Session.build(Config(model, "toy", config_dict=toy).spec)
    rows = training_hash(Session.build(first.spec).train_data._dataset)
    assert rows == training_hash(run.train_data._dataset)
    parts = ("split", "group_by", "order")
    assert [first["eval_args"][part] for part in parts] == [run.config["eval_args"][part] for part in parts]
    assert set(first["eval_args"]["mode"].values()) == {"full"}


def test_it_learns_from_rows_of_label_1_and_belongs_to_all_training_rows(toy: dict[str, Any]) -> None:
    file = Path(toy["data_path"]) / "toy/toy.inter"
    rows = pd.read_csv(file, sep="\t")
    rows["rating:float"] = 1 + np.arange(len(rows)) % 5
    rows.to_csv(file, sep="\t", index=False)
    labelled = {"eval_args": {"mode": "labeled"}, "threshold": {"rating": 3}, "train_neg_sample_args": None}
    run = Session.build(Config("DeepFM", "toy", config_dict={**toy, **labelled, "metrics": ["AUC"]}).spec)
    first = Session.build(asked(toy, "DeepFM", **labelled, metrics=["AUC"]).spec)
    both = [session.train_data._dataset for session in (first, run)]
    assert training_hash(both[0]) == training_hash(both[1])
    pairs = [
        set(zip(d.inter_feat["user_id"].tolist(), d.inter_feat["item_id"].tolist(), strict=True))
        for d in both
    ]
    liked = both[1].inter_feat["label"] > 0
    columns = (both[1].inter_feat[field][liked].tolist() for field in ("user_id", "item_id"))
    assert pairs[0] == set(zip(*columns, strict=True)) < pairs[1]
    assert first.model._met.nnz == len(pairs[0])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], RunFolder]:
    """A finished pre-training whose best epoch is the second of three, and the settings of its set."""
    settings, scores = write_toy(tmp_path_factory.mktemp("made")), iter([3.0, 1.0, 2.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainerMixin, "_validate", lambda *_: ((s := next(scores)), {"held_out_loss": s}))
        return settings, made_of(asked(settings))


def test_a_finished_one_is_taken_whatever_the_run(made: tuple[dict[str, Any], RunFolder]) -> None:
    settings, folder = made
    written = (folder.path / "record.json").stat().st_mtime_ns
    same = made_of(asked(settings, "SASRec", sequence_split="interactions", MAX_ITEM_LIST_LENGTH=7))
    assert same.path.samefile(folder.path) and (folder.path / "record.json").stat().st_mtime_ns == written
    keys = {run_key(asked(settings, pretrain=own), 2020) for own in (CPMM, {**CPMM, "lambda3": 0.0})}
    assert len(keys) == 2 and folder.result().record["key"] in keys
    record = folder.result().record
    assert record["test_result"] is None and record["question"] is None


def test_its_stores_are_of_the_best_epoch_and_say_what_made_them(
    made: tuple[dict[str, Any], RunFolder],
) -> None:
    folder = made[1]
    assert [record["best"] for record in folder.read_history()] == [True, True, False]
    session = Session.open(folder.path)
    tokens = session.dataset.field2id_token["item_id"]
    for name, (values, present) in session.model.eval().pretrained()["items"].items():
        store = ModalityStore.open(vectors_of(folder)["items"] / name)
        there = dict(zip(store.tokens, store.values, strict=True))
        assert set(there) == {str(tokens[i]) for i in np.flatnonzero(present.numpy()) if i}
        for i, token in enumerate(tokens):
            if token in there:
                np.testing.assert_array_equal(there[token], values[i].detach().numpy())
        told, record = store.manifest["metadata"], folder.result().record
        assert told["training_rows"] == training_hash(session.train_data._dataset)
        assert (store.name, store.encoder, told["model"], told["key"]) == (
            name,
            "CPMM",
            "CPMM",
            record["key"],
        )
        assert told["settings"]["epochs"] == 3 and told["best_valid_result"] == {"held_out_loss": 1.0}


def test_vectors_that_a_kill_left_out_are_written(made: tuple[dict[str, Any], RunFolder]) -> None:
    settings, folder = made
    before = values_of(folder)
    (folder.path / "vectors").rename(folder.path / ".vectors")  # as a kill in their midst leaves them
    after = values_of(made_of(asked(settings)))
    assert before.keys() == after.keys() == {"d", "t", "v"}
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


@pytest.mark.slow
def test_test_interactions_change_no_vector(tmp_path: Path) -> None:
    """No leak: other test rows, the same vectors and the same hash of training rows."""
    found = []
    for name, swap in (("a", False), ("b", True)):
        settings = write_toy(tmp_path / name, swap_test=swap)
        folder = made_of(asked(settings))
        found.append(values_of(folder))
    for name, values in found[0].items():
        np.testing.assert_array_equal(values, found[1][name])


@pytest.mark.slow
def test_a_killed_one_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    settings = {**CPMM, "epochs": 12, "train_batch_size": 2, "stopping_step": 99}
    whole = values_of(made_of(asked(write_toy(tmp_path / "whole"), pretrain=settings)))
    config = asked(write_toy(tmp_path / "killed"), pretrain=settings)
    process = multiprocessing.get_context("fork").Process(target=made_of, args=(config,))
    process.start()
    history = wait_for(tmp_path / "killed", 3, process)
    process.kill()
    process.join(30)
    before = history.read_text().count("\n")
    assert not RunFolder.open(history).finished, "it had ended: give it more epochs"
    folder = made_of(asked(write_again(tmp_path / "killed"), pretrain=settings))
    assert folder.path.samefile(history.parent) and len(folder.read_history()) == 12 > before
    for name, values in values_of(folder).items():
        np.testing.assert_array_equal(values, whole[name])


def write_again(folder: Path) -> dict[str, Any]:
    """The settings of a toy set that is there; its files stay as they are."""
    settings = write_toy(folder / "settings")
    return json.loads(json.dumps(settings).replace(f"{folder / 'settings'}", f"{folder}"))


def wait_for(folder: Path, epochs: int, process: Any) -> Path:
    """The history of the one run below a folder, once so many epochs are in it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.is_alive():
        for file in folder.glob("saved/pretrained/*/history.jsonl"):
            if file.read_text().count("\n") >= epochs and (file.parent / "last.pth").is_file():
                return file
        time.sleep(0.002)
    process.kill()
    raise AssertionError("the epochs were not seen")


@pytest.fixture
def interrupted_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ctrl-C in the second epoch, once."""
    original, hits = TrainerMixin._train_epoch, iter([True])

    def train(self: Any, data: Any, epoch: int, *rest: Any) -> Any:
        found = original(self, data, epoch, *rest)
        if epoch == 1 and next(hits, False):
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(TrainerMixin, "_train_epoch", train)
    yield


def test_ctrl_c_says_how_to_go_on(toy: dict[str, Any], interrupted_once: None) -> None:
    with pytest.raises(Interrupted) as said:
        made_of(asked(toy))
    assert str(said.value) == "pre-training CPMM, in epoch 2; the same command goes on from there"
    folder = made_of(asked(toy))
    assert folder.path.samefile(said.value.checkpoint)
    assert [record["epoch"] for record in folder.read_history()] == [0, 1, 2]


def both(settings: dict[str, Any], **more: Any) -> Config:
    """BPR on the vectors of a pre-training in the same command: D learns, V and T stay."""
    plain = {k: v for k, v in settings.items() if k != "checkpoint_dir"}
    used = {"pretrain": CPMM, "freeze": ["v", "t"], "embedding_size": 8, "keep_checkpoints": "all"}
    return Config(
        "BPR", "toy", config_dict={**plain, **used, "checkpoint_dir": settings["checkpoint_dir"], **more}
    )


def test_a_run_with_one_is_the_run_on_its_vectors(made: tuple[dict[str, Any], RunFolder]) -> None:
    settings, folder = made
    session = Session.build(both(settings).spec)
    result = session.run()
    where = vectors_of(folder)["items"]
    by_hand = Session.build(both(settings, pretrain=None, pretrained_items=str(where)).spec).run()
    assert result.record["test_result"] == by_hand.record["test_result"]
    ids = Session.build(both(settings, pretrain=None, freeze="auto").spec).run()
    assert result.record["test_result"] != ids.record["test_result"]
    again = Session.open(session.trainer.folder.path)
    assert again.evaluate() == result.record["test_result"]
    spec = session.trainer.folder.read_spec()
    assert spec.settings["pretrain"] == CPMM and Path(spec.settings["pretrained_items"]).samefile(where)
    assert len(list(where.parents[2].glob("CPMM-*"))) == 1


def test_cut_off_in_the_second_it_goes_on_on_the_same_vectors(
    made: tuple[dict[str, Any], RunFolder], capsys: Any
) -> None:
    settings, folder = made

    class Stop(Callback):
        def on_epoch_end(self, record: dict[str, Any]) -> None:
            if record["epoch"] == 1:
                raise KeyboardInterrupt

    whole = Session.build(both(settings, epochs=4).spec)
    whole.run()
    half = Session.build(both(settings, epochs=4).spec, [Stop()])
    with pytest.raises(Interrupted):
        half.run()
    before = (folder.path / "record.json").stat().st_mtime_ns
    file = Path(settings["data_path"]) / "toy/toy.inter"
    times = file.stat()
    os.utime(file)  # as of a copy: the key of the pre-training is another, its vectors are the same
    assert main(["run", f"--resume={half.trainer.folder.path}", "-q"]) == 0
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (folder.path / "record.json").stat().st_mtime_ns == before
    assert (
        len(list(folder.path.parent.glob("CPMM-*"))) == 1
        and not half.trainer.folder.result().record["changes"]
    )
    again = Session.open(half.trainer.folder.path)
    for name, value in whole.model.state_dict().items():
        last = read_checkpoint(half.trainer.folder.last)["state_dict"][name]
        assert torch.equal(value, last) or name not in dict(whole.model.named_parameters())
    assert half.trainer.folder.result().record["test_result"] == whole.evaluate() == again.evaluate()


def test_vectors_of_its_own_beside_it_are_refused(made: tuple[dict[str, Any], RunFolder]) -> None:
    with pytest.raises(WrongUse) as said:
        Session.build(both(made[0], pretrained_items="text").spec)
    assert str(said.value) == (
        "pretrain makes pretrained_items, which is given, too (text); leave one of them out"
    )


def test_its_vectors_are_refused_on_other_training_rows(made: tuple[dict[str, Any], RunFolder]) -> None:
    settings, folder = made
    other = {"split": {"random": [0.7, 0.1, 0.2]}, "pretrain": None}
    where = str(vectors_of(folder)["items"])
    with pytest.raises(WrongUse, match=r"was pre-trained on the training rows .*, and those of this run are"):
        Session.build(both(settings, **other, pretrained_items=where).spec)


@pytest.mark.parametrize(
    ("pretrain", "message"),
    [
        ("BPR", "pretrain: BPR leaves no vectors to other models; there are "),
        ("CPM", "no model 'CPM'"),
        ({"epochs": 3}, "pretrain: {'epochs': 3} names no model, such as {model: CPMM, epochs: 50}"),
        ({"model": "CPMM", "lambda9": 1}, "unknown key 'lambda9' (config_dict)"),
    ],
)
def test_what_is_no_pre_training_is_refused(toy: dict[str, Any], pretrain: Any, message: str) -> None:
    with pytest.raises(WrongUse) as said:
        pretraining_of(Config("BPR", "toy", config_dict={**toy, "pretrain": pretrain}))
    assert str(said.value).startswith(message) and "\n" not in str(said.value)


def test_the_command_says_where_the_vectors_are(toy: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "toy.yaml"
    file.write_text(json.dumps({**toy, **{k: v for k, v in CPMM.items() if k != "model"}}))
    command = ["pretrain", "--model=CPMM", "--dataset=toy", f"--config_files={file}", "-q"]
    assert main([*command, f"--out={tmp_path / 'out'}"]) == 0
    assert "items: d, t, v; plug them in with --pretrained_items=" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out/items").iterdir()) == ["d", "t", "v"]
    assert main([*command, f"--out={tmp_path / 'out'}"]) == 2
    assert main(["pretrain", "--model=BPR", *command[2:]]) == 2
    assert main([*command, "--keep_checkpoints=none"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"error: --out {tmp_path / 'out'}: it is there already; name a new folder"
    assert said[1].startswith("error: ") and "BPR" in said[1]
    assert said[2] == (
        "error: keep_checkpoints: none: the vectors are made of the best weights; leave it out"
    )


def test_a_dry_run_trains_no_pretraining_and_takes_one_that_is_there(tmp_path: Path) -> None:
    settings = {**write_toy(tmp_path), "pretrain": CPMM, "freeze": ["v", "t"], "embedding_size": 8}
    config = Config("BPR", "toy", config_dict=settings)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    found = describe_run(config)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
    assert found["pretraining"]["model"] == "CPMM" and found["model"] == "BPR"
    assert "\nthen, here without the vectors of CPMM:\n" in found["text"]
    made_of(pretraining_of(config))
    found = describe_run(config)
    assert "pretraining" not in found and "then" not in found["text"]
