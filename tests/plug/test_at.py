"""``pretrained_at``: in each model that tells input and output apart, what is scored one by one is scored alike."""

from __future__ import annotations

import copy
import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_mm.modality import ModalityStore
from recbole_mm.plug import plug
from recbole_mm.plug.target import SEPARABLE
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec


@pytest.mark.parametrize(
    "model", [m if m == "SASRec" else pytest.param(m, marks=pytest.mark.slow) for m in sorted(SEPARABLE)]
)
def test_input_output_and_both(
    model: str, cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"loss_type": "CE", "train_neg_sample_args": None} if model == "BERT4Rec" else {}
    session = Session.build(RunSpec(model, "ml-100k", {"data_path": str(cut), "use_gpu": False, **given}))
    dataset = session.train_data._dataset
    tokens = dataset.field2id_token[dataset.iid_field][1:].astype(object)
    values = np.random.default_rng(1).standard_normal((len(tokens), 64)).astype(np.float32)
    ModalityStore.write("mine", values, tokens, modality="mine", encoder="drawn")
    rows = dataset.join(dataset.inter_feat[:32])
    session.config["pretrained_items"], session.config["pretrained_mode"] = "mine", "replace"
    seen = [session.model.eval().full_sort_predict(rows).view(32, -1)]
    for place in (["input"], ["output"], None):
        session.config["pretrained_at"] = place
        plugged = copy.deepcopy(session.model)
        plug(session.config, dataset, plugged)
        with torch.no_grad():
            every = plugged.eval().full_sort_predict(rows).view(32, -1)
            asked = plugged.predict(rows)
        items = rows[dataset.iid_field].unsqueeze(1)
        if model != "CORE":  # whose predict leaves out the norm that its full_sort_predict divides by
            torch.testing.assert_close(
                every.gather(1, items).squeeze(1), asked.view(-1), rtol=1e-4, atol=1e-5
            )
        assert all(not torch.allclose(every, other) for other in seen)
        seen.append(every)
    gc.collect()
