"""``run --engine ray``: what the driver does before and after its workers, here without Ray."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from recbole_mm.cli import main
from recbole_mm.config import Config
from recbole_mm.quick_start import distributed, pretrain_vectors
from recbole_mm.quick_start import run as run_module
from recbole_mm.quick_start.distributed import train_as
from recbole_mm.quick_start.fingerprint import run_key
from recbole_mm.quick_start.pretrain_vectors import filled
from recbole_mm.quick_start.session import Prepared, Session, shared_data
from recbole_mm.run.folder import RunFolder
from recbole_mm.run.spec import RunSpec
from recbole_mm.testing import write_toy
from recbole_mm.trainer import Workers

ON_RAY = ["--engine=ray", "--workers=2"]
CPMM = {"model": "CPMM", "embedding_size": 8, "input_size": 6, "train_batch_size": 8, "epochs": 1}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    settings = write_toy(tmp_path)
    (tmp_path / "toy.yaml").write_text(json.dumps(settings))
    return settings


def trained(settings: dict[str, Any], **more: Any) -> RunFolder:
    session = Session.build(RunSpec.of("BPR", "toy", {**settings, **more}))
    session.run()
    folder = session.trainer.folder
    assert isinstance(folder, RunFolder)
    return folder


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], RunFolder]], list[Any]]:
    """Puts a function in the place of the workers; the list tells what they were asked."""

    def put(train: Callable[[], RunFolder]) -> list[Any]:
        asked: list[Any] = []

        def run_distributed(config: Config, group: Any, resume: str | None = None) -> RunFolder:
            asked.append((config["model"], group.size, resume))
            return train()

        monkeypatch.setattr(distributed, "run_distributed", run_distributed)
        return asked

    return put


def test_a_finished_run_is_not_begun_anew_in_its_folder(
    toy: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder = trained(toy).path

    def begun(address: str | None) -> Any:
        raise AssertionError("workers were started")

    monkeypatch.setattr(distributed, "connected", begun)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    said = []
    for engine in ([], ON_RAY):
        assert main(["run", f"--resume={folder}", "-q", *engine]) == 2
        said.append(capsys.readouterr().err.splitlines()[-1])
    assert said[0] == said[1] and "resume: there is no " in said[0] and "last.pth" in said[0]
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_dry_run_trains_on_no_worker(toy: dict[str, Any], workers: Any, capsys: Any) -> None:
    asked = workers(lambda: pytest.fail("trained"))
    words = ["run", "--dataset=toy", "--config_files=toy.yaml", "--dry-run", *ON_RAY]
    assert main([*words, "--model=BPR"]) == 0
    assert "BPR on toy, into a folder of " in capsys.readouterr().out and asked == []
    assert not list(Path(toy["checkpoint_dir"]).iterdir())
    assert main([*words, "--model=RaCT"]) == 2
    assert "RaCT is not trained by RecBole's plain trainer" in capsys.readouterr().err


def test_a_run_from_a_record_is_held_to_it(toy: dict[str, Any], workers: Any, capsys: Any) -> None:
    first, other = trained(toy), trained(toy, learning_rate=0.1)
    words = ["run", f"--from={first.path}", *ON_RAY]
    assert workers(lambda: first) == [] and main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "the same as the first run to the last digit"
    asked = workers(lambda: other)
    assert main(words) == 1 and asked == [("BPR", 2, None)]
    assert "the repeated run differs: " in capsys.readouterr().err


@pytest.mark.parametrize(("flags", "expected"), [(["-q"], "quiet"), (["-v"], "verbose"), ([], "normal")])
def test_the_driver_says_as_much_as_was_asked_for(
    toy: dict[str, Any], workers: Any, monkeypatch: pytest.MonkeyPatch, flags: list[str], expected: str
) -> None:
    folder, said = trained(toy), []

    @contextmanager
    def init_logger(config: Any, *, verbosity: str = "normal") -> Iterator[None]:
        said.append(verbosity)
        yield

    monkeypatch.setattr(run_module, "init_logger", init_logger)
    workers(lambda: folder)
    assert main(["run", "--model=BPR", "--dataset=toy", "--config_files=toy.yaml", *ON_RAY, *flags]) == 0
    assert said == [expected]


def test_a_pretraining_is_made_by_the_driver_and_workers_read_its_vectors(
    toy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config("BPR", "toy", config_dict={**toy, "pretrain": CPMM, "embedding_size": 8})
    key = run_key(config, config["seed"])
    config = filled(config, Session)
    data = shared_data(config).unpack()
    (made,) = Path(toy["checkpoint_dir"]).glob("pretrained/CPMM-*")

    def again(*_: Any) -> Any:
        raise AssertionError("a worker pre-trains")

    folder = distributed._new_folder(config, key)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(pretrain_vectors, "pretrained", again)
            train_as(Workers(0, 1), Prepared(config, data), folder.read_spec(), folder)
    finally:
        dist.destroy_process_group()
    spec = folder.read_spec()
    assert spec.key == key and spec.settings["pretrain"] == CPMM  # as of one process
    assert Path(spec.settings["pretrained_items"]).samefile(made / "vectors/items")
    assert folder.result().record["key"] == key and folder.read_showcase() is not None
    other = replace(spec, settings={**spec.settings, "pretrain": {**CPMM, "lambda1": 0.5}})
    with pytest.raises(ValueError, match="pretrain makes pretrained_items, which is given, too"):
        Session.build(other)  # the vectors are of another pre-training
