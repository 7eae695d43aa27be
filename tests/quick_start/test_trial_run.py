"""A trial in a process of Ray's, here without Ray: cut off and taken up, pruned, finished and asked again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recbole_mm.config import Config
from recbole_mm.quick_start.search.desk import PRUNED, DataSets
from recbole_mm.quick_start.search.trial_run import Place, run_trial
from recbole_mm.run.comparison import RUNS
from recbole_mm.run.folder import run_folders
from recbole_mm.testing import write_toy


def test_a_trial_goes_on_after_its_last_epoch_and_a_finished_one_only_tells_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {**write_toy(tmp_path, []), "epochs": 4, "checkpoint_dir": str(tmp_path / "out" / RUNS)}
    config = Config("BPR", "toy", config_dict=settings)
    spec = replace(config.spec, label="BPR", key="BPR-1")
    data = DataSets(lambda packed: packed.unpack()).of(config)
    place = Place(tmp_path / "out", tmp_path, 1)
    place.folder.mkdir()
    told: list[int] = []

    def killed(record: dict[str, Any], folder: Any) -> None:
        told.append(record["epoch"])
        if len(told) == 2:
            raise KeyboardInterrupt  # as a kill: nothing is written any more

    with pytest.raises(KeyboardInterrupt):
        run_trial(config, spec, data, place, killed)
    for more in range(2):
        told.clear()
        run_trial(config, spec, data, place, lambda record, folder: told.append(record["epoch"]))
        assert told == [0, 1, 2, 3], more
        (folder,) = run_folders(place.folder / RUNS).values()
        assert len(list((place.folder / RUNS).glob("*/spec.yaml"))) == 1 and folder.finished

    def pruning(record: dict[str, Any], folder: Any) -> None:
        if record["epoch"] == 1:
            raise SystemExit

    with pytest.raises(SystemExit):
        run_trial(config, replace(spec, key="BPR-2"), data, place, pruning)
    record = run_folders(place.folder / RUNS)["BPR-2"].result().record
    assert (record["stopped_by"], record["epochs_run"], record["test_result"]) == (PRUNED, 2, None)


def test_a_trial_waits_at_a_rung_and_goes_on_as_if_it_had_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {**write_toy(tmp_path, []), "epochs": 4, "checkpoint_dir": str(tmp_path / "out" / RUNS)}
    config = Config("BPR", "toy", config_dict=settings)
    data = DataSets(lambda packed: packed.unpack()).of(config)
    place = Place(tmp_path / "out", tmp_path, 1)
    place.folder.mkdir()
    told: list[int] = []

    def train(key: str, until: int | None) -> Any:
        told.clear()
        spec = replace(config.spec, label="BPR", key=key)
        run_trial(config, spec, data, place, lambda record, _: told.append(record["epoch"]), until=until)
        return run_folders(place.folder / RUNS)[key]

    for _ in range(2):  # asked again after a kill of the driver, it only tells
        waiting = train("BPR-1", 2)
        assert told == [0, 1] and not waiting.finished and waiting.last.is_file()
    ended = train("BPR-1", 4)
    assert told == [0, 1, 2, 3] and ended.path == waiting.path and ended.finished
    losses, at_once = ([each["loss"] for each in f.read_history()] for f in (ended, train("BPR-2", None)))
    assert losses == at_once

    def pruning(record: dict[str, Any], folder: Any) -> None:
        raise SystemExit

    spec = replace(config.spec, label="BPR", key="BPR-3")
    with pytest.raises(SystemExit):
        run_trial(config, spec, data, place, pruning)
    kept = run_folders(place.folder / RUNS)["BPR-3"].path
    again = train("BPR-3", 1)
    assert told == [0] and again.path == kept
    train("BPR-3", 2)  # an earlier search with fewer trials stopped it before
    assert told == [0, 1] and len(list((place.folder / RUNS).glob("*/spec.yaml"))) == 4
