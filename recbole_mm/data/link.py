"""Who is who across domains: link files, and equal tokens kept apart where they mean different things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from recbole_mm.errors import WrongUse


def own_tokens(config: Any, kind: str, domain: str, tokens: pd.Series) -> pd.Series:
    """The merged set's tokens of the users or items (``kind``) that ``domain`` knows as ``tokens``."""
    link = config[f"{kind}_link"]
    if link:
        translate = read_link(Path(link), domain)
        tokens = tokens.map(lambda token: translate.get(token, token))
    return tokens if overlaps(config, kind) else f"{domain}:" + tokens


def overlaps(config: Any, kind: str) -> bool:
    """Whether equal tokens of two domains are the same user or item (``kind``)."""
    return config[f"{kind}_overlap"] is not False


def read_link(path: Path, domain: str) -> dict[str, str]:
    """Token of ``domain`` -> the token its row has in the first column.

    The file is a tab-separated table with one column per domain, named as the domain; a row is one user (or item).
    """
    if not path.is_file():
        raise WrongUse(f"link file {path} does not exist")
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    if domain not in table.columns:
        raise WrongUse(
            f"{path}: no column {domain!r}; the header names the domains, here {', '.join(table.columns)}"
        )
    rows = table[(table[domain] != "") & (table.iloc[:, 0] != "")]
    return dict(zip(rows[domain], rows.iloc[:, 0], strict=True))
