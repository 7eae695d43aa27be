"""Values as tensors, numbers, text, lists and dicts, which `torch.load(weights_only=True)` reads.

What is none of these becomes a dict that names its kind under `KIND`, and turns back in `from_plain`. Used by
compat for RecBole's own checkpoints and by the trainer for ours; imports numpy and torch only when called.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping
from enum import Enum
from typing import Any

from recbole_mm.errors import Failure

KIND = "__recbole_mm__"
_INT64 = 2**63
#: the mark of a class that `class_of` made
MADE_OF = "__recbole_mm_made__"


class StateOf(dict[str, Any]):
    """The state dict of a module that a model lists among its other parameters."""


def to_plain(value: Any, where: str = "") -> Any:
    """`value` in plain form; `from_plain` undoes it.

    Args:
        value: what a trainer keeps: tensors, numpy and scipy arrays, modules, containers, numbers, text.
        where: its name, for the error.

    Raises:
        Failure: an object that has no such form.
    """
    import numpy as np
    import torch
    from scipy import sparse

    if value is None or type(value) in (bool, float, str):
        return value
    if type(value) is int:
        # numpy's PCG64 counts in 128 bits
        return value if -_INT64 <= value < _INT64 else {KIND: "int", "text": str(value)}
    if isinstance(value, torch.Tensor):
        return value.detach()
    # a state dict stays what it is: it carries the versions of its modules
    if isinstance(value, OrderedDict) and all(isinstance(item, torch.Tensor) for item in value.values()):
        return value
    if isinstance(value, torch.nn.Module):
        return {KIND: "module", "state": to_plain(value.state_dict(), where)}
    if isinstance(value, np.generic):
        return to_plain(value.item(), where)
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biufc":
            # as it is, where it can be: EASE's is as large as memory allows
            whole = value.flags.c_contiguous and value.flags.writeable and value.dtype.isnative
            return {KIND: "array", "data": torch.from_numpy(value if whole else np.array(value, order="C"))}
        return {KIND: "list", "data": to_plain(value.tolist(), where), "dtype": value.dtype.str}
    if sparse.issparse(value):
        return _plain_sparse(value)
    if isinstance(value, Mapping):
        return _plain_mapping(value, where)
    if isinstance(value, (list, tuple)):
        items = [to_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, (set, frozenset)):
        return {KIND: "set", "data": [to_plain(item, where) for item in value]}
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise Failure(f"a checkpoint holds tensors and plain values only; {where or 'it'} is a {kind}")


def from_plain(value: Any) -> Any:
    """Undoes `to_plain`; a module's state comes back as `StateOf`."""
    import numpy as np

    if isinstance(value, (list, tuple)):
        return type(value)(from_plain(item) for item in value)
    if not isinstance(value, dict):
        return value
    kind = value.get(KIND)
    if kind is None:
        for key in value:  # in place: a state dict keeps its type and its attributes
            value[key] = from_plain(value[key])
        return value
    if kind == "int":
        return int(value["text"])
    if kind == "module":
        return StateOf(value["state"])
    if kind == "array":
        return value["data"].cpu().numpy()
    if kind == "list":
        return np.array(value["data"], dtype=value["dtype"])
    if kind == "sparse":
        return _sparse(value)
    if kind == "set":
        return set(from_plain(value["data"]))
    if kind == "pairs":
        return {from_plain(key): from_plain(item) for key, item in value["data"]}
    raise Failure(f"the checkpoint holds a {kind!r}, written by a newer recbole_mm")


def plain_config(config: Any) -> Any:
    """A Config's final values as a plain dict, to be read: enums by name, other objects by their text."""
    return readable(getattr(config, "final_config_dict", config))


def readable(value: Any) -> Any:
    """`value` as JSON and a person read it: numpy numbers as numbers, enum members by name, objects as text."""
    if isinstance(value, Mapping):
        return {readable(key): readable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [readable(item) for item in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Enum):
        return value.name
    if hasattr(value, "item"):  # a numpy number
        return readable(value.item())
    return str(value)


def _plain_mapping(value: Mapping[Any, Any], where: str) -> dict[Any, Any]:
    if KIND not in value and all(type(key) in (str, int) for key in value):
        return {key: to_plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    pairs = [(to_plain(key, where), to_plain(item, f"{where}[{key!r}]")) for key, item in value.items()]
    return {KIND: "pairs", "data": pairs}


def _plain_sparse(value: Any) -> dict[str, Any]:
    coo = value.tocoo()
    return {
        KIND: "sparse",
        "format": value.format,
        "matrix": type(value).__name__.endswith("_matrix"),
        "shape": [int(n) for n in value.shape],
        **{name: to_plain(getattr(coo, name)) for name in ("row", "col", "data")},
    }


def _sparse(value: dict[str, Any]) -> Any:
    from scipy import sparse

    make = sparse.coo_matrix if value["matrix"] else sparse.coo_array
    row, col, data = (from_plain(value[name]) for name in ("row", "col", "data"))
    return make((data, (row, col)), shape=tuple(value["shape"])).asformat(value["format"])


def class_of(name: str, bases: tuple[type, ...], module: str) -> type:
    """The class ``name`` of these bases, made once and held by the imported ``module``, where pickle looks for it."""
    held = vars(sys.modules[module])
    if getattr(held.get(name), "__bases__", None) != bases:
        held[name] = type(name, bases, {"__module__": module, MADE_OF: True})
    made: type = held[name]
    return made
