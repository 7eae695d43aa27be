"""What a model keeps beside its ``state_dict`` and changes while it trains.

An annealing counter (MultiVAE's ``update``), a shuffled list (LINE), a matrix made anew each epoch (KGAT):
without them a resumed run is not the same run. Attributes that training never changes, such as an adjacency
matrix, are not stored.

Seen: numbers, text, None, tensors, non-persistent buffers, numpy arrays, and generators. A model that keeps
anything else implements torch's ``get_extra_state`` / ``set_extra_state``.
"""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from recbole_mm.serialize import from_plain, to_plain
from recbole_mm.trainer.generators import GENERATORS, set_state_of, state_of

_SCALARS = (bool, int, float, str, np.generic, type(None))
_OF_EVERY_MODULE = set(vars(nn.Module()))  # torch's own bookkeeping


class ModelDrift:
    """Compares a model's attributes with those it had when this object was made."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._start = {place: _mark(value) for place, value in self._attributes()}

    def state(self) -> dict[str, Any]:
        """The changed attributes by place (``module.attribute``), plain, and the states of all generators."""
        weights = {tensor.untyped_storage().data_ptr() for tensor in self.model.state_dict().values()
                   if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided}  # fmt: skip
        state: dict[str, Any] = {"changed": {}, "generators": {}}
        for place, value in self._attributes():
            if isinstance(value, GENERATORS):
                state["generators"][place] = state_of(value)
            elif not self._same(place, value) and not _lies_in(value, weights):
                state["changed"][place] = to_plain(value, place)
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Gives the model the attributes of `state`."""
        modules = dict(self.model.named_modules())
        for place, value in state["changed"].items():
            module_name, _, name = place.rpartition(".")
            module = modules[module_name]
            value = from_plain(value)
            if isinstance(value, torch.Tensor):
                now = getattr(module, name, None)
                value = value.to(now.device if isinstance(now, torch.Tensor) else _device(self.model))
            setattr(module, name, value)
        generators = {place: value for place, value in self._attributes() if isinstance(value, GENERATORS)}
        for place, generator_state in state["generators"].items():
            if place in generators:
                set_state_of(generators[place], generator_state)

    def _attributes(self) -> Iterator[tuple[str, Any]]:
        """(place, value) of every attribute that is no part of the state dict."""
        other = set(getattr(self.model, "other_parameter_name", ()))  # saved by name, as RecBole does
        for prefix, module in self.model.named_modules():
            for name, value in vars(module).items():
                if name in _OF_EVERY_MODULE or (module is self.model and name in other):
                    continue
                if isinstance(value, (*_SCALARS, torch.Tensor, np.ndarray, *GENERATORS)):
                    yield f"{prefix}.{name}", value
            for name in module._non_persistent_buffers_set:
                yield f"{prefix}.{name}", module._buffers[name]

    def _same(self, place: str, value: Any) -> bool:
        start = self._start.get(place)
        if start is None or start[0] != _kind(value):
            return False
        if isinstance(value, torch.Tensor):
            return start[1]() is value and start[2] == value._version
        return bool(start[1] == _mark(value)[1])


def _kind(value: Any) -> str:
    return type(value).__name__


def _mark(value: Any) -> tuple[Any, ...]:
    """Something small that tells whether `value` changed."""
    if isinstance(value, torch.Tensor):
        return _kind(value), weakref.ref(value), value._version
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufc":
            return _kind(value), id(value)  # its elements are objects: only a replacement is seen
        return _kind(value), (value.shape, value.dtype.str, zlib.crc32(np.ascontiguousarray(value).data))
    return _kind(value), value


def _lies_in(value: Any, storages: set[int]) -> bool:
    """Whether a tensor is another view of a parameter or buffer."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.untyped_storage().data_ptr() in storages
    )


def _device(model: nn.Module) -> torch.device:
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
