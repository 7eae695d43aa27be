"""Who is who across domains: link files, and equal tokens kept apart where they mean different things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_mm.atomic import check_rows
from recbole_mm.errors import WrongUse


def own_tokens(config: Any, kind: str, domain: str, tokens: pd.Series) -> pd.Series:
    """The merged set's tokens of the users or items (``kind``) that ``domain`` knows as ``tokens``.

    A linked one has the token of the link's first column; any other keeps its own, after ``domain:`` where tokens of
    two domains do not overlap.
    """
    linked = _linked(config, kind, domain)
    prefix = "" if overlaps(config, kind) else f"{domain}:"
    if linked:
        return tokens.map(lambda token: linked.get(token, prefix + token), na_action="ignore")
    return prefix + tokens if prefix else tokens


def domain_tokens(config: Any, kind: str, domain: str, tokens: np.ndarray) -> np.ndarray:
    """The inverse of :func:`own_tokens`: what ``domain`` calls the merged set's ``tokens``, "" what it cannot know."""
    names = {merged: own for own, merged in _linked(config, kind, domain).items()}
    if not names and overlaps(config, kind):
        return tokens
    prefix = "" if overlaps(config, kind) else f"{domain}:"
    own = [t[len(prefix) :] if t.startswith(prefix) else "" for t in tokens]
    return np.array([names.get(t, o) for t, o in zip(tokens, own, strict=True)], dtype=object)


def overlaps(config: Any, kind: str) -> bool:
    """Whether equal tokens of two domains are the same user or item (``kind``)."""
    return config[f"{kind}_overlap"] is not False


def _linked(config: Any, kind: str, domain: str) -> dict[str, str]:
    """Token of ``domain`` -> token of the merged set, for those that the link file names.

    The file is a tab-separated table with one column per domain, named as the domain; a row is one user (or item).
    """
    if not config[f"{kind}_link"]:
        return {}
    path = Path(config[f"{kind}_link"])
    if not path.is_file():
        raise WrongUse(f"link file {path} does not exist")
    check_rows(path)
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    if domain not in table.columns:
        raise WrongUse(
            f"{path}: no column {domain!r}; the header names the domains, here {', '.join(table.columns)}"
        )
    rows = table[(table[domain] != "") & (table.iloc[:, 0] != "")]
    prefix = "" if overlaps(config, kind) else f"{table.columns[0]}:"
    return dict(zip(rows[domain], prefix + rows.iloc[:, 0], strict=True))
