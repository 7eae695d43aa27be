"""The folder of a run: whole or not there, one writer, what was written comes back."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pandas as pd
import pytest

from recbole_mm.errors import Failure, WrongUse
from recbole_mm.run.folder import RunFolder, RunResult, run_folders
from recbole_mm.run.spec import RunSpec

SPEC = RunSpec("x.py:Mine", "toy", {"epochs": 3}, 7, key="Mine-7-abc")


def finished(parent: Path, spec: RunSpec = SPEC, **tables: pd.DataFrame) -> RunFolder:
    folder = RunFolder.create(parent, spec)
    folder.start_history([])
    folder.append_history({"epoch": 0, "loss": 1.5})
    for name in ("best.pth", "last.pth"):
        (folder.path / name).write_bytes(b"weights")
    folder.finish(RunResult({"best_valid_score": 0.1}, **tables), "best")
    return folder


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    queries = pd.DataFrame({"user": ["007"], "ndcg@10": [0.5]})
    folder = finished(tmp_path, queries=queries)
    again = RunFolder.open(folder.path).result()
    assert again.record == {"best_valid_score": 0.1} and again.groups is None
    assert again.history == [{"epoch": 0, "loss": 1.5}]
    assert again.queries is not None
    pd.testing.assert_frame_equal(again.queries, queries, check_dtype=False)
    assert RunFolder.open(folder.best).read_spec() == SPEC
    assert folder.path.name.startswith("Mine-toy-7-")


@pytest.mark.parametrize(
    ("keep", "left"), [("best", {"best.pth"}), ("all", {"best.pth", "last.pth"}), ("none", set())]
)
def test_checkpoints_stay_as_asked(tmp_path: Path, keep: str, left: set[str]) -> None:
    folder = RunFolder.create(tmp_path, SPEC)
    for name in ("best.pth", "last.pth"):
        (folder.path / name).write_bytes(b"weights")
    folder.finish(RunResult({}), keep)
    assert {path.name for path in folder.path.glob("*.pth")} == left


def test_names_are_never_shared(tmp_path: Path) -> None:
    assert len({RunFolder.create(tmp_path, SPEC).path for _ in range(4)}) == 4


def test_a_run_without_its_record_has_not_ended(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    (folder.path / "record.json").unlink()
    with pytest.raises(WrongUse, match="has not ended; go on with --resume"):
        folder.result()
    with (folder.path / "history.jsonl").open("a") as stream:
        stream.write('{"epoch": 1, "lo')  # a kill in the middle of a line
    assert folder.read_history() == [{"epoch": 0, "loss": 1.5}]
    folder.append_history({"epoch": 1})
    assert [record["epoch"] for record in folder.read_history()] == [0, 1]


def test_a_run_that_is_taken_up_has_no_result_until_it_ends(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    folder.start_history(folder.read_history())
    assert not folder.finished and "0.1" in (folder.path / "record.before.json").read_text()
    folder.finish(RunResult({"best_valid_score": 0.2}), "best")
    assert folder.result().record == {"best_valid_score": 0.2}
    assert not (folder.path / "record.before.json").exists()


def test_the_only_run_of_a_folder_needs_no_name(tmp_path: Path) -> None:
    folder = finished(tmp_path / "saved")
    assert RunFolder.open(tmp_path / "saved").path == folder.path
    other = finished(tmp_path / "saved")
    with pytest.raises(
        WrongUse, match=f"there are 2 runs in it; name one of them, such as .*{other.path.name}"
    ):
        RunFolder.open(tmp_path / "saved")


def test_broken_and_foreign_folders_are_one_line(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    (folder.path / "record.json").write_text("{")
    with pytest.raises(Failure, match="cannot be read"):
        folder.result()
    with pytest.raises(WrongUse, match=f"no such run; the newest there is {folder.path}"):
        RunFolder.open(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    (tmp_path / "loose.pth").touch()
    for path in ("empty", "loose.pth"):
        with pytest.raises(WrongUse, match="no folder of a run"):
            RunFolder.open(tmp_path / path)
    (folder.path / "spec.yaml").write_text("format: 99\nrun: {model: a, dataset: b}\n")
    with pytest.raises(WrongUse, match="written by a newer recbole_mm"):
        RunFolder.open(folder.path)
    for text in ("[", "format: 1\n", "format: 1\nrun: {model: a}\n", "- 1"):
        (folder.path / "spec.yaml").write_text(text)
        with pytest.raises(WrongUse, match="no description of a run"):
            RunFolder.open(folder.path)


def test_runs_are_found_by_their_key_the_finished_first(tmp_path: Path) -> None:
    done = finished(tmp_path)
    RunFolder.create(tmp_path, SPEC)
    RunFolder.create(tmp_path, RunSpec("BPR", "toy", key="other"))
    assert {key: folder.path.name for key, folder in run_folders(tmp_path).items()}[
        "Mine-7-abc"
    ] == done.path.name
    assert set(run_folders(tmp_path)) == {"Mine-7-abc", "other"}
    assert run_folders(tmp_path / "none") == {}


def _hold(path: Path, held: object, release: object) -> None:
    with RunFolder(path).locked():
        held.set()  # type: ignore[attr-defined]
        release.wait(30)  # type: ignore[attr-defined]


def test_a_second_writer_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(folder.path, held, release))
    process.start()
    assert held.wait(30)
    with pytest.raises(WrongUse, match="another process is writing this run"), folder.locked():
        pass
    process.kill()
    process.join(30)
    with folder.locked(), folder.locked():  # the lock of a killed process is gone; the same writer may nest
        pass


def test_of_equal_runs_the_latest_finished_one_counts(tmp_path: Path) -> None:
    spec = RunSpec("BPR", "toy", {}, key="k")
    made = [RunFolder.create(tmp_path, spec) for _ in range(3)]
    for folder, score in zip(made[:2], (0.1, 0.2), strict=True):
        folder.finish(RunResult({"best_valid_score": score}), "none")
    (found,) = run_folders(tmp_path).values()
    assert found.result().record["best_valid_score"] == 0.2
    later = (made[2].path / "spec.yaml").stat().st_mtime + 1
    assert run_folders(tmp_path, since=later) == {}
