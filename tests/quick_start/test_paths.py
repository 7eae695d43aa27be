"""Files and folders as people write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbole_mm.config import Config
from recbole_mm.quick_start.session import load_dataset
from recbole_mm.testing import write_toy

MARK = b"\xef\xbb\xbf"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    settings = write_toy(tmp_path, ())
    (tmp_path / "toy" / "toy.item").write_text("item_id:token\tprice:float\nitem00\t3\nitem01\t5\n")
    return settings | {"load_col": {**settings["load_col"], "item": ["item_id", "price"]}}


@pytest.mark.parametrize("given", [{}, {"encoding": "utf-8"}])
def test_a_byte_order_mark_changes_nothing(toy: dict[str, Any], tmp_path: Path, given: dict[str, Any]) -> None:
    plain = load_dataset(Config("BPR", "toy", config_dict=toy))
    for file in (tmp_path / "toy").glob("toy.*"):
        file.write_bytes(MARK + file.read_bytes())
    marked = load_dataset(Config("BPR", "toy", config_dict={**toy, **given}))
    assert marked.inter_feat.equals(plain.inter_feat) and marked.item_feat.equals(plain.item_feat)
