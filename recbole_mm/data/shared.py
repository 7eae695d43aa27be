"""The parts of a data set as bytes and arrays that other processes read without a copy.

Arrays and tensors stay outside of the bytes (pickle's protocol 5, PEP 574), so that one copy in shared memory serves
all who read it. They are read-only: what trains on them must not write into them.
"""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import cat_interactions

from recbole_mm.data.dataset import copy_of_rows
from recbole_mm.serialize import MADE_OF, class_of


@dataclass(frozen=True)
class SharedData:
    """A data set and its parts (training, validation, test), without their configuration."""

    dataset: Any
    parts: Sequence[Any]

    def of(self, config: Any) -> tuple[Any, list[Any]]:
        """The data set and the parts under a configuration of the same data."""
        made = [copy.copy(each) for each in (self.dataset, *self.parts)]
        for each in made:
            each.config = config
        return made[0], made[1:]


@dataclass(frozen=True)
class Packed:
    """``head``: everything but the arrays, pickled; ``arrays``: the contents of the arrays."""

    head: bytes
    arrays: list[np.ndarray]

    def unpack(self) -> Any:
        """What was packed by the driver of this search or training, from memory and never from a disk.

        Its arrays are those of this object.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
            return pickle.loads(self.head, buffers=[array.data for array in self.arrays])


def share(dataset: Any, parts: Sequence[Any]) -> Packed:
    """A data set and its parts, packed."""
    bare = [copy.copy(each) for each in (dataset, *parts)]
    for each in bare:
        each.config = None
    return pack(SharedData(bare[0], bare[1:]))


def pack(value: Any) -> Packed:
    """Any value, its arrays apart."""
    buffers: list[pickle.PickleBuffer] = []
    stream = io.BytesIO()
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(value)
    return Packed(stream.getvalue(), [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers])


def without_test(dataset: Any, parts: Sequence[Any]) -> tuple[Any, list[Any]]:
    """A data set and its parts in which no row of the test is left; who may be ranked (``interacted``) stays.

    A search trains and validates on them, so that it cannot look at the test.
    """
    train, valid, test = parts
    none = copy_of_rows(test, np.arange(0))
    kept = [copy.copy(train), copy.copy(valid), none]
    for part in kept:
        part.pairs = {**part.pairs, none.phase: (np.empty(0, np.int64), np.empty(0, np.int64))}
    rows = [train.inter_feat, *([valid.inter_feat] if len(valid) else [])]
    return dataset.copy(cat_interactions(rows)), kept


class _Pickler(pickle.Pickler):
    """Tensors as arrays, memory-mapped arrays as arrays, classes that are made on demand by what they are made of."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is torch.Tensor and value.layout == torch.strided and value.device.type == "cpu":
            if not value.requires_grad and value.dtype != torch.bfloat16:
                return torch.from_numpy, (np.ascontiguousarray(value.numpy()).reshape(value.shape),)
        elif isinstance(value, np.memmap):
            return _same, (np.asarray(value),)
        elif isinstance(value, type) and MADE_OF in vars(value):
            return class_of, (value.__name__, value.__bases__, value.__module__)
        return NotImplemented


def _same(value: Any) -> Any:
    return value
