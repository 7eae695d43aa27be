"""RecBole's 92 models (LightGBM and XGBoost aside), one epoch each, with nothing but the model's name."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

import recbole_mm  # noqa: F401
from recbole_mm.errors import Failure, WrongUse
from recbole_mm.model import model_names
from recbole_mm.quick_start.session import Session
from recbole_mm.run.spec import RunSpec

MODELS = sorted(
    name
    for name, where in model_names().items()
    if where.startswith("recbole.") and name not in ("LightGBM", "XGBoost")
)
# what a model may lack, and the word its one line must say; NCL runs where faiss is installed
LACK = {
    "GRU4RecKG": ".ent",
    "KSR": ".ent",
    "KGAT": "dgl",
    "KGIN": "torch_scatter",
    "MCCLK": "torch_scatter",
    "NCL": "faiss",
}
_RAN: set[str] = set()


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_one_epoch(model: str, cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        spec = RunSpec(model, "ml-100k", {"data_path": str(cut), "epochs": 1})
        result = Session.build(spec).run().record["test_result"]
    except (WrongUse, Failure) as error:
        assert "\n" not in str(error)
        assert model in LACK and model in str(error) and LACK[model] in str(error)
        pytest.skip(str(error))
    finally:
        torch.set_num_threads(threads)
        gc.collect()  # trainer, model and loaders refer to each other; 92 of them fill the memory
    assert result
    for name, value in result.items():
        assert name == "logloss" or 0 <= value <= 1, (name, value)
    _RAN.add(model)


@pytest.mark.slow
def test_at_least_86_of_92_run(request: pytest.FixtureRequest) -> None:
    assert len(MODELS) == 92
    asked = {item.name for item in request.session.items}
    if not all(f"test_one_epoch[{model}]" in asked for model in MODELS):
        pytest.skip("counts only when all models were asked for")
    assert len(_RAN) >= 86, sorted(set(MODELS) - _RAN)
