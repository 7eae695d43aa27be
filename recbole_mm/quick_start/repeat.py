"""``recbole-mm run --from``: a run once more, from its record alone, held to what it gave."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from logging import getLogger
from typing import Any

import torch

from recbole_mm.config.values import parse_cli
from recbole_mm.errors import Failure, WrongUse
from recbole_mm.run.key import keys_that

_log = getLogger("recbole_mm.run")
PLACES = ("data_path", "modality_path")
RESULTS = ("best_valid_score", "best_valid_result", "test_result", "epochs_run")
#: parts of a record that decide last digits, and what a difference in one of them means
MADE_OF = ("question", "data", "versions", "machine", "threads", "workers")


def settings_of(record: Mapping[str, Any], overrides: Sequence[str]) -> tuple[str, str, dict[str, Any]]:
    """Model, data set and settings of a recorded run; torch takes as many threads as it had.

    Raises:
        WrongUse: ``overrides`` would make it another run, or its settings changed on the way.
    """
    if changes := record.get("changes"):
        raise WrongUse(f"--from: no settings repeat this run ({changes[0].removeprefix('resume: ')})")
    free = keys_that("silent") | set(PLACES)
    for key in parse_cli(overrides)[0]:
        if key not in free:
            raise WrongUse(
                f"--{key}: --from repeats a run as it was; without --from its settings can be changed"
            )
    torch.set_num_threads(record.get("threads") or torch.get_num_threads())
    return record.get("named") or record["model"], record["dataset"], dict(record["config"])


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What the two records were made of differently, a line each; of parts that both have."""
    lines = []
    for part in MADE_OF:
        old, new = _flat(before.get(part), part), _flat(after.get(part), part)
        lines += [
            f"{name}: {old[name]}, now {new[name]}" for name in old if name in new and old[name] != new[name]
        ]
    return lines


def hold_to(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """A sentence that the results are the same to the last digit.

    Raises:
        Failure: they are not; it names the first figure that differs, and what else is different.
    """
    after = _plain(after)
    changes = differences(before, after)
    for line in changes:
        _log.warning("not as in the first run: %s", line)
    for name in RESULTS:
        old, new = _flat(before.get(name), name), _flat(after.get(name), name)
        wrong = [key for key in old if old[key] != new.get(key)]
        if wrong:
            why = (
                f"; different are {', '.join(line.partition(':')[0] for line in changes)}" if changes else ""
            )
            raise Failure(
                f"the repeated run differs: {wrong[0]} was {old[wrong[0]]}, is {new.get(wrong[0])}{why}"
            )
    return "the same as the first run to the last digit"


def _flat(value: Any, name: str) -> dict[str, Any]:
    """Nested values by their path."""
    if not isinstance(value, Mapping):
        return {} if value is None else {name: value}
    return {path: each for key, part in value.items() for path, each in _flat(part, f"{name}.{key}").items()}


def _plain(record: Mapping[str, Any]) -> Any:
    """As it comes back from its file."""
    return json.loads(json.dumps(record, default=str))
