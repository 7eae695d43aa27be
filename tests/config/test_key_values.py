"""Every known key, fed with values that it may not hold: one line that names the key, before data is read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recbole_mm.cli import main
from recbole_mm.config import Config
from recbole_mm.config.check import checked
from recbole_mm.config.known import declared_keys
from recbole_mm.config.properties import load_internal, recbole_dir
from recbole_mm.config.values import parse_value
from recbole_mm.errors import WrongUse
from recbole_mm.files import properties_dir
from recbole_mm.run.key import KEYS
from recbole_mm.run.key_type import Key
from recbole_mm.run.model_key import NAMED, OF_MODEL, describe

#: keys that take any value, with the reason
ANY_VALUE = {
    "device": "RecBole sets it itself, from use_gpu and gpu_id; what is given is said to have no effect",
    "neg_sampling": "of RecBole before 1.1; what is given is said to have no effect",
    "training_neg_sample_num": "of RecBole before 1.1; what is given is said to have no effect",
}
#: what a run is asked with
CALLED = {"model", "dataset"}
#: hyper-parameters that a model of RecBole's reads and its yaml does not declare
READ_ALONE = {
    "contrast", "eta", "has_residual", "norm", "sim", "token_num_threshold", "use_filter", "xgb_early_stopping_rounds",
}  # fmt: skip
#: models whose library is not there
TREES = ("lightgbm", "xgboost")


class Odd:
    """A value of no type that a key takes."""

    def __repr__(self) -> str:
        return "Odd()"


@cache
def homes() -> dict[str, dict[str, Any]]:
    """The models whose yamls declare hyper-parameters, with those and what their source reads."""
    found: dict[str, dict[str, Any]] = {}
    for root in (recbole_dir() / "properties", properties_dir()):
        for file in sorted(root.glob("model/*.yaml")):
            found.setdefault(file.stem, {}).update(load_internal(file))
    return found


@cache
def common() -> dict[str, Any]:
    """The defaults of the keys that any run may have."""
    found: dict[str, Any] = {}
    for root in (recbole_dir() / "properties", properties_dir()):
        for name in ("overall.yaml", "dataset/sample.yaml"):
            found |= load_internal(root / name)
    return found


def cases() -> list[tuple[str, str]]:
    """(key, a model that has it) of every known key, and of a hyper-parameter every model."""
    of_models = {(key, model) for model, own in homes().items() for key in own}
    of_any = {*common(), *KEYS, *declared_keys()} - ({key for key, _ in of_models} - {*common(), *KEYS})
    return sorted({*((key, "BPR") for key in of_any), *of_models})


def wrong_values(kind: Key, default: Any) -> Iterator[Any]:
    """Values that the key may not hold: of another type, out of its range, not of its syntax."""
    kinds = kind.takes or kinds_of(default, kind)
    pool: list[Any] = [
        True,
        7,
        2.5,
        "no such value",
        "",
        ">3",
        "(5 inf)",
        ["no such"],
        {"no such": "value"},
        Odd(),
    ]
    right = [one for one in pool if isinstance(one, kinds) and (bool in kinds or not isinstance(one, bool))]
    yield from (one for one in pool if all(one is not each for each in right))
    if not kinds:
        return
    if kind.test is not None:
        yield from (one for one in right if not kind.test(one))
    if kind.needed or (isinstance(default, (bool, int, float)) and not kind.choices):
        yield None
    inner: list[Any] = []
    if kind.low is not None and not (kind.syntax or kind.choices):
        inner += [
            kind.low - 1,
            *([kind.low] if kind.open else []),
            *([kind.high + 1] if kind.high is not None else []),
        ]
    if kind.whole or kinds == (int,):
        inner.append((kind.low or 0) + 0.5)
    if float in kinds:
        inner += [float("nan"), float("inf")]
    if kind.choices:
        inner.append("no such value")
    if kind.each is not None:
        inner += [Odd(), *wrong_values(kind.each, None)]
    for one in inner:
        scalar = {str, int, float, bool}.intersection(kinds) and kind.each is None
        yield one if scalar else [one] if list in kinds else {"rating": one}
    for name, part in kind.parts.items():
        yield {"no such": 1}
        yield from ({name: one} for one in wrong_values(part, None))


def kinds_of(default: Any, kind: Key) -> tuple[type, ...]:
    if isinstance(default, bool) or not isinstance(default, (int, float)):
        return () if default is None else (type(default),)
    return (int,) if kind.whole else (int, float)


def said_of(key: str, value: Any, model: str) -> str:
    """The line that a wrong value ends in; fails where it is taken or where the line does not say what it should."""
    if model in TREES:  # their library is not there, so that the class cannot be imported
        _, problem = checked(
            key, describe(key, model, homes()[model]), value, homes()[model][key], text=None, whole=False
        )
        said = f"{key}: {problem}" if problem else ""
    else:
        with pytest.raises(WrongUse) as raised:
            Config(None, None, None, {"model": model, "dataset": "ml-100k", "use_gpu": False, key: value})
            pytest.fail(f"{key}: {value!r} is taken ({model})")
        said = str(raised.value)
    assert "\n" not in said and said.startswith(key), (key, model, value, said)
    return said


def default_of(key: str, model: str) -> Any:
    return homes()[model].get(key, common().get(key))


def test_every_known_key_has_a_type() -> None:
    without = {
        (key, model)
        for key, model in cases()
        if not (describe(key, model, homes()[model]).takes or kinds_of(default_of(key, model), Key()))
    }
    assert {key for key, _ in without} == set(ANY_VALUE)
    assert len({key for key, _ in cases()}) > 390


@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_wrong_value_of_any_key_is_one_line_that_names_it(part: int) -> None:
    """A fifth of the values, and all of them where there is time."""
    rng = np.random.default_rng(part)
    tried: dict[str, int] = {}
    for key, model in cases():
        kind, default = describe(key, model, homes()[model]), default_of(key, model)
        for value in [] if key in ANY_VALUE else wrong_values(kind, default):
            if part or rng.random() < 0.2:
                said_of(key, value, model)
                tried[key] = tried.get(key, 0) + 1
    assert not part or set(tried) == {key for key, _ in cases()} - set(ANY_VALUE)


def test_every_default_may_be_given() -> None:
    """What a yaml declares is of its own description, for each model, and stays what it is."""
    for key, model in cases():
        default, kind = default_of(key, model), describe(key, model, homes()[model])
        if key not in CALLED:
            value, problem = checked(key, kind, default, default, text=None, whole=kind.whole)
            assert problem is None and value == default, (key, model, default, problem)


@pytest.mark.parametrize(
    ("model", "key", "value"),
    [
        ("BPR", "user_inter_num_interval", "[5,10]"),  # read as a list
        ("BPR", "user_inter_num_interval", (5, 10)),
        ("BPR", "user_inter_num_interval", " [5, inf) "),
        ("BPR", "item_inter_num_interval", "(0,1];[3,4)"),
        ("BPR", "user_inter_num_interval", None),
        ("BPR", "val_interval", {"rating": "[3,inf)", "timestamp": [3, 4]}),
        ("BPR", "learner", "AdamW"),
        ("BPR", "threshold", {"rating": 4}),
        ("BPR", "eval_args", {"split": {"TS": [8, 1, 1]}, "group_by": None, "order": "TO"}),
        ("BPR", "eval_args", {"split": {"LS": "test_only"}, "group_by": "none"}),
        ("BPR", "train_neg_sample_args", {"distribution": "none", "sample_num": "none"}),
        ("BPR", "gpu_id", "0,1"),
        ("BPR", "gpu_id", ""),
        ("BPR", "gpu_id", (0, 1)),
        ("BPR", "encoding", "gb18030"),
        ("BPR", "load_col", {"inter": ["user_id", "item_id"], "item": "*"}),
        ("BPR", "state", "WARNING"),
        ("BPR", "embedding_size", 32.0),
        ("BPR", "clip_grad_norm", {"max_norm": 5, "norm_type": 2}),
        ("NGCF", "reg_weight", 1),
        ("LightGCN", "n_layers", 0),
        ("NeuMF", "mlp_hidden_size", "[32, 16]"),
        ("SASRec", "hidden_dropout_prob", 0),
        ("MCCLK", "loss_type", "bce"),
    ],
)
def test_right_values_are_taken(model: str, key: str, value: Any) -> None:
    kind, default = describe(key, model, homes()[model]), default_of(key, model)
    value = parse_value(value) if isinstance(value, str) else value
    assert checked(key, kind, value, default, text=None, whole=kind.whole)[1] is None


def test_a_none_that_is_a_value_overrules_what_another_layer_says() -> None:
    """It did nothing: vectors of CPMM, whose own yaml says l2, could not stay as they are."""
    choosing = [key for key, kind in KEYS.items() if kind.choices and common().get(key, "") is None]
    assert {"feature_scaling", "lr_scheduler", "domain_rule"} <= set(choosing)
    for key in choosing:
        assert checked(key, KEYS[key], None, "another", text=None, whole=False) == (None, None), key
    assert checked("learner", KEYS["learner"], None, "adam", text=None, whole=False) == ("adam", None)


WRONG = {
    "user_inter_num_interval=5": "expected intervals such as [5,inf) or (0,1];[3,4), got '5'",
    "user_inter_num_interval=(5 inf)": "expected intervals such as [5,inf) or (0,1];[3,4), got '(5 inf)'",
    "item_inter_num_interval=[5,inf": "expected intervals such as [5,inf) or (0,1];[3,4), got '[5,inf'",
    "item_inter_num_interval=[9,5]": "expected intervals such as [5,inf) or (0,1];[3,4), got '[9,5]'",
    "val_interval={rating: '>3'}": "rating: expected intervals such as [5,inf), or a list of tokens, got '>3'",
    "learner=adamm": (
        "expected one of adam, adamw, sgd, adagrad, rmsprop, sparse_adam, got 'adamm'; did you mean 'adam'?"
    ),
    "embedding_size=3.5": "expected int, got 3.5",
    "embedding_size=0": "expected a value >= 1, got 0",
    "loss_decimal_place=-1": "expected a value >= 0, got -1",
    "threshold={rating: high}": "rating: expected int or float, got 'high'",
    "threshold={rating: 3, timestamp: 2}": (
        "expected one field and its number, got {'rating': 3, 'timestamp': 2}"
    ),
    "numerical_features=rating": "expected list, got 'rating'",
    "numerical_features=[3]": "expected str, got 3 in [3]",
    "eval_args={order: time}": "order: expected one of RO, TO, got 'time'",
    "eval_args={group_by: item}": "group_by: expected one of user, none, got 'item'",
    "eval_args={split: {RO: [0.8, 0.1, 0.1]}}": "split: unknown part 'RO'; there are RS, TS, LS",
    "eval_args={split: {RS: [0.8, 0.2]}}": (
        "split: RS: expected the shares of training, validation and test, such as [0.8, 0.1, 0.1], got [0.8, 0.2]"
    ),
    "eval_args={split: {LS: both}}": "split: LS: expected one of valid_and_test, valid_only, test_only, got 'both'",
    "eval_args={split: {}}": "split: expected one of RS, TS and LS, got {}",
    "train_neg_sample_args={distribution: normal}": (
        "distribution: expected one of uniform, popularity, none, got 'normal'; did you mean 'uniform'?"
    ),
    "gpu_id=cuda": "expected numbers of GPUs such as 0,1, got 'cuda'",
    "learning_rate=1e400": "expected a value > 0, got inf",
    "seed=5000000000": "expected a whole number from 0 to 4294967295, got 5000000000",
    "init_from=": "expected a path, got an empty text; leave the key out where there is none",
    "pretrained_items=": "expected a path, got an empty text; leave the key out where there is none",
    "encoding=utf9": "expected the name of an encoding such as utf-8 or gb18030, got 'utf9'",
    "--model=SASRecF --selected_features=class": "selected_features: expected list, got 'class'",
    "--model=CMC --temperature=0": "temperature: expected a value > 0, got 0",
    "--model=LightGCN --n_layers=2.5": "n_layers: expected int, got 2.5",
    "--model=NeuMF --mlp_hidden_size=[32, 2.5]": "mlp_hidden_size: expected a whole number >= 1, got [32, 2.5]",
    "--model=SASRec --loss_type=bpr": "loss_type: expected one of BPR, CE, got 'bpr'; did you mean 'BPR'?",
    "--model=SGL --type=XX": "type: expected one of ND, ED, RW, got 'XX'",
}  # fmt: skip


@pytest.mark.parametrize("given", WRONG)
def test_on_the_command_line_it_exits_with_2(
    given: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = given.startswith("--")
    args = [f"--{each}" for each in given[2:].split(" --")] if named else ["--model=BPR", f"--{given}"]
    assert main(["run", "--dataset=ml-100k", "--use_gpu=False", *args]) == 2
    key = "" if named else f"{given.partition('=')[0]}: "
    assert capsys.readouterr().err == f"error: {key}{WRONG[given]} (command line)\n"
    assert not list(tmp_path.iterdir())


def test_a_script_of_recbole_is_warned_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    made = Config("BPR", "ml-100k", None, {"use_gpu": False, "learner": "adamm", "strict_config": False})
    (said,) = [each.getMessage() for each in caplog.records if "learner" in each.getMessage()]
    assert made["learner"] == "adamm" and said.startswith("learner: expected one of adam")


def test_the_names_in_the_tables_are_keys_of_models() -> None:
    read = {key for own in homes().values() for key in own}
    assert set(NAMED) - read == READ_ALONE
    assert all(key in homes()[model] for model, key in OF_MODEL)
