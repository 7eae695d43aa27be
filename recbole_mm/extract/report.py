"""The report of a run: what it did, and which items are absent and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recbole_mm.files import write_text


@dataclass(frozen=True)
class Report:
    """What a run did; the JSON beside the store."""

    store: str
    modality: str
    encoder: str
    width: int
    items: int
    present: int
    encoded: int
    resumed: int
    reused: int
    cut: int  # texts that were longer than what the encoder reads
    changed: bool
    digest: str  # of all that the store is made from
    seconds: float
    items_per_second: float
    identity: Mapping[str, Any]
    reasons: Mapping[str, int]
    absent: Sequence[Mapping[str, str]]

    @classmethod
    def of(
        cls, tokens: Sequence[str], absent: Mapping[int, str], *, encoded: int, seconds: float, **fields: Any
    ) -> Report:
        """Counts what the lists hold; `absent` gives the reason by position."""
        fields |= {"items": len(tokens), "present": len(tokens) - len(absent), "encoded": encoded}
        fields |= {"seconds": round(seconds, 3), "items_per_second": round(encoded / seconds, 1)}
        reasons = dict(sorted(Counter(absent.values()).items()))
        listed = [{"token": tokens[row], "reason": absent[row]} for row in sorted(absent)]
        return cls(reasons=reasons, absent=listed, **fields)

    def is_written(self, path: Path) -> bool:
        """Whether the file there tells of this store."""
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            return bool((told["digest"], told["present"]) == (self.digest, self.present))
        except (OSError, ValueError, TypeError, KeyError):
            return False

    def write(self, path: Path) -> None:
        """As JSON, whole or not at all."""
        write_text(path, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")
