"""The states of all generators that a training run draws from.

Global: torch (CPU, CUDA), numpy, Python. Of a loader: every generator it or its parts hold; RecBole's loaders
shuffle with ``loader.generator``, and each pass over any DataLoader, a validation loader too, draws from it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from recbole.sampler.sampler import AbstractSampler
from torch.utils.data import DataLoader, Sampler

from recbole_mm.errors import WrongUse
from recbole_mm.serialize import from_plain, to_plain

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
Generator = torch.Generator | np.random.Generator | np.random.RandomState | random.Random
_PARTS = (DataLoader, Sampler, AbstractSampler)
_NO_PARTS = {"_dataset", "dataset", "config", "model"}


def global_state(device: torch.device) -> dict[str, Any]:
    """The states of the process-wide generators, plain."""
    state = {
        "torch": torch.get_rng_state(),
        "numpy": to_plain(np.random.get_state(legacy=False)),
        "python": _python_state(random.getstate()),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_global_state(state: dict[str, Any], device: torch.device) -> None:
    """Undoes `global_state`; CUDA's only where both the file and this run have it."""
    torch.set_rng_state(state["torch"])
    np.random.set_state(from_plain(state["numpy"]))
    random.setstate(_from_python_state(state["python"]))
    if device.type == "cuda" and len(state.get("cuda", ())) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def state_of(generator: Generator) -> Any:
    """The plain state of one generator."""
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return to_plain(generator.bit_generator.state)
    if isinstance(generator, np.random.RandomState):
        return to_plain(generator.get_state(legacy=False))
    return _python_state(generator.getstate())


def set_state_of(generator: Generator, state: Any) -> None:
    """Undoes `state_of`, in place."""
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = from_plain(state)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(from_plain(state))
    else:
        generator.setstate(_from_python_state(state))


def loader_state(loader: Any) -> dict[str, Any]:
    """The states of the generators of a loader, by their place in it; its own ``state_dict()`` where it has one."""
    if hasattr(loader, "state_dict"):
        return {"state_dict": to_plain(loader.state_dict(), "loader state")}
    return {place: state_of(generator) for place, generator in _generators(loader, "", set())}


def set_loader_state(loader: Any, state: dict[str, Any], name: str) -> None:
    """Undoes `loader_state`.

    Raises:
        WrongUse: this loader has other generators than the one of the checkpoint.
    """
    if hasattr(loader, "load_state_dict"):
        loader.load_state_dict(from_plain(state["state_dict"]))
        return
    here = dict(_generators(loader, "", set()))
    if here.keys() != state.keys():
        raise WrongUse(
            f"resume: the {name} loader draws from {sorted(here)}, that of the checkpoint from {sorted(state)}; "
            "resume with the same configuration and version"
        )
    for place, generator in here.items():
        set_state_of(generator, state[place])


def _python_state(state: tuple[Any, ...]) -> dict[str, Any]:
    """Python's state with its 625 integers as one tensor, which is written much faster."""
    version, words, gauss = state
    return {"version": version, "words": torch.tensor(words, dtype=torch.int64), "gauss": gauss}


def _from_python_state(state: dict[str, Any]) -> tuple[Any, ...]:
    return state["version"], tuple(state["words"].tolist()), state["gauss"]


def _generators(part: Any, place: str, seen: set[int]) -> Iterator[tuple[str, Generator]]:
    """All generators in `part`, each once though several parts may share it."""
    for name, value in sorted(getattr(part, "__dict__", {}).items()):
        if name in _NO_PARTS or id(value) in seen:
            continue
        if isinstance(value, GENERATORS):
            seen.add(id(value))
            yield place + name, value
        elif isinstance(value, _PARTS) or type(value).__module__.startswith("recbole_mm."):
            seen.add(id(value))
            yield from _generators(value, f"{place}{name}.", seen)
