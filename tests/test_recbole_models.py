"""RecBole's 92 models (LightGBM and XGBoost aside), one epoch each, with nothing but the model's name."""

from __future__ import annotations

import gc
from pathlib import Path

import pandas as pd
import pytest
import torch

import recbole_mm  # noqa: F401
from recbole_mm.config.properties import recbole_dir
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
USER, ITEM, TIME = "user_id:token", "item_id:token", "timestamp:float"
_RAN: set[str] = set()


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 users, 120 popular items and at most 20 rows a user of ml-100k, with the knowledge about the items."""
    folder = tmp_path_factory.mktemp("cut") / "ml-100k"
    folder.mkdir()

    def read(suffix: str) -> pd.DataFrame:
        file = recbole_dir() / f"dataset_example/ml-100k/ml-100k.{suffix}"
        return pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)

    inter = read("inter")
    inter = inter[inter[ITEM].isin(inter[ITEM].value_counts().index[:120])]
    inter = inter.assign(at=inter[TIME].astype(float)).sort_values("at", kind="stable").groupby(USER).tail(20)
    inter = inter[inter[USER].isin(sorted(inter[USER].unique())[:100])].drop(columns="at")
    item, user, link, kg = read("item"), read("user"), read("link"), read("kg")
    link = link[link[ITEM].isin(inter[ITEM])]
    kg = kg[kg["head_id:token"].isin(link["entity_id:token"])].groupby("head_id:token").head(20)
    item, user = item[item[ITEM].isin(inter[ITEM])], user[user[USER].isin(inter[USER])]
    for suffix, frame in {"inter": inter, "item": item, "user": user, "link": link, "kg": kg}.items():
        frame.to_csv(folder / f"ml-100k.{suffix}", sep="\t", index=False)
    return folder.parent


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
