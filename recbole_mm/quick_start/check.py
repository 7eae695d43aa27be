"""``recbole-mm check``: what a careful person wants to know of a data set before a table is made of it."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from recbole.utils import init_seed

from recbole_mm.config import Config
from recbole_mm.config.header import read_header
from recbole_mm.config.properties import file_list
from recbole_mm.data.cross_domain import DOMAIN
from recbole_mm.data.seen import repeated
from recbole_mm.errors import WrongUse
from recbole_mm.modality import ModalityStore, align
from recbole_mm.quick_start.arguments import add_data_arguments
from recbole_mm.quick_start.session import load_dataset

_READER = "Pop"  # a model that needs nothing but the rows
#: of a time around now: its digits before the point, and how many there are in a second
_UNITS = {"s": 1, "ms": 10**3, "µs": 10**6, "ns": 10**9}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``recbole-mm check``; every other ``--key=value`` is a configuration key."""
    add_data_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Prints the findings."""
    files = file_list(args.config_files)
    if not args.dataset and not files:
        raise WrongUse("name a data set: recbole-mm check --dataset=ml-100k")
    findings = examine(args.dataset, files, args.overrides)
    print(json.dumps(findings, indent=1) if args.json else _text(findings))
    return 0


def examine(dataset: str | None, files: Sequence[str] = (), overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Findings on the rows that the filters leave and on the split, by the keys of `_text`; None: does not apply."""
    config = Config(_READER, dataset, list(files), None, overrides)
    _as_in_the_files(config)
    data = load_dataset(config)
    rows, at = data.inter_feat, data.time_field
    users, items = rows[data.uid_field].to_numpy(), rows[data.iid_field].to_numpy()
    findings: dict[str, Any] = {
        "dataset": config["dataset"],
        "rows": len(rows),
        "users": data.user_num - 1,
        "items": data.item_num - 1,
        "repeated_pairs": len(rows) - len(np.unique(users.astype(np.int64) * data.item_num + items)),
        "times": _times(rows[at].to_numpy()) if at in rows else None,
        "last_two_tied": _last_two(users, rows[at].to_numpy()) if at in rows else None,
        "domains": _domains(data) if data.domain_names else None,
        "stores": {name: _store(stores) for name, stores in data.store_parts().items()},
    }
    init_seed(config["split_seed"], config["reproducibility"])
    train, *others = data.build()
    again, rows_of_test = repeated(train)
    before = [np.concatenate(both) for both in zip(train.pairs["train"], train.pairs["valid"], strict=True)]
    cold = [len(np.setdiff1d(asked, known)) for asked, known in zip(train.pairs["test"], before, strict=True)]
    findings |= {
        "parts": [len(part) for part in (train, *others)],
        "boundary_tied": data.ties and data.ties.as_dict(),
        "test_pairs_in_training": {"pairs": again, "of": rows_of_test},
        "in_the_test_only": {"users": cold[0], "items": cold[1]},
    }
    return findings


def _as_in_the_files(config: Config) -> None:
    """Read the field of time where it is there, and no number changed."""
    field, loaded = config["TIME_FIELD"], config["load_col"]
    chosen = isinstance(loaded, dict) and loaded.get("inter") not in (None, "*")
    names = config["domains"] or [config["dataset"]]
    folder = Path(str(config["data_path"]))
    folders = [folder.parent / str(name) for name in names]
    headers = [read_header(each, each.name, config.final_config_dict).of("inter") for each in folders]
    if chosen and field not in loaded["inter"] and all(field in header for header in headers):
        config["load_col"] = {**loaded, "inter": [*loaded["inter"], field]}
    for key, value in (("normalize_all", False), ("normalize_field", None), ("discretization", None)):
        config[key] = value
    config["numerical_features"] = []


def _times(values: np.ndarray) -> dict[str, Any]:
    """Range of the times; ``unit`` by their middle, None where they are no seconds since 1970 or parts of them."""
    middle = float(np.median(values))
    unit = next((name for name, parts in _UNITS.items() if 1e8 * parts <= middle < 1e10 * parts), None)
    after = int((values > time.time() * _UNITS[unit]).sum()) if unit else 0
    ends = [float(values.min()), float(values.max())]
    days = None
    if unit and ends[0] > 0:  # beyond what a date can be: the units are mixed
        days = pd.to_datetime(np.array(ends) / _UNITS[unit], unit="s", errors="coerce")
    dates = None if days is None or days.isna().any() else [str(day.date()) for day in days]
    return {
        "unit": unit,
        "range": ends,
        "dates": dates,
        "not_after_1970": int((values <= 0).sum()),
        "in_the_future": after,
    }


def _last_two(users: np.ndarray, times: np.ndarray) -> dict[str, int]:
    """Users with two rows or more, and those of them whose last two have one time."""
    order = np.lexsort((times, users))
    users, times = users[order], times[order]
    last = np.flatnonzero(np.append(users[1:] != users[:-1], True))
    last = last[(last > 0) & (users[last - 1] == users[last])]
    return {"users": int((times[last] == times[last - 1]).sum()), "of": len(last)}


def _domains(data: Any) -> dict[str, int]:
    """Users and items in more than one domain."""
    pairs = data.inter_feat[[data.uid_field, DOMAIN]].drop_duplicates()
    users = int((pairs[data.uid_field].value_counts() > 1).sum())
    return {
        "domains": len(data.domain_names),
        "users": users,
        "items": int((data.item_in_domain.sum(dim=1) > 1).sum()),
    }


def _store(stores: Sequence[tuple[Path, np.ndarray]]) -> dict[str, int]:
    """Items with a vector in the stores of a modality, and those whose vector another item has, too."""
    vectors: dict[int, bytes] = {}
    for path, tokens in stores:
        store = ModalityStore.open(path)
        rows = align(store.tokens, tokens).rows
        for item in np.flatnonzero(rows >= 0):
            vectors.setdefault(int(item), np.asarray(store.values[rows[item]]).tobytes())
    counts = pd.Series(list(vectors.values()), dtype=object).value_counts()
    return {"items": len(vectors), "of": len(stores[0][1]) - 1, "equal": int(counts[counts > 1].sum())}


def _text(findings: dict[str, Any]) -> str:
    times, tied, domains = findings["times"], findings["last_two_tied"], findings["domains"]
    boundary, again = findings["boundary_tied"], findings["test_pairs_in_training"]
    cold, sizes = findings["in_the_test_only"], [findings[name] for name in ("users", "items", "rows")]
    lines = {
        "data": "{:,} users, {:,} items, {:,} rows after the filters".format(*sizes),
        "repeats": f"{findings['repeated_pairs']:,} rows repeat a pair of user and item",
        "times": "no field of time" if times is None else _times_text(times),
        "ties": "no field of time"
        if tied is None
        else f"{_of(tied['users'], tied['of'])} users have their last two rows at one time",
        "split": f"{' / '.join(f'{n:,}' for n in findings['parts'])} rows of training, validation, test",
        "boundary": "not cut by time"
        if boundary is None
        else f"{_of(boundary['tied'], boundary['asked'])} users have rows of one time on both sides (ties)",
        "seen": f"{_of(again['pairs'], again['of'])} test pairs are in training, too",
        "cold": f"{cold['users']:,} users and {cold['items']:,} items are in the test only",
    }
    if domains is not None:
        lines["domains"] = (
            f"{domains['domains']}; {domains['users']:,} users and {domains['items']:,} items in several"
        )
    for name, store in findings["stores"].items():
        lines[name] = (
            f"vectors of {_of(store['items'], store['of'])} items, {store['equal']:,} of them like another's"
        )
    width = max(map(len, lines)) + 2
    return "\n".join(f"{name:<{width}}{text}" for name, text in lines.items())


def _times_text(times: dict[str, Any]) -> str:
    low, high = times["dates"] or (f"{end:g}" for end in times["range"])
    unit = f"in {times['unit']} since 1970" if times["unit"] else "no date that is known"
    odd = f"; {times['not_after_1970']:,} not after 1970, {times['in_the_future']:,} in the future"
    return f"{low} to {high}, {unit}{odd if times['unit'] else ''}"


def _of(count: int, whole: int) -> str:
    return f"{count:,} of {whole:,} ({100 * count / max(whole, 1):.1f} %)"
