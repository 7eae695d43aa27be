"""No leak: other test and validation rows, of any domain, and every tensor that training sees is the same, bit for bit.

The rows are exchanged so that ids stay: the same users, items, counts and file order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor

from recbole_mm.data.sampler import SeenPairs
from recbole_mm.model.gce import GCE
from recbole_mm.quick_start import session
from recbole_mm.testing import Built, write_toy

PARTS = ("test", "valid")
SETTINGS = {"embedding_size": 8, "n_layers": 2}


def swap(folder: Path, part: str, domain: str | None) -> None:
    """Deal the items of ``part`` (in ``domain`` alone) to other rows of it."""
    path = folder / "toy" / "toy.inter"
    frame = pd.read_csv(path, sep="\t", dtype=str)
    rows = frame["part:token"] == part
    if domain is not None:
        rows &= frame["domain:token"] == domain
    columns = ["item_id:token", "domain:token"]
    frame.loc[rows, columns] = np.roll(frame.loc[rows, columns].to_numpy(), 3, axis=0)
    frame.to_csv(path, sep="\t", index=False)


def tensors_of(thing: Any, name: str, seen: dict[int, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Every array reachable from ``thing`` through attributes, mappings and lists."""
    if isinstance(thing, Tensor):
        yield name, (thing if thing.layout == torch.strided else thing.to_dense()).detach().numpy()
    elif isinstance(thing, np.ndarray):
        yield name, thing
    elif sp.issparse(thing):
        yield name, thing.toarray()
    elif isinstance(thing, int | float | str | bool):
        yield name, np.array(thing)
    elif id(thing) not in seen:
        seen[id(thing)] = thing  # kept, so that no id is used twice
        if isinstance(thing, set | frozenset):
            yield name, np.array(sorted(thing, key=str))
        elif isinstance(thing, Mapping):
            for key, value in thing.items():
                yield from tensors_of(value, f"{name}[{key!r}]", seen)
        elif isinstance(thing, list | tuple):
            for k, value in enumerate(thing):
                yield from tensors_of(value, f"{name}[{k}]", seen)
        elif isinstance(thing, SeenPairs):
            yield from tensors_of(vars(thing), name, seen)


def training_tensors(built: Built) -> dict[str, np.ndarray]:
    """Parameters, buffers and plain tensors of all modules; rows, tables and a batch of the loader."""
    found: dict[str, np.ndarray] = {}
    seen: dict[int, Any] = {}
    for name, module in built.model.named_modules():
        for holder in (module._parameters, module._buffers):
            found.update(tensors_of(dict(holder), f"model.{name}", {}))
        rest = {k: v for k, v in vars(module).items() if k not in ("_parameters", "_buffers", "_modules")}
        found.update(tensors_of(rest, f"model.{name}", seen))
    loader, part = built.train_data, built.train_data._dataset
    found.update({f"rows[{f}]": part.inter_feat[f].numpy() for f in part.inter_feat.columns})
    found.update(tensors_of(getattr(loader, "_columns", {}), "loader", seen))
    for label, sampler in (("negatives", getattr(loader, "negatives", None)), ("sampler", loader._sampler)):
        if sampler is not None:
            table = {k: v for k, v in vars(sampler).items() if k not in ("datasets", "rng")}
            found.update(tensors_of({k: v for k, v in table.items() if k != "used_ids"}, label, seen))
    if loader._sampler is not None:  # RecBole's holds a set of items for each user
        used = loader._sampler.used_ids
        found.update({f"used[{u}]": np.array(sorted(items)) for u, items in enumerate(used)})
    torch.manual_seed(0)
    np.random.seed(0)
    batch = built.batch()
    found.update({f"batch[{f}]": batch[f].numpy() for f in batch.columns})
    return found


def differences(
    model: str | type, folder: Path, domains: int, part: str, domain: str | None, **more: Any
) -> list[str]:
    """Names of what differs once ``part`` was exchanged."""
    plain_settings = {**write_toy(folder / "a", domains=domains), **SETTINGS, **more}
    other_settings = {**write_toy(folder / "b", domains=domains), **SETTINGS, **more}
    swap(folder / "b", part, domain)
    plain, other = Built(model, plain_settings), Built(model, other_settings)
    held_out = {"test": "test_data", "valid": "valid_data"}[part]
    first, second = (getattr(b, held_out)._dataset.inter_feat["item_id"] for b in (plain, other))
    assert not torch.equal(first, second), "nothing was exchanged, so nothing is shown"
    left, right = training_tensors(plain), training_tensors(other)
    assert left.keys() == right.keys()
    return [n for n in left if not np.array_equal(left[n], right[n])]


@pytest.mark.parametrize("model", ["CMC", "GCE", "VBPR", "LightGCN"])
@pytest.mark.parametrize("domains", [2, 3])
@pytest.mark.parametrize("part", PARTS)
def test_held_out_rows_reach_no_training_tensor(tmp_path: Path, model: str, domains: int, part: str) -> None:
    assert differences(model, tmp_path, domains, part, None) == []


@pytest.mark.parametrize("domain", ["d0", "d1", "d2"])
def test_rows_of_one_domain_reach_no_training_tensor(tmp_path: Path, domain: str) -> None:
    assert differences("CMC", tmp_path, 3, "test", domain) == []


@pytest.mark.parametrize("model", ["CMC", "LightGCN"])
def test_popularity_of_negatives_counts_training_rows_alone(tmp_path: Path, model: str) -> None:
    sampling = {"distribution": "popularity", "sample_num": 1, "alpha": 1.0}
    assert differences(model, tmp_path, 2, "test", None, train_neg_sample_args=sampling) == []


class LeakyGCE(GCE):
    """Takes its users' activity from all rows of the data set, as careless code does."""

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        users, items = LeakyGCE.rows
        activity = torch.zeros(self.n_users, self.n_items)
        activity[users, items] = 1.0
        self.register_buffer("activity", activity, persistent=False)

    rows: tuple[Tensor, Tensor]


def test_a_leak_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = session.create_dataset

    def remember(config: Any) -> Any:
        dataset = whole(config)
        frame = dataset.inter_feat
        LeakyGCE.rows = tuple(torch.tensor(frame[f].to_numpy()) for f in ("user_id", "item_id"))
        return dataset

    monkeypatch.setattr(session, "create_dataset", remember)
    assert differences(LeakyGCE, tmp_path, 2, "test", None) == ["model.['activity']"]


def test_a_row_that_moves_into_training_is_seen(tmp_path: Path) -> None:
    assert {"negatives['_seen']['keys']", "rows[item_id]"} <= set(training_row_differences(tmp_path))


def training_row_differences(folder: Path) -> list[str]:
    plain_settings, other_settings = write_toy(folder / "a", domains=2), write_toy(folder / "b", domains=2)
    swap(folder / "b", "train", None)
    left, right = (training_tensors(Built("CMC", s)) for s in (plain_settings, other_settings))
    return [n for n in left if n in right and not np.array_equal(left[n], right[n])]
