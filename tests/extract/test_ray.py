"""One local Ray for all tests of this file; it takes some ten seconds to start."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from toy_encoder import ToyEncoder, files_of, run, vector

from recbole_mm.extract.ray_engine import RayEngine, ShardActor

TEXTS = {f"i{n}": f"text {n} " + "long " * (n % 5) for n in range(20)} | {"b": "bad", "e": ""}


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    here = Path(__file__).parent  # the actors are other processes: they must find the toy encoder
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": f"{here}:{here.parents[1]}"}},
    )
    yield
    ray.shutdown()


def test_an_actor_does_what_the_local_engine_does() -> None:
    actor = ShardActor(partial(ToyEncoder, mates=0.0), threads=1)
    row = actor({"number": 7, "raws": json.dumps(["one", "bad", "two"])})
    assert row["number"] == 7 and json.loads(row["absent"]) == [[1, "a bad text"]]
    assert np.array_equal(row["values"].reshape(-1, 8), np.stack([vector("one"), vector("two")]))


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_ray_and_local_give_the_same_bytes_and_resume_each_other(tmp_path: Path) -> None:
    run(TEXTS, tmp_path / "local")
    log = tmp_path / "log"
    engine = RayEngine(partial(ToyEncoder, log), actors=1)
    report = run(TEXTS, tmp_path / "ray", engine=engine)
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "local")
    assert report.encoded == 21 and dict(report.reasons) == {"a bad text": 1, "empty text": 1}
    # Not in this process, and only what changed.
    before = len(log.read_text().splitlines())
    assert before == 8
    run(TEXTS | {"i4": "changed"}, tmp_path / "ray", engine=engine)
    assert log.read_text().splitlines()[before:] == ['["changed"]']
