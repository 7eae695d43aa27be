"""What is exported gives the model's own lists, in other programs too; what cannot be is said."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_mm.cli import main
from recbole_mm.errors import WrongUse
from recbole_mm.quick_start.session import Session
from recbole_mm.serve import export as module
from recbole_mm.serve.export import export_run
from recbole_mm.serve.vectors import Vectors
from tests.serve.conftest import SEQUENCES

Trained = Callable[..., Session]
faiss = pytest.importorskip("faiss")
ort = pytest.importorskip("onnxruntime")
NO_NEGATIVES = {"train_neg_sample_args": None}
MMT = {"hidden_size": 8, "n_heads": 2, "n_layers": 1, "inner_size": 8, "shared_size": 8}


def export(session: Session, folder: Path) -> dict[str, Any]:
    recommender = session.recommender
    return export_run(recommender.ranker, recommender.tokens, folder, {"model": session.config["model"]})


@pytest.fixture
def no_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    """To write one takes seconds."""

    def refuse(*_: Any) -> None:
        raise WrongUse("not in this test")

    monkeypatch.setattr(module, "_tower", refuse)


@pytest.mark.usefixtures("no_tower")
@pytest.mark.parametrize(
    ("model", "domains", "settings"),
    [
        ("BPR", 1, {}),
        pytest.param("LightGCN", 2, {}, marks=pytest.mark.slow),
        ("SASRec", 1, SEQUENCES),
        ("CMC", 2, {}),
        ("CMC", 2, {"eval_candidates": "all"}),
        pytest.param("GCE", 2, {}, marks=pytest.mark.slow),
        ("MultiDAE", 1, {**NO_NEGATIVES, "mlp_hidden_size": [8], "latent_dimension": 4}),
    ],
    ids=str,
)
def test_the_index_gives_the_lists_of_the_model(
    trained: Trained, tmp_path: Path, model: str, domains: int, settings: dict[str, Any]
) -> None:
    session = trained(model, domains, **settings)
    manifest = export(session, tmp_path / "out")
    indexes = manifest["vectors"]["indexes"]
    for kinds in [indexes] if "flat" in indexes else indexes.values():
        assert kinds["flat"]["equal_lists"] == kinds["flat"]["tried_users"] == 40
        assert kinds["hnsw"]["recall@10"] >= 0.95
    assert json.loads((tmp_path / "out/manifest.json").read_text()) == manifest
    # by faiss and numpy alone
    users = pd.read_parquet(tmp_path / "out/users.parquet")
    items = pd.read_parquet(tmp_path / "out/items.parquet")
    assert np.array_equal(np.stack(items["vector"]), np.load(tmp_path / "out/items.npy"))
    vectors = np.load(tmp_path / "out/users.npy")
    assert np.array_equal(np.stack(users["vector"]).reshape(vectors.shape), vectors)
    name = next(iter(indexes))
    entry = indexes["flat"] if name == "flat" else indexes[name]["flat"]
    several = manifest["vectors"]["user_vectors"] != "one"
    query = vectors[4, 0] if several else vectors[4]
    _, rows = faiss.read_index(str(tmp_path / "out" / entry["file"])).search(query[None], 3)
    domain = None if name == "flat" else name
    expected = session.recommend([users["user"][4]], 3, mask_seen="none", domain=domain)
    assert items["item"][rows[0]].tolist() == expected["item"].tolist()
    assert items["title"][rows[0][0]] == expected["title"][0]


@pytest.mark.parametrize(
    ("model", "scaling", "settings"),
    [
        ("CMC", "whiten", {"use_id": False, "fusion": "gate"}),
        pytest.param("CMC", None, {"use_id": False}, marks=pytest.mark.slow),
        pytest.param("VBPR", "standardize", {}, marks=pytest.mark.slow),
        pytest.param("MVCNN", "l2", {}, marks=pytest.mark.slow),
        pytest.param("MMT", "whiten", {**MMT, "use_id": False}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_tower_encodes_an_item_from_its_raw_vectors(
    trained: Trained, tmp_path: Path, model: str, settings: dict[str, Any], scaling: str | None
) -> None:
    session = trained(model, 1, feature_scaling=scaling, **settings)
    manifest = export(session, tmp_path / "out")
    tower, modality = manifest["item_tower"], session.dataset.modality
    assert tower["inputs"] == {"text": ["n", 6], "image": ["n", 9], "present": ["n", 2]}
    assert tower["largest_difference"] < 1e-4
    if model == "CMC" and scaling == "whiten":
        examples_of_the_docs(tmp_path, Path(session.config["modality_path"]) / "toy")
    if model != "VBPR":  # without an id the tower gives all of an item
        present = modality.present.numpy()
        items = np.flatnonzero(present.any(axis=1))[:7]
        feeds = {"present": present[items]}
        for name, each in modality.items():
            feeds[name] = np.asarray(each.source[np.maximum(each.rows[items], 0)], dtype=np.float32)
        onnx = ort.InferenceSession(str(tmp_path / "out/item_tower.onnx"))
        (found,) = onnx.run(["vector"], feeds)
        with torch.no_grad():
            expected = session.model.encode_items(torch.from_numpy(items)).numpy()
        width = expected.shape[1] - (model == "MMT")  # its last is the item's bias
        np.testing.assert_allclose(found[:, :width], expected[:, :width], rtol=1e-4, atol=1e-5)


def examples_of_the_docs(folder: Path, stores: Path) -> None:
    """Those of docs/serving.md, on the toy: a new item that is like another is found beside it."""
    text = (Path(__file__).parents[2] / "docs/serving.md").read_text(encoding="utf-8")
    examples = [part.partition("```")[0] for part in text.split("```python\n")[1:]]
    words = {
        "served/": f"{folder / 'out'}/",
        "modality/ml-100k": str(stores),
        '"50"': '"item09"',
        '"196"': '"u3"',
    }
    for old, new in words.items():
        examples = [code.replace(old, new) for code in examples]
    said = []
    for code in examples:
        stream = io.StringIO()
        with contextlib.redirect_stdout(stream):
            exec(code, {})
        said.append(stream.getvalue().splitlines())
    assert len(said) == 2 and said[0][0].count("Title of") == 3
    assert said[1][0].startswith("['Title of 9',") and said[1][1].count("'u") == 3


def test_weights_are_read_by_safetensors(trained: Trained, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    session = trained("BPR", 1)
    export(session, tmp_path / "out")
    stored = load_file(tmp_path / "out/weights.safetensors")
    for name, value in session.model.state_dict().items():
        assert torch.equal(stored[name], value)


def test_what_a_model_keeps_beside_its_parameters_is_there_too(trained: Trained, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    ease, knn = trained("EASE", 1), trained("ItemKNN", 2)
    export(ease, tmp_path / "ease")
    stored = load_file(tmp_path / "ease/weights.safetensors")
    np.testing.assert_array_equal(stored["solution"], ease.model.item_similarity)
    export(knn, tmp_path / "knn")
    stored = load_file(tmp_path / "knn/weights.safetensors")
    found = np.zeros(stored["w.shape"], dtype=np.float32)
    found[stored["w.row"], stored["w.col"]] = stored["w.data"]
    np.testing.assert_allclose(found, knn.model.w.toarray(), rtol=1e-6)


def test_what_cannot_be_exported_is_in_the_manifest(trained: Trained, tmp_path: Path) -> None:
    manifest = export(trained("ItemKNN", 2), tmp_path / "a")
    assert manifest["left_out"] == {
        "vectors": "ItemKNN: its scores are no dot products of a vector of the user and one of the item (no matrix "
        "product gives them), so there are no vectors to search",
        "item_tower": "ItemKNN scores no item by features alone",
    }
    with pytest.raises(
        WrongUse, match=r"^MMT: .* \(something follows the vectors\), so there are no vectors to search$"
    ):
        Vectors(trained("MMT", 2, head="mlp", **MMT).recommender.ranker)
    assert (
        export(trained("FREEDOM", 1), tmp_path / "b")["left_out"]["item_tower"]
        == "FREEDOM scores no item by features alone"
    )
    control = trained("CMC", 1, feature_control="noise")
    said = export(control, tmp_path / "c")["left_out"]["item_tower"]
    assert said == "feature_control: noise: the features of this run mean nothing"


def test_nothing_half_written_is_left(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = trained("BPR", 1)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "faiss", None)
        with pytest.raises(WrongUse, match=r'^an index needs faiss: pip install "recbole_mm\[export\]"$'):
            export(session, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").touch()
    with pytest.raises(
        WrongUse, match=r"out: something is there already; name another folder, or remove it$"
    ):
        export(session, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("model", "settings", "width"),
    [
        ("CORE", SEQUENCES, 8),  # a temperature
        ("BERT4Rec", SEQUENCES, 9),  # a bias of items
        ("FPMC", {**SEQUENCES, "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}, 16),
        ("SimpleX", {}, 8),
    ],
)
def test_heads_of_recboles_models(trained: Trained, model: str, settings: dict[str, Any], width: int) -> None:
    session = trained(model, 1, **settings)
    ranker = session.recommender.ranker
    if model == "BERT4Rec":
        session.model.output_bias.data.normal_()
    vectors, users = Vectors(ranker), np.arange(1, 9)
    assert vectors.items.shape[1] == width
    product = vectors.of_users(users)[:, 0] @ vectors.items[1:].T
    np.testing.assert_allclose(product, ranker.scores(users).numpy()[:, 1:], rtol=1e-4, atol=1e-5)


def test_the_command(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = trained("BPR", 1)
    assert main(["export", f"--run={session.folder}", f"--to={tmp_path / 'out'}"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "vectors: 40 users, 30 items, 8 wide"
    assert said[1] == "index flat: 40 of 40 users have the model's top 10, recall@10 1.0"
    assert said[-2] == "not written: item tower: BPR scores no item by features alone"
    assert said[-1] == f"written to {tmp_path / 'out'}"
