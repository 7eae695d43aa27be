"""A full disk, a place without leave, damaged files: one line that names the place, and a way on that works."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from recbole_mm import files
from recbole_mm.cli import main
from recbole_mm.config import Config
from recbole_mm.data import create_dataset
from recbole_mm.errors import Failure, WrongUse
from recbole_mm.quick_start.session import Session
from recbole_mm.report.card import read_record
from recbole_mm.run.folder import RunFolder, RunResult
from recbole_mm.run.spec import RunSpec
from recbole_mm.testing import write_toy
from recbole_mm.trainer import Callback, read_checkpoint
from recbole_mm.trainer.checkpoint import write_checkpoint


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file of this process may become larger: what a full disk does to it, at a size of our own."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_table(path: Path) -> None:
    with files.replacing(path) as temporary:
        pd.DataFrame({"x": torch.rand(20_000).numpy()}).to_parquet(temporary)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: files.write_text(path, "x" * 50_000),
        lambda path: files.append_line(path, "x" * 50_000),
        lambda path: write_checkpoint(path, {"state_dict": torch.rand(20_000)}),
        write_table,
    ],
    ids=["text", "line", "checkpoint", "table"],
)
def test_no_room_names_the_file_and_leaves_the_old_one(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "kept"
    path.write_text("before\n")
    with files_up_to(20_000), pytest.raises(Failure, match=f"{path} cannot be written: .*; make room there"):
        write(path)
    assert path.read_text().startswith("before\n")
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]


def test_no_leave_names_the_file_and_an_error_of_the_writer_stays_its_own(tmp_path: Path) -> None:
    path = tmp_path / "x"
    said = f"{path} cannot be written: Permission denied; give another place"
    with pytest.raises(Failure, match=said), files.replacing(path) as temporary:
        raise PermissionError(errno.EACCES, "Permission denied", str(temporary))
    with pytest.raises(PermissionError, match="elsewhere"), files.replacing(path):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/y")


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return {**write_toy(tmp_path), "keep_checkpoints": "all"}


class DiskFull(Callback):
    """From the end of the first epoch on."""

    def on_epoch_saved(self, record: dict[str, Any]) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_run_that_met_a_full_disk_goes_on_when_there_is_room(toy: dict[str, Any]) -> None:
    spec = RunSpec.of("BPR", "toy", {**toy, "epochs": 3})
    whole = Session.build(spec).run().record
    cut = Session.build(spec, [DiskFull()])
    with files_up_to(1 << 40), pytest.raises(Failure, match=r"\.pth cannot be written: .*; make room there"):
        cut.run()
    folder = cut.trainer.folder
    assert not folder.finished and not list(folder.path.glob(".*"))
    again = Session.build(spec).run(resume=folder.path).record
    assert again["test_result"] == whole["test_result"] and again["epochs_run"] == 3


def test_damaged_checkpoints_are_said_to_be_that(toy: dict[str, Any], tmp_path: Path) -> None:
    spec = RunSpec.of("BPR", "toy", {**toy, "epochs": 1})
    session = Session.build(spec)
    session.run()
    best = session.trainer.folder.best
    whole = best.read_bytes()
    for content in (b"", b"\xff\xfe\0rubbish", b"{}", whole[: len(whole) // 2]):
        best.write_bytes(content)
        for mapped in (True, False):
            with pytest.raises(WrongUse, match=r"best\.pth: damaged or no checkpoint"):
                read_checkpoint(best, mapped)
        # before it trains, not when training has ended and the test is to be read
        with pytest.raises(WrongUse, match=r"best\.pth: damaged or no checkpoint"):
            Session.build(spec).run(resume=session.trainer.folder.path)
    torch.save({"state_dict": Failure()}, best)
    with pytest.raises(WrongUse, match="holds pickled objects"):
        read_checkpoint(best)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("record.json", b"[]"),
        ("record.json", b"\xff"),
        ("record.json", b"{"),
        ("history.jsonl", b"\xff\n"),
        ("history.jsonl", b"null\n"),
        ("history.jsonl", b"{}\n"),
        ("queries.parquet", b"PAR1"),
    ],
)
def test_a_damaged_run_says_what_helps(tmp_path: Path, name: str, content: bytes) -> None:
    folder = RunFolder.create(tmp_path, RunSpec("BPR", "toy"))
    folder.append_history({"epoch": 0})
    folder.finish(RunResult({}), "none")
    folder.result()
    (folder.path / name).write_bytes(content)
    with pytest.raises(
        Failure, match=f"{folder.path}: the stored run cannot be read .*; remove this folder and"
    ):
        folder.result()
    if name == "record.json":
        with pytest.raises(WrongUse, match="no card and no record of a run"):
            read_record(folder.path)


def test_a_description_without_its_model_and_a_damaged_showcase_are_none(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, RunSpec("BPR", "toy"))
    (folder.path / "spec.yaml").write_text("format: 1\nrun:\n  model: BPR\n  dataset:\n")
    with pytest.raises(WrongUse, match=r"no description of a run \(.*\); if it was one, remove its folder"):
        folder.read_spec()
    for text in ("[]", "{}", "null", "{"):
        (folder.path / "showcase.json").write_text(text)
        assert folder.read_showcase() is None


def test_a_run_is_opened_where_its_reader_may_not_write(
    toy: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session.build(RunSpec.of("BPR", "toy", {**toy, "epochs": 1}))
    record = session.run().record
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert Session.open(session.trainer.folder.path).evaluate() == record["test_result"]
    with pytest.raises(WrongUse, match=r"checkpoint_dir: .* cannot be written to"):
        Session.build(session.spec)

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "log/BPR")

    monkeypatch.setattr("recbole_mm.quick_start.run.init_logger", refused)
    assert main(["run", "--model=BPR", "--dataset=toy", f"--data_path={toy['data_path']}"]) == 1
    assert capsys.readouterr().err.startswith("error: log/BPR: Permission denied; start where you may write")


def test_a_validation_of_one_label_is_said_and_not_a_missing_file(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").mkdir()
    rows = [f"u{u}\ti{i}\t5" for u in range(3) for i in range(10)]
    (tmp_path / "one/one.inter").write_text(
        "\n".join(["user_id:token\titem_id:token\trating:float", *rows]) + "\n"
    )
    settings = {"data_path": str(tmp_path), "epochs": 2, "threshold": {"rating": 3}, "show_progress": False}
    session = Session.build(RunSpec.of("LR", "one", settings))
    with pytest.raises(Failure, match=r"auc of the validation was NaN in each epoch.*rows of both labels"):
        session.run()


def test_rows_left_out_for_want_of_an_item_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "lame"
    folder.mkdir()
    rows = [f"u{u}\ti{i}" for u in range(3) for i in range(4)]
    (folder / "lame.inter").write_text("\n".join(["user_id:token\titem_id:token", *rows]) + "\n")
    (folder / "lame.item").write_text("item_id:token\tprice:float\ni0\t1\ni1\t2\ni0\t3\ni2\t3\n")
    given = {
        "data_path": str(tmp_path),
        "load_col": {"inter": ["user_id", "item_id"], "item": ["item_id", "price"]},
    }
    dataset = create_dataset(Config("BPR", "lame", config_dict=given))
    assert dataset.inter_num == 9
    assert "lame: 3 of 12 interactions left out, whose user is not in" in caplog.text
    assert "lame.item: 1 row left out, whose item is in a row before" in caplog.text
    caplog.clear()
    create_dataset(Config("BPR", "lame", config_dict={**given, "filter_inter_by_user_or_item": False}))
    assert "interactions left out" not in caplog.text
