"""RecBole's top-k for some users: of those with rows as before, of others one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from recbole.utils.case_study import full_sort_topk

from recbole_mm.errors import WrongUse
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec


@pytest.mark.parametrize("model", ["BPR", "SASRec"])
def test_users_without_a_test_row_are_named(model: str, tmp_path: Path) -> None:
    rows = [f"u{u}\ti{(u + k) % 9}\t{k}" for u in range(6) for k in range(5)] + ["alone\ti1\t3"]
    (tmp_path / "few").mkdir()
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (tmp_path / "few/few.inter").write_text("\n".join([header, *rows]) + "\n")
    given = {
        "data_path": str(tmp_path), "checkpoint_dir": str(tmp_path / "saved"), "use_gpu": False,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO"},
    }  # fmt: skip
    if model == "BPR":
        given["load_col"] = {"inter": ["user_id", "item_id", "timestamp"]}
    session = Session.build(RunSpec(model, "few", given))
    ids = session.dataset.token2id("user_id", ["u3", "alone", "u1"])
    _, items = full_sort_topk(ids[[0, 2]], session.model, session.test_data, k=3)
    assert items.shape == (2, 3)
    with pytest.raises(WrongUse, match=r"1 of 3 users have no row in this part, .* for them: alone$"):
        full_sort_topk(ids, session.model, session.test_data, k=3)
