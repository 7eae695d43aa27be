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
from recbole_mm.run.folder import TRAINED_ON, run_folders
from recbole_mm.testing import write_toy
from recbole_mm.trainer import read_checkpoint
from recbole_mm.trainer.schedule import cosine


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


@pytest.mark.parametrize("schedule", [{}, {"lr_scheduler": "cosine", "lr_warmup_epochs": 1}])
def test_a_trial_on_anothers_weights_learns_at_its_own_rates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    place = Place(tmp_path / "out", tmp_path, 1)
    place.folder.mkdir()
    settings = {
        **write_toy(tmp_path),
        **schedule,
        "epochs": 4,
        "checkpoint_dir": str(tmp_path / "out" / RUNS),
    }
    settings |= {"feature_learning_rate": 0.5, "keep_checkpoints": "all"}

    def train(key: str, learning_rate: float, decay: float, report: Any, start: Path | None) -> Any:
        given = {**settings, "learning_rate": learning_rate, "weight_decay": decay}
        config = Config("CMC", "toy", config_dict=given)
        data = DataSets(lambda packed: packed.unpack()).of(config)
        run_trial(config, replace(config.spec, label="CMC", key=key), data, place, report, start)

    def cut(record: dict[str, Any], folder: Any) -> None:
        if record["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("CMC-1", 0.1, 0.0, cut, None)
    donor = run_folders(place.folder / RUNS)["CMC-1"]
    train("CMC-2", 0.01, 0.001, lambda *_: None, donor.path)
    taken = run_folders(place.folder / RUNS)["CMC-2"]
    assert [each["epoch"] for each in taken.read_history()] == [0, 1, 2, 3]
    assert (taken.path / TRAINED_ON).read_bytes() == (donor.path / TRAINED_ON).read_bytes()
    factor = cosine(2, 3) if schedule else 1.0  # of the last epoch
    groups = read_checkpoint(taken.last)["optimizer"]["param_groups"]
    assert [group["lr"] for group in groups] == pytest.approx([0.01 * factor, 0.5 * factor])
    assert [group["weight_decay"] for group in groups] == [0.001, 0.001]
