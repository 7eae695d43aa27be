"""Learning rates of their own for parts of a model: ``parameter_groups(learning_rate) -> list[dict]``."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import nn

from recbole_mm.errors import Failure


def checked_groups(model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`groups` with lists for iterators.

    Raises:
        Failure: a trainable parameter is in no group or in two: it would silently not be trained, or twice.
    """
    groups = [{**group, "params": list(group["params"])} for group in groups]
    counts = Counter(id(parameter) for group in groups for parameter in group["params"])
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and counts[id(parameter)] != 1:
            raise Failure(
                f"{type(model).__name__}.parameter_groups: {name} is in {counts[id(parameter)]} groups; every "
                "trainable parameter belongs in exactly one"
            )
    return groups
