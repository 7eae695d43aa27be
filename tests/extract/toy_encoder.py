"""An encoder of hashes, and a program that runs it: `python toy_encoder.py STORE LOG ITEMS SECONDS`."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_mm.extract.encoder import Absent
from recbole_mm.extract.items import Items, with_keys
from recbole_mm.extract.pipeline import extract
from recbole_mm.extract.report import Report

WIDTH = 8


def vector(text: str) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[:WIDTH], np.uint8).astype(np.float32) / 255


class ToyEncoder:
    """A text's hash, plus a little of its batch mates': another batching would give other bytes."""

    name = "toy"
    width = WIDTH
    batch_size = 3
    shard_size = 8

    def __init__(
        self, log: Path | None = None, seconds: float = 0.0, mates: float = 0.01, **identity: Any
    ) -> None:
        self.log, self.seconds, self.mates = log, seconds, mates
        self.identity: dict[str, Any] = {"kind": "toy", **identity}
        self.seen: list[str] = []

    def prepare(self, raws: Sequence[str]) -> list[Any]:
        return [Absent("a bad text") if "bad" in raw else raw for raw in raws]

    def size(self, prepared: str) -> int:
        return len(prepared)

    def collate(self, prepared: Sequence[str]) -> list[str]:
        return list(prepared)

    def encode(self, batch: Sequence[str]) -> np.ndarray:
        self.seen += batch
        time.sleep(self.seconds)
        if self.log is not None:
            with self.log.open("a") as log:
                log.write(json.dumps(batch) + "\n")
        rows = np.stack([vector(text) for text in batch])
        rows += self.mates * rows.mean(0)
        rows[["nan" in text for text in batch]] = np.nan
        rows[["zero" in text for text in batch]] = 0.0
        return rows


def items_of(texts: dict[str, str], encoder: ToyEncoder) -> Items:
    absent = {row: "empty text" for row, text in enumerate(texts.values()) if not text}
    items = Items(list(texts), list(texts.values()), absent=absent)
    return with_keys(items, encoder.identity, are_files=False, workers=1)


def run(texts: dict[str, str], store: Path, encoder: ToyEncoder | None = None, **options: Any) -> Report:
    encoder = encoder or ToyEncoder()
    return extract(items_of(texts, encoder), encoder, store, modality="text", **options)


def files_of(store: Path) -> dict[str, bytes]:
    """Every byte of a store and of the index beside it."""
    index = store.with_name(f"{store.name}.extract") / "index.parquet"
    return {file.name: file.read_bytes() for file in [*sorted(store.iterdir()), index]}


if __name__ == "__main__":
    store, log, texts, seconds = sys.argv[1:]
    run(json.loads(Path(texts).read_text()), Path(store), ToyEncoder(Path(log), float(seconds)))
