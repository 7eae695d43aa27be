"""Trainer states as tensors and plain values, so that `torch.load(weights_only=True)` reads them.

Arrays, sparse matrices and modules become dicts marked by `KIND`; the config becomes a plain dict.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from enum import Enum
from typing import Any

from recbole_mm.errors import Failure

KIND = "__recbole_mm__"
# config keys whose values are members of an enum of recbole.utils.enum_type
CONFIG_ENUMS = {"MODEL_TYPE": "ModelType", "MODEL_INPUT_TYPE": "InputType", "eval_type": "EvaluatorType"}
# what a Config finds out about the machine it is on; a checkpoint may be read on another
OF_THE_MACHINE = ("device", "single_spec", "local_rank", "nproc", "world_size", "offset", "ip", "port")


class StateOf(dict[str, Any]):
    """The state dict of a module that a model lists among its other parameters."""


def to_plain(value: Any) -> Any:
    """`value` in tensors and plain values; `from_plain` undoes it. `Failure` on what has no such form."""
    import numpy as np
    import torch
    from scipy import sparse

    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach()
    # a state dict stays what it is: it carries the versions of its modules
    if isinstance(value, OrderedDict) and all(type(item) is torch.Tensor for item in value.values()):
        return value
    if isinstance(value, torch.nn.Module):
        return {KIND: "module", "state": to_plain(value.state_dict())}
    if isinstance(value, np.generic):
        return to_plain(value.item())
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biuf":
            return {KIND: "array", "data": torch.from_numpy(np.array(value, order="C"))}
        return {KIND: "list", "data": to_plain(value.tolist()), "dtype": value.dtype.str}
    if sparse.issparse(value):
        return _sparse_to_plain(value)
    if isinstance(value, Mapping):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [to_plain(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, set | frozenset):
        return {KIND: "set", "data": [to_plain(item) for item in value]}
    raise Failure(f"a checkpoint cannot hold a {type(value).__module__}.{type(value).__qualname__}")


def _sparse_to_plain(value: Any) -> dict[str, Any]:
    coo = value.tocoo()
    return {
        KIND: "sparse",
        "format": value.format,
        "matrix": type(value).__name__.endswith("_matrix"),
        "shape": [int(n) for n in value.shape],
        **{name: to_plain(getattr(coo, name)) for name in ("row", "col", "data")},
    }


def from_plain(value: Any) -> Any:
    """Undoes `to_plain`; a module's state comes back as `StateOf`."""
    import numpy as np

    if isinstance(value, list | tuple):
        return type(value)(from_plain(item) for item in value)
    if not isinstance(value, dict):
        return value
    kind = value.get(KIND)
    if kind is None:
        for key in value:
            value[key] = from_plain(value[key])
        return value
    if kind == "module":
        return StateOf(value["state"])
    if kind == "array":
        return value["data"].cpu().numpy()
    if kind == "list":
        return np.array(value["data"], dtype=value["dtype"])
    if kind == "sparse":
        return _sparse_from_plain(value)
    if kind == "set":
        return set(from_plain(value["data"]))
    raise Failure(f"the checkpoint holds a {kind!r}, written by a newer recbole_mm")


def _sparse_from_plain(value: dict[str, Any]) -> Any:
    from scipy import sparse

    make = sparse.coo_matrix if value["matrix"] else sparse.coo_array
    row, col, data = (from_plain(value[name]) for name in ("row", "col", "data"))
    return make((data, (row, col)), shape=tuple(value["shape"])).asformat(value["format"])


def plain_config(config: Any) -> Any:
    """A Config's final values as a plain dict; enum members by name, other objects by their text."""
    return _readable(getattr(config, "final_config_dict", config))


def _readable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_readable(key): _readable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_readable(item) for item in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Enum):
        return value.name
    if hasattr(value, "item"):  # a numpy number
        return _readable(value.item())
    return str(value)


def rebuild_config(values: Any) -> Any:
    """A RecBole `Config` with the plain `values` of a checkpoint, on this machine's device."""
    from recbole.config.configurator import Config
    from recbole.utils import enum_type, get_model

    if isinstance(values, Config):  # a file read under trusted_load()
        return values
    config = Config.__new__(Config)
    config.compatibility_settings()
    config._init_parameters_category()
    config.yaml_loader = config._build_yaml_loader()
    final = {key: value for key, value in values.items() if key not in OF_THE_MACHINE}
    for key, enum in CONFIG_ENUMS.items():
        if isinstance(final.get(key), str):
            final[key] = getattr(enum_type, enum)[final[key]]
    config.file_config_dict, config.variable_config_dict, config.cmd_config_dict = {}, dict(final), {}
    config.external_config_dict, config.internal_config_dict = dict(final), {}
    config.final_config_dict = final
    config.model, config.dataset = final["model"], final["dataset"]
    config.model_class = get_model(config.model)
    config._init_device()
    return config
