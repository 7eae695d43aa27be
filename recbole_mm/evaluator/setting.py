"""Read an evaluation key from RecBole's Config, ours, or a plain dict: absent and null both mean the default."""

from __future__ import annotations

from typing import Any


def setting(config: Any, key: str, default: Any) -> Any:
    """Value of ``key``, or ``default`` where it is absent or null (RecBole's Config gives None for both)."""
    value = config[key] if key in config else None  # noqa: SIM401 (a Config has no get)
    return default if value is None else value


def metric_names(config: Any) -> list[str]:
    """Lower-case metric names, in the order asked for."""
    metrics = setting(config, "metrics", [])
    return [name.lower() for name in ([metrics] if isinstance(metrics, str) else metrics)]


def cutoffs(config: Any) -> list[int]:
    """The list lengths K."""
    topk = setting(config, "topk", [10])
    return [int(k) for k in ([topk] if isinstance(topk, int) else topk)]
