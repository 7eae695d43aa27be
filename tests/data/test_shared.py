"""A trial's data: no test row in it, in no byte; the same digits as from the files; arrays that are not copied."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recbole_mm.config import Config
from recbole_mm.data import create_dataset, split_parts
from recbole_mm.data.shared import Packed, share, without_test
from recbole_mm.errors import WrongUse
from recbole_mm.quick_start.session import Prepared, Session
from recbole_mm.testing import write_toy

# as its bytes stand in float32 and float64, nothing else here looks like it
POISON = 123456.789
SEQUENTIAL = {
    "split": None,
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
    "train_neg_sample_args": None,
}
DOMAINS = {"domains": 2}


def packed(model: str, settings: dict[str, Any], test: bool = False) -> Packed:
    config = Config(model, "toy", config_dict=settings)
    dataset = create_dataset(config)
    parts = split_parts(config, dataset)
    return share(*((dataset, parts) if test else without_test(dataset, parts)))


def poison(folder: Path, last_of_user: bool) -> None:
    """Mark the test rows by their rating."""
    file = folder / "toy" / "toy.inter"
    frame = pd.read_csv(file, sep="\t")
    test = frame["part:token"] == "test"
    if last_of_user:
        test = ~frame.duplicated("user_id:token", keep="last")
    frame.loc[test, "rating:float"] = POISON
    frame.to_csv(file, sep="\t", index=False)


@pytest.mark.parametrize("model", ["BPR", "CMC", "SASRec"])
def test_a_trial_holds_no_test_row(tmp_path: Path, model: str) -> None:
    more = SEQUENTIAL if model == "SASRec" else {}
    toy = write_toy(tmp_path, **(DOMAINS if model == "CMC" else {}))
    settings = {**toy, **more}
    poison(tmp_path, last_of_user=model == "SASRec")
    marks = [np.array([POISON], kind).tobytes() for kind in (np.float32, np.float64)]

    def marked(pack: Packed) -> bool:
        blocks = [pack.head, *(array.tobytes() for array in pack.arrays)]
        return any(mark in block for mark in marks for block in blocks)

    assert marked(packed(model, settings, test=True))
    found = packed(model, settings)
    assert not marked(found)
    data = found.unpack()
    assert [len(part) for part in data.parts][2] == 0
    assert all(len(part.pairs["test"][0]) == 0 for part in data.parts)


@pytest.mark.parametrize("model", ["BPR", "CMC", "SASRec", "ItemKNN", "FM"])
def test_a_run_on_shared_read_only_data_has_the_digits_of_one_on_the_files(
    tmp_path: Path, model: str
) -> None:
    more = SEQUENTIAL if model == "SASRec" else {}
    settings = {**write_toy(tmp_path, **(DOMAINS if model == "CMC" else {})), **more}
    spec = Config(model, "toy", config_dict=settings).spec
    whole = Session.build(spec).run(test=False)
    pack = packed(model, settings)
    arrays = [array.copy() for array in pack.arrays]
    for array in arrays:
        array.flags.writeable = False
    config = pickle.loads(pickle.dumps(Config(model, "toy", config_dict=settings)))
    data = Packed(pack.head, arrays).unpack()
    (tmp_path / "toy/toy.inter").unlink()
    session = Session.build(spec, test=False, prepared=Prepared(config, data))
    result = session.run(test=False)
    told = [
        [(each["loss"], each["valid"]) for each in run.history] + [run.record["best_valid_result"]]
        for run in (whole, result)
    ]
    assert told[0] == told[1]
    assert session.test_data is None
    with pytest.raises(WrongUse, match=r"^evaluate: the split leaves no row to test$"):
        session.evaluate("test")
    users = data.parts[0].inter_feat["user_id"].numpy()
    assert any(np.shares_memory(users, array) for array in arrays)


def test_other_test_rows_change_no_digit_of_a_trial(tmp_path: Path) -> None:
    told = []
    for name in ("a", "b"):
        settings = write_toy(tmp_path / name, swap_test=name == "b")
        session = Session.build(Config("VBPR", "toy", config_dict=settings).spec, test=False)
        told.append([(each["loss"], each["valid"]) for each in session.run(test=False).history])
    assert told[0] == told[1]
