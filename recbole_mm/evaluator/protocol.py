"""Evaluation protocols by name: which items are masked, and which candidates compete.

``recbole``    full ranking; masked as RecBole does: training and, at test time, validation items of the user, and
               nothing for sequential models, unless ``mask_seen`` says otherwise.
``mmrec``      full ranking; ``mask_seen: train``, so at test time too (MMRec's published tables).
``sampled-N``  one list of 1 + N for every positive; negatives uniform over the candidates the user never touched.

On RecBole's ``uniN``, ``popN`` and labelled loaders, ``recbole`` means: as the loader says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recbole_mm.errors import WrongUse


@dataclass(frozen=True)
class Protocol:
    """One protocol. ``negatives`` is N of ``sampled-N`` and 0 for a full ranking."""

    name: str
    negatives: int = 0

    @property
    def is_full(self) -> bool:
        """Whether all candidates are ranked."""
        return self.negatives == 0


def protocols(config: Any) -> list[Protocol]:
    """The protocols of a run, the primary one first (it gives the plain metric keys)."""
    names = config["protocol"]
    names = [names] if isinstance(names, str) else names
    # the configuration lets no other name through than recbole, mmrec and sampled-N
    found = [Protocol(name, int(name.partition("-")[2] or 0)) for name in names]
    if not found:
        raise WrongUse("protocol: the list is empty; name at least one of recbole, mmrec, sampled-N")
    if len(set(names)) < len(names):
        raise WrongUse(f"protocol: {list(names)} names one twice")
    if sum(p.is_full for p in found) > 1:
        raise WrongUse("protocol: recbole and mmrec mask differently and cannot share one run; choose one")
    return found
