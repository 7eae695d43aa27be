"""A model of one's own: where its defaults come from, and which keys it knows."""

from __future__ import annotations

import linecache
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from recbole_mm.config import Config, missing_keys
from recbole_mm.config.known import own_keys
from recbole_mm.errors import WrongUse
from recbole_mm.files import properties_dir
from recbole_mm.model import defaults_of, get_model
from recbole_mm.quick_start.fingerprint import run_key
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec
from recbole_mm.testing import write_toy


def settings_of(model: str | type) -> dict[str, Any]:
    made = Config(model, "ml-100k", config_dict={"use_gpu": False})
    return {key: value for key, value in made.final_config_dict.items() if key != "model"}


@pytest.mark.parametrize(
    "parent", ["CMC", "VBPR", "LightGCN", "SASRecF", "DIN", "S3Rec", "EASE", "GRU4RecKG"]
)
def test_a_class_that_extends_a_model_starts_from_its_defaults(parent: str) -> None:
    own = type("Own", (type("Between", (get_model(parent),), {}),), {})
    assert defaults_of(own) is get_model(parent)
    assert settings_of(own) == settings_of(parent)


@pytest.mark.parametrize(
    "parent", ["MultiVAE", "RaCT", "DGCF"]
)  # with a loader, a trainer, a limit by their name
def test_it_trains_as_its_parent(parent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        f"from recbole.model.general_recommender import {parent}\nclass Own({parent}):\n    pass\n"
    )
    toy = write_toy(tmp_path, ()) | {"epochs": 1}
    one, other = (Session.build(RunSpec(model, "toy", toy)) for model in (parent, "own.py:Own"))
    assert type(one.trainer) is type(other.trainer) and type(one.train_data) is type(other.train_data)
    assert one.config["train_batch_size"] == other.config["train_batch_size"]
    results = [Session.build(RunSpec(model, "toy", toy)).run().record for model in (parent, "own.py:Own")]
    assert results[0]["test_result"] == results[1]["test_result"]


def test_our_own_models_keep_to_their_own_file() -> None:
    for file in (properties_dir() / "model").glob("*.yaml"):
        assert defaults_of(get_model(file.stem)).__name__ == file.stem


def test_a_class_that_extends_no_model_has_no_defaults_of_one() -> None:
    from recbole.model.abstract_recommender import GeneralRecommender

    assert defaults_of(own := type("Own", (GeneralRecommender,), {})) is own


OWN = """
from recbole.model.general_recommender import BPR


class TinyMF(BPR):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.dim, self.other = config["tiny_dim"], config.get("tiny_other")
"""


@pytest.fixture(params=["notebook", "typed", "file"])
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[type | str]:
    """The model as a cell of a notebook makes it, as Python without any source does, and in a file."""
    if request.param == "file":
        (tmp_path / "tiny.py").write_text(OWN)
        yield f"{tmp_path}/tiny.py:TinyMF"
        return
    cell = "/tmp/ipykernel_1/1234.py" if request.param == "notebook" else "<stdin>"
    if request.param == "notebook":
        linecache.cache[cell] = len(OWN), None, OWN.splitlines(True), cell
    names = vars(types.ModuleType("__main__"))
    exec(compile(OWN, cell, "exec"), names)
    yield names["TinyMF"]
    linecache.cache.pop(cell, None)


def test_the_keys_of_ones_own_model_are_known_wherever_it_comes_from(own: type | str) -> None:
    assert {"tiny_dim", "tiny_other"} <= own_keys(get_model(own))
    made = Config(own, "ml-100k", config_dict={"use_gpu": False, "tiny_dim": 8, "tiny_other": 1})
    assert made["tiny_dim"] == 8
    (said,) = missing_keys(Config(own, "ml-100k", config_dict={"use_gpu": False})) or [""]
    assert said == "" or ("line 8" in said and "'tiny_dim'" in said)
    assert (said == "") == (
        get_model(own).__init__.__code__.co_filename == "<stdin>"
    )  # there is no source to read
    assert run_key(made, 1) == run_key(Config.of(made.spec), 1)  # of the code, wherever that is
    with pytest.raises(WrongUse, match=r"'tiny_dmi'.*did you mean 'tiny_dim'"):
        Config(own, "ml-100k", config_dict={"use_gpu": False, "tiny_dmi": 8})


READS = """import torch
from recbole.model.general_recommender import BPR


class TinyMF(BPR):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.a = config["a"] or 3
        self.b = config["b"] if "b" in config else 1
        self.c = getattr(config, "c", None)
        self.d = 1 if config["d"] is None else 2
        self.e = not config["e"]
        if config["f"]:
            self.f = 1
        self.size = config["embedding_size"]
        self.g = {call}


class Other(BPR):
    def h(self, config):
        return config["h"]
"""


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], RunSpec]:
    monkeypatch.chdir(tmp_path)
    toy = write_toy(tmp_path, ())

    def write(call: str, **given: object) -> RunSpec:
        (tmp_path / "tiny.py").write_text(READS.format(call=call))
        return RunSpec("tiny.py:TinyMF", "toy", {**toy, **given})

    return write


def test_a_key_that_is_read_and_not_given_is_named(reading: Callable[..., RunSpec]) -> None:
    with pytest.raises(WrongUse) as raised:
        Session.build(reading('torch.empty(config["tiny_dim"])'))
    said = str(raised.value)
    assert "\n" not in said
    assert "tiny.py, line 16, reads 'tiny_dim', which nobody gives: add --tiny_dim=VALUE (TypeError" in said
    assert Session.build(reading('torch.empty(config["tiny_dim"])', tiny_dim=8)).model.g.shape == (8,)


def test_one_that_does_no_harm_is_a_warning(
    reading: Callable[..., RunSpec], caplog: pytest.LogCaptureFixture
) -> None:
    assert Session.build(reading('config["tiny_dim"]')).model.g is None
    (warning,) = [each.getMessage() for each in caplog.records if "nobody gives" in each.getMessage()]
    assert "reads 'tiny_dim'" in warning


def test_an_error_of_another_kind_stays_what_it_is(reading: Callable[..., RunSpec]) -> None:
    with pytest.raises(ZeroDivisionError):
        Session.build(reading("1 / 0"))
    with pytest.raises(TypeError, match="empty"):
        Session.build(reading("torch.empty(None)"))
