from __future__ import annotations

import pytest

from recbole_mm.config.known import declared_keys
from recbole_mm.layer.domain import DOMAIN_LOSSES
from recbole_mm.layer.fusion import FUSIONS
from recbole_mm.run.key import KEYS, Key, keys_that
from recbole_mm.run.model_key import describe
from recbole_mm.trainer.schedule import SCHEDULES


def test_every_described_key_exists() -> None:
    assert set(KEYS) - {"device"} <= declared_keys()  # which RecBole makes itself


@pytest.mark.parametrize("name", KEYS)
def test_a_key_is_bound_in_one_way_and_says_it(name: str) -> None:
    key = KEYS[name]
    assert not key.choices or key.low is None
    assert bool(key.allowed) == bool(key.choices or key.low is not None or key.whole or key.test is not None)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        (Key(low=0), 0, None),
        (Key(low=0), -1, "expected a value >= 0, got -1"),
        (Key(low=0, open=True), 0, "expected a value > 0, got 0"),
        (Key(low=0, high=1), 1.5, "expected a value between 0 and 1, got 1.5"),
        (Key(low=1, whole=True), [64, 32.5], "expected a whole number >= 1, got [64, 32.5]"),
        (Key(low=0), float("nan"), "expected a value >= 0, got nan"),
        (Key(), float("inf"), "expected a finite number, got inf"),
        (Key(low=1), [5, True], "expected a value >= 1, got [5, True]"),
        (Key(choices=("mm", "recbole")), "recbol", "expected one of mm, recbole, got 'recbol'"),
        (Key(choices=("l2", "whiten")), {"text": "l2", "image": None}, None),
        (Key(choices=("l2", "whiten")), {"text": 3}, "expected one of l2, whiten, got {'text': 3}"),
        (KEYS["feature_scaling"], "standardise", "expected one of standardize, whiten, l2, got 'standardise'"),
        (KEYS["protocol"], ["recbole", "sampled-100"], None),
        (KEYS["protocol"], "sampled-0", "expected one of recbole, mmrec, sampled-N, got 'sampled-0'"),
        (KEYS["protocol"], None, None),
    ],
)  # fmt: skip
def test_what_a_key_may_hold(key: Key, value: object, problem: str | None) -> None:
    found = key.problem(value)
    assert found == problem or (problem and found.startswith(f"{problem}; did you mean"))


def test_the_flags() -> None:
    assert {"epochs", "seed", "protocol", "domains"} <= keys_that("shared")
    assert {"checkpoint_dir", "keep_checkpoints"} <= keys_that("silent") & keys_that("resumable")
    assert {"resume", "init_from"} <= keys_that("path")
    assert "learning_rate" not in keys_that("shared") | keys_that("silent") | keys_that("resumable")


def test_choices_are_those_that_there_are() -> None:
    assert set(KEYS["lr_scheduler"].choices) == set(SCHEDULES)
    for key, there in (("fusion", FUSIONS), ("domain_loss", DOMAIN_LOSSES)):
        assert set(describe(key, "CMC", [key]).choices) == set(there)
