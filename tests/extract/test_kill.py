"""Runs that are really killed, in processes of their own."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_encoder import files_of, run

from recbole_mm.modality import ModalityStore

TEXTS = {f"{n:03}": f"text number {n} " + "x" * (n * 7 % 13) for n in range(60)} | {"b": "bad", "e": ""}
BEFORE = {token: text if int(token, 36) % 3 else "an older text" for token, text in TEXTS.items()}
CHANGED = {text for token, text in TEXTS.items() if BEFORE[token] != text}


def start(store: Path, log: Path, seconds: float) -> subprocess.Popen[bytes]:
    texts = store.parent / "texts.json"
    texts.write_text(json.dumps(TEXTS))
    program = str(Path(__file__).with_name("toy_encoder.py"))
    arguments = [sys.executable, program, str(store), str(log), str(texts), str(seconds)]
    return subprocess.Popen(arguments, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE)


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.is_file() else []


@pytest.mark.parametrize("chance", range(5))
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path: Path, chance: int) -> None:
    whole, store, log = tmp_path / "whole" / "text", tmp_path / "killed" / "text", tmp_path / "log"
    store.parent.mkdir()
    incremental = chance % 2 == 1  # then most rows come from a store that is there
    if incremental:
        run(BEFORE, whole)
        run(BEFORE, store)
    run(TEXTS, whole)

    rng = random.Random(time.time_ns())  # another point at every run of the tests
    expected = CHANGED if incremental else set(TEXTS.values()) - {"bad", ""}
    batches = 9 if incremental else 23  # shards of three batches
    stop = rng.randint(1, batches)
    process = start(store, log, seconds=0.01)
    while process.poll() is None and len(lines(log)) < stop:
        time.sleep(0.001)
    time.sleep(rng.random() * 0.02)
    process.send_signal(signal.SIGKILL)
    code = process.wait()
    assert code in (0, -signal.SIGKILL), process.stderr.read().decode() if process.stderr else ""

    again = start(store, log, seconds=0)
    _, errors = again.communicate()
    assert again.returncode == 0, errors.decode()
    assert files_of(store) == files_of(whole), f"killed after batch {stop}"
    ModalityStore.open(store).verify()
    assert {text for line in lines(log) for text in json.loads(line)} == expected
    assert len(lines(log)) <= batches + 3, "more than the shard under way was encoded twice"
    assert not list((tmp_path / "killed" / "text.extract").glob("*.npy"))
