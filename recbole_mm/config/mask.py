"""Which items that a user has seen are left out of the ranking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_mm.errors import WrongUse


def settle_mask(final: Mapping[str, Any], sequential: bool) -> str:
    """The value of ``mask_seen`` in place of ``protocol``: what RecBole does, or what ``protocol: mmrec`` is.

    Raises ``WrongUse`` where what was given is at odds with the protocol, the evaluator or RecBole's ``repeatable``.
    """
    mask, protocol = final["mask_seen"], final["protocol"]
    if sequential and not final["repeatable"]:
        raise WrongUse(
            "repeatable: RecBole's sequential models know True alone; so that items which a user has seen are not "
            "ranked, set mask_seen: train+valid"
        )
    if "mmrec" in ([protocol] if isinstance(protocol, str) else protocol):
        if mask not in ("protocol", "train"):
            raise WrongUse(
                f"mask_seen: {mask}, but protocol: mmrec is mask_seen: train; leave one of them out"
            )
        mask = "train"
    recbole = "none" if final["repeatable"] else "train+valid"
    if final["evaluator"] == "recbole" and mask not in ("protocol", recbole):
        raise WrongUse(
            f"mask_seen: RecBole's evaluator does {recbole} with this model; {mask} needs evaluator: mm"
        )
    return recbole if mask == "protocol" else mask
