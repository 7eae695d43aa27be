"""Everything a trainer keeps survives a file that is read with weights_only=True."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_mm.errors import Failure
from recbole_mm.serialize import from_plain, to_plain
from recbole_mm.trainer.checkpoint import write_checkpoint
from recbole_mm.trainer.generators import global_state, set_global_state, set_state_of, state_of


def through_a_file(value: Any, folder: Path) -> Any:
    path = folder / "x.pth"
    write_checkpoint(path, {"value": to_plain(value)})
    return from_plain(torch.load(path, weights_only=True)["value"])


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 2**100, -(2**64), 1.5, "text", [1, (2, "x")], {"a": {1: 2}}, {(1, 2): "pair"}, {1, 2},
     np.float64(0.1), np.int64(4), {"__recbole_mm__": "not ours"}],
)  # fmt: skip
def test_values(tmp_path: Path, value: Any) -> None:
    assert through_a_file(value, tmp_path) == value


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint32", "bool", "complex64", "U5", "O"])
def test_arrays(tmp_path: Path, dtype: str) -> None:
    array = np.array([[0, 1], [2, 3]]).astype(dtype)
    back = through_a_file(array, tmp_path)
    assert back.dtype == array.dtype and np.array_equal(back, array)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok"])
@pytest.mark.parametrize("array", [False, True])
def test_sparse(tmp_path: Path, kind: str, array: bool) -> None:
    dense = np.random.default_rng(0).integers(0, 3, (6, 5)).astype(np.float32)
    value = (sp.coo_array if array else sp.coo_matrix)(dense).asformat(kind)
    back = through_a_file(value, tmp_path)
    assert type(back) is type(value) and (back.toarray() == value.toarray()).all()


def test_an_object_without_plain_form_is_named() -> None:
    with pytest.raises(Failure, match=r"other_parameter\['x'\]\[1\] is a builtins\.object"):
        to_plain({"x": [1, object()]}, "other_parameter")


@pytest.mark.parametrize(
    "generator",
    [torch.Generator(), np.random.default_rng(3), np.random.Generator(np.random.Philox(3)),
     np.random.RandomState(3), random.Random(3)],
    ids=lambda g: type(g).__name__,
)  # fmt: skip
def test_generators(tmp_path: Path, generator: Any) -> None:
    def draw() -> Any:
        if isinstance(generator, torch.Generator):
            return torch.rand(3, generator=generator).tolist()
        return [generator.random() for _ in range(3)]

    draw()
    path = tmp_path / "g.pth"
    write_checkpoint(path, {"state": state_of(generator)})
    expected = draw()
    set_state_of(generator, torch.load(path, weights_only=True)["state"])
    assert draw() == expected


def test_global_generators(tmp_path: Path) -> None:
    def draw() -> Any:
        return torch.rand(2).tolist(), np.random.normal(size=3).tolist(), random.gauss(0, 1), random.random()

    draw()  # an odd number of normals: numpy and Python keep the other half of a pair
    cpu, path = torch.device("cpu"), tmp_path / "g.pth"
    write_checkpoint(path, global_state(cpu))
    expected = draw()
    set_global_state(torch.load(path, weights_only=True), cpu)
    assert draw() == expected


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    write_checkpoint(path, {"value": 1})
    with pytest.raises((AttributeError, TypeError)):
        write_checkpoint(path, {"value": lambda: None, "big": torch.zeros(10)})
    assert torch.load(path, weights_only=True) == {"value": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["x.pth"]
