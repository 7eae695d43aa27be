"""The embedded default: features of ml-100k out of what ships with RecBole, built once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from recbole_mm.config import Config
from recbole_mm.modality import ModalityStore, find_stores
from recbole_mm.quick_start.embedded import ensure_embedded_stores


def config(folder: Path, model: str = "CMC", **settings: object) -> Config:
    return Config(model, "ml-100k", config_dict={"modality_path": str(folder), **settings})


def test_text_and_knowledge_are_built_once(tmp_path: Path) -> None:
    ensure_embedded_stores(config(tmp_path))
    stores = find_stores(tmp_path / "ml-100k")
    assert set(stores) == {"text", "knowledge"}
    text, knowledge = (ModalityStore.open(stores[name]) for name in ("text", "knowledge"))
    assert text.rows == 1682 and 0 < knowledge.rows < 1682
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("values.npy")}
    ensure_embedded_stores(config(tmp_path))
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("values.npy")}


def test_what_a_kill_left_out_is_built_and_a_persons_own_stays(tmp_path: Path) -> None:
    ensure_embedded_stores(config(tmp_path))
    shutil.rmtree(tmp_path / "ml-100k" / "knowledge")
    ensure_embedded_stores(config(tmp_path))
    assert set(find_stores(tmp_path / "ml-100k")) == {"text", "knowledge"}
    own = tmp_path / "mine" / "ml-100k"
    ModalityStore.write(own / "text", np.ones((2, 3)), ["1", "2"], modality="text", encoder="mine")
    ensure_embedded_stores(config(tmp_path / "mine"))
    assert set(find_stores(own)) == {"text"}


def test_the_text_knows_genres(tmp_path: Path) -> None:
    ensure_embedded_stores(config(tmp_path))
    store = ModalityStore.open(tmp_path / "ml-100k" / "text")
    row = {token: k for k, token in enumerate(store.tokens)}
    # 1 Toy Story and 95 Aladdin are animations for children, 2 GoldenEye is an action thriller
    toy, aladdin, golden = (store.values[row[t]].astype(np.float32) for t in ("1", "95", "2"))
    cosine = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in ((toy, aladdin), (toy, golden))]
    assert cosine[0] > cosine[1] + 0.2


def test_nothing_is_built_where_nothing_is_needed(tmp_path: Path) -> None:
    ensure_embedded_stores(config(tmp_path, model="BPR"))
    ensure_embedded_stores(config(tmp_path, modalities=[]))
    assert not list(tmp_path.iterdir())
