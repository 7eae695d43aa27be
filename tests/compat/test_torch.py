from __future__ import annotations

from pathlib import Path

import pytest

from recbole_mm.compat import torch as compat_torch
from recbole_mm.errors import WrongUse

torch = pytest.importorskip("torch")


def test_pickled_objects_are_not_read(tmp_path: Path) -> None:
    file = tmp_path / "foreign.pth"
    torch.save({"config": Path("x"), "state_dict": {"w": torch.ones(2)}}, file, pickle_protocol=4)
    with pytest.raises(WrongUse, match=r"^.*foreign\.pth: .*train again under recbole_mm[^\n]*$"):
        compat_torch.load(file)


def test_save_is_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "model.pth"
    compat_torch.save({"epoch": 1, "config": {}}, file)
    with pytest.raises(Exception, match="plain values"):
        compat_torch.save({"epoch": object(), "config": {}}, file)
    assert compat_torch.load(file) == {"epoch": 1, "config": {}}
    assert [path.name for path in tmp_path.iterdir()] == ["model.pth"]
