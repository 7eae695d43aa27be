from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from recbole_mm.data.training_hash import training_hash
from recbole_mm.testing import Built, write_toy


def plainly(built: Built) -> str:
    """From the rows of the training part, and the items that sequences begin with, one by one."""
    part = built.train_data._dataset
    user, item = part.field2id_token["user_id"], part.field2id_token["item_id"]
    pairs = set()
    for k in range(len(part)):
        u = user[part.inter_feat["user_id"][k]]
        pairs.add((u, item[part.inter_feat["item_id"][k]]))
        if "item_id_list" in part.inter_feat:
            pairs.update((u, item[i]) for i in part.inter_feat["item_id_list"][k] if i)
    return hashlib.sha256("".join(f"{u}\x1f{i}\n" for u, i in sorted(pairs)).encode()).hexdigest()


def test_families_agree_on_one_split_and_on_no_other(tmp_path: Path) -> None:
    settings = write_toy(tmp_path)

    def made(model: str, **more: Any) -> Built:
        return Built(model, {**settings, **more})

    general = made("BPR")
    assert training_hash(general.train_data._dataset) == plainly(general)
    assert training_hash(general.test_data._dataset) == plainly(general)
    sequences = made("SASRec", sequence_split="interactions")
    assert training_hash(sequences.train_data._dataset) == plainly(general)
    assert training_hash(made("BPR", split={"random": [0.8, 0.1, 0.1]}).train_data._dataset) != plainly(
        general
    )
    last = {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}, "split": None}
    general = made("BPR", **last)
    prefixes = made("SASRec", sequence_split="prefixes", **last)
    assert training_hash(prefixes.train_data._dataset) == plainly(prefixes)
    assert training_hash(general.train_data._dataset) == plainly(general)
    assert plainly(prefixes) == plainly(general)
