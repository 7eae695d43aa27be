from __future__ import annotations

import pytest

import recbole_mm
from recbole_mm.config import Config
from recbole_mm.model import get_model
from recbole_mm.quick_start import fingerprint
from recbole_mm.quick_start.fingerprint import run_key

MODEL = """
from recbole.model.general_recommender import BPR
class Mine(BPR):
    scale = {scale}
"""


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "dataset/toy"
    data.mkdir(parents=True)
    (data / "toy.inter").write_text("user_id:token\titem_id:token\nu\ti\n")
    return tmp_path


def key(folder, model="BPR", seed=2020, **settings):
    given = {"data_path": str(folder / "dataset"), "modality_path": str(folder / "modality"), **settings}
    return run_key(Config(model, "toy", None, {**given, "seed": seed}), seed)


def test_the_key_is_the_same_for_the_same_run_and_names_it(folder):
    assert key(folder) == key(folder)
    assert key(folder).startswith("BPR-2020-")
    assert key(folder, checkpoint_dir="elsewhere") == key(folder)


def test_the_key_of_another_seed_needs_no_other_configuration(folder):
    config = Config("BPR", "toy", None, {"data_path": str(folder / "dataset"), "seed": 1})
    assert run_key(config, 2).split("-")[1] == "2"
    again = Config("BPR", "toy", None, {"data_path": str(folder / "dataset"), "seed": 2})
    assert run_key(config, 2) == run_key(again, 2)


@pytest.mark.parametrize(
    "change", [{"learning_rate": 0.1}, {"split_seed": 1}, {"seed": 2021}, {"model": "CMC"}]
)
def test_a_setting_changes_the_key(folder, change):
    assert key(folder, **change) != key(folder)


def test_the_data_change_the_key(folder):
    before = key(folder)
    with (folder / "dataset/toy/toy.inter").open("a") as stream:
        stream.write("v\tj\n")
    assert key(folder) != before


def test_a_store_changes_the_key_of_a_model_that_reads_features_alone(folder):
    before = key(folder, "CMC"), key(folder, "BPR")
    store = folder / "modality/toy/text"
    store.mkdir(parents=True)
    (store / "manifest.json").write_text("{}")
    assert key(folder, "CMC") != before[0]
    assert key(folder, "BPR") == before[1]


def test_a_store_beside_the_command_changes_the_key(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "here").mkdir()
    (folder / "here/manifest.json").write_text("{}")
    before = key(folder, "CMC", modalities={"text": "here"})
    (folder / "here/manifest.json").write_text('{"rows": 1}')
    assert key(folder, "CMC", modalities={"text": "here"}) != before


def test_reviews_and_links_change_the_key(folder):
    before = key(folder, "CMC"), key(folder, user_link=str(folder / "link.tsv"))
    store = folder / "modality/toy.reviews/text"
    store.mkdir(parents=True)
    (store / "manifest.json").write_text("{}")
    (folder / "link.tsv").write_text("books\tfilms\n")
    assert key(folder, "CMC") != before[0]
    assert key(folder, user_link=str(folder / "link.tsv")) != before[1]


def test_the_code_behind_a_model_is_that_of_the_models_that_it_is_made_of(monkeypatch):
    files, rooms = set(), set()
    monkeypatch.setattr(fingerprint, "sha256", lambda path: files.add(path.name) or path.name)
    monkeypatch.setattr(fingerprint, "_room_code", lambda room: rooms.add(room) or room)
    fingerprint.code_of(get_model("UniSRec"))
    assert {"unisrec.py", "sasrecmm.py"} <= files and "cmc.py" not in files
    rooms.clear()
    fingerprint.code_of(get_model("SASRec"))  # its losses may be ours, from layer/
    assert rooms == {"compat", "data", "evaluator", "layer", "trainer"}


def test_the_code_of_a_users_own_model_changes_the_key(folder):
    file = folder / "mine.py"
    file.write_text(MODEL.format(scale=1))
    before = key(folder, f"{file}:Mine")
    assert key(folder, f"{file}:Mine") == before
    file.write_text(MODEL.format(scale=22))
    assert key(folder, f"{file}:Mine") != before


def test_other_first_weights_change_the_key(folder):
    start = folder / "start.pth"
    start.write_bytes(b"one")
    before = key(folder, init_from=str(start))
    assert before != key(folder)
    start.write_bytes(b"other")
    assert key(folder, init_from=str(start)) != before


def test_versions_are_known_of_an_uninstalled_checkout(monkeypatch):
    def version(name):
        raise fingerprint.PackageNotFoundError(name)

    fingerprint.versions.cache_clear()
    monkeypatch.setattr(fingerprint, "version", version)
    assert fingerprint.versions()["recbole_mm"] == recbole_mm.__version__
    fingerprint.versions.cache_clear()
