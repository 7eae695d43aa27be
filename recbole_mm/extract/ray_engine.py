"""Shards over many machines with Ray Data: the same prepare, collate and encode, in actors.

Texts travel with the shards; images are read where the actor runs, so their folder must be one that all
machines see. Finished shards come back to the driver, which writes them: a killed run resumes as a local
one does, and on either engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from recbole_mm.errors import WrongUse
from recbole_mm.extract.encoder import Encoder
from recbole_mm.extract.engine import encode_shard
from recbole_mm.extract.shards import Encoded


class ShardActor:
    """One encoder in one Ray process."""

    def __init__(self, build: Callable[[], Encoder], threads: int) -> None:
        self.encoder = build()
        self.pool = ThreadPoolExecutor(threads)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """{number, raws} -> {number, values, absent, cut}."""
        encoded = encode_shard(self.encoder, json.loads(row["raws"]), self.pool)
        return {
            "number": row["number"],
            # One flat array a row: Arrow keeps it without a copy, whatever the number of rows in it.
            "values": np.ascontiguousarray(encoded.values).reshape(-1),
            "absent": json.dumps(sorted(encoded.absent.items())),
            "cut": json.dumps(list(encoded.cut)),
        }


class RayEngine:
    """Ray Data over `actors` processes of `cores` CPUs and `gpus` GPUs each.

    `build` makes the encoder inside an actor; it and its arguments travel to the other machines.
    """

    def __init__(
        self, build: Callable[[], Encoder], actors: int = 1, cores: int = 1, gpus: float = 0
    ) -> None:
        self.build = build
        self.actors, self.cores, self.gpus = actors, cores, gpus

    def __call__(
        self, encoder: Encoder, shards: Sequence[Sequence[str]], advance: Callable[[int], Any]
    ) -> Iterator[tuple[int, Encoded]]:
        """Shards as they come back; `encoder` is only asked for its width."""
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise WrongUse('--engine ray needs Ray Data: pip install "recbole_mm[ray]"') from error

        if not ray.is_initialized():
            ray.init(log_to_driver=False, include_dashboard=False)
        ray.data.DataContext.get_current().enable_progress_bars = False  # ours counts items
        rows = [{"number": number, "raws": json.dumps(list(raws))} for number, raws in enumerate(shards)]
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            ShardActor,  # type: ignore[arg-type]  # Ray takes a class whose objects are callable
            fn_constructor_args=(self.build, self.cores),
            compute=ray.data.ActorPoolStrategy(size=min(self.actors, len(rows))),
            num_cpus=self.cores,
            num_gpus=self.gpus or None,
        )
        for row in done.iter_rows():
            absent = {int(place): str(reason) for place, reason in json.loads(row["absent"])}
            values = np.asarray(row["values"], dtype=np.float32).reshape(-1, encoder.width)
            number = int(row["number"])
            advance(len(shards[number]))
            yield number, Encoded(values, absent, json.loads(row["cut"]))
